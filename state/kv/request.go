package kv

import (
	"context"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/go-os/go-os/state/internal/leases"
	"github.com/go-os/go-os/state/kv/driver"
)

// PutOption is an option of Put. Nil changes nothing.
type PutOption interface{ applyPut(*write) error }

// DeleteOption is an option of Delete. Nil changes nothing.
type DeleteOption interface{ applyDelete(*write) error }

// Condition is an option of both Put and Delete.
type Condition interface {
	PutOption
	DeleteOption
}

// TTL removes the item after d, which must be within Capabilities.TTL.
func TTL(d time.Duration) PutOption { return ttl(d) }

// IfAbsent writes only if the key does not exist.
func IfAbsent() PutOption { return ifAbsent{} }

// IfVersion writes, or deletes, only if the item exists and has this version.
func IfVersion(v Version) Condition { return ifVersion(v) }

// WithLease removes the item when the lease ends.
func WithLease(l *Lease) PutOption { return withLease{l} }

// write holds the options of a Put or a Delete.
type write struct {
	absent  bool
	version Version
	ttl     time.Duration
	lease   *Lease
}

type (
	ttl       time.Duration
	ifAbsent  struct{}
	ifVersion Version
	withLease struct{ lease *Lease }
)

func (o ttl) applyPut(w *write) error {
	if o <= 0 {
		return fmt.Errorf("%w: a TTL of %s: it must be above zero", ErrInvalid, time.Duration(o))
	}
	if w.ttl != 0 {
		return fmt.Errorf("%w: two TTLs", ErrInvalid)
	}
	w.ttl = time.Duration(o)
	return nil
}

func (ifAbsent) applyPut(w *write) error {
	w.absent = true
	return nil
}

func (o ifVersion) applyPut(w *write) error {
	if o == 0 {
		return fmt.Errorf("%w: IfVersion of no version: for a key that must not exist, use IfAbsent", ErrInvalid)
	}
	if w.version != 0 && w.version != Version(o) {
		return fmt.Errorf("%w: IfVersion twice", ErrInvalid)
	}
	w.version = Version(o)
	return nil
}

func (o ifVersion) applyDelete(w *write) error { return o.applyPut(w) }

func (o withLease) applyPut(w *write) error {
	if o.lease == nil || w.lease != nil {
		return fmt.Errorf("%w: WithLease must be given one lease", ErrInvalid)
	}
	w.lease = o.lease
	return nil
}

// putRequest validates a write and builds the request for the driver.
func (s *Store) putRequest(ctx context.Context, key string, value []byte, opts []PutOption) (req driver.PutRequest, err error) {
	full, err := s.admit(ctx, key)
	if err != nil {
		return req, err
	}
	if err := s.engine.fits(value); err != nil {
		return req, err
	}
	req = driver.PutRequest{Key: full, Value: value}
	if len(opts) == 0 {
		return req, nil
	}
	var w write
	for _, o := range opts {
		if o == nil {
			continue
		}
		if err := o.applyPut(&w); err != nil {
			return req, err
		}
	}
	return req, s.fill(&req, w)
}

// fits returns ErrTooLarge if the value is over the engine's limit.
func (e *engine) fits(value []byte) error {
	if limit := e.caps.MaxValue; limit > 0 && len(value) > limit {
		return fmt.Errorf("%w: a value of %d bytes, where %s takes %d", ErrTooLarge, len(value), e.caps.System, limit)
	}
	return nil
}

// fill adds the options to a request. It returns an error if they contradict each other or the engine does not support them.
func (s *Store) fill(req *driver.PutRequest, w write) (err error) {
	switch {
	case w.absent && w.version != 0:
		return fmt.Errorf("%w: IfAbsent and IfVersion contradict each other", ErrInvalid)
	case w.ttl != 0 && w.lease != nil:
		return fmt.Errorf("%w: an item has a TTL or a lease, not both", ErrInvalid)
	case w.lease != nil && w.lease.store.engine != s.engine:
		return fmt.Errorf("%w: the lease belongs to another store", ErrInvalid)
	case w.absent || w.version != 0:
		err = s.engine.able(CAS)
	}
	if err == nil && w.ttl != 0 {
		req.TTL, err = s.engine.lifetime(Expiry, w.ttl)
	}
	if w.lease != nil {
		req.Lease = w.lease.id
	}
	req.IfAbsent, req.IfVersion = w.absent, w.version
	return err
}

// lifetime returns a TTL as the engine applies it.
func (e *engine) lifetime(a Ability, ttl time.Duration) (time.Duration, error) {
	if err := e.able(a); err != nil {
		return 0, err
	}
	return leases.Limits(e.caps.TTL).Fit(e.caps.System, ttl)
}

func (s *Store) deleteRequest(ctx context.Context, key string, opts []DeleteOption) (req driver.DeleteRequest, err error) {
	if req.Key, err = s.admit(ctx, key); err != nil {
		return req, err
	}
	var w write
	for _, o := range opts {
		if o == nil {
			continue
		}
		if err := o.applyDelete(&w); err != nil {
			return req, err
		}
	}
	if req.IfVersion = w.version; w.version != 0 {
		err = s.engine.able(CAS)
	}
	return req, err
}

// admit checks the store, the context and the key, and returns the engine's form of the key.
func (s *Store) admit(ctx context.Context, key string) (string, error) {
	if err := s.usable(ctx); err != nil {
		return "", err
	}
	if key == "" {
		return "", fmt.Errorf("%w: the key is empty", ErrInvalid)
	}
	return s.full(key)
}

// full returns the engine's form of a key or a prefix.
func (s *Store) full(key string) (string, error) {
	if !utf8.ValidString(key) {
		return "", fmt.Errorf("%w: the key is not UTF-8; encode binary keys, for example in base64", ErrInvalid)
	}
	if limit := s.engine.caps.MaxKey; limit > 0 && len(s.prefix)+len(key) > limit {
		return "", fmt.Errorf("%w: a key of %d bytes, where %s takes %d", ErrTooLarge, len(key), s.engine.caps.System, limit-len(s.prefix))
	}
	if s.prefix == "" {
		return key, nil
	}
	return s.prefix + key, nil
}

// within returns a context that ends with ctx, with the store, and with the stores that it is a namespace of.
func (s *Store) within(ctx context.Context) (inner context.Context, leave context.CancelFunc) {
	inner, own := s.life.Within(ctx)
	if s.parent == nil {
		return inner, own
	}
	inner, parents := s.parent.within(inner)
	return inner, func() {
		parents()
		own()
	}
}

// usable returns an error if the store or a parent of it is closed, or the context has ended.
func (s *Store) usable(ctx context.Context) error {
	for at := s; at != nil; at = at.parent {
		if err := at.life.Err(); err != nil {
			return err
		}
	}
	if s.fault != nil {
		return s.fault
	}
	return ctx.Err()
}
