// Package memsync is a driver of state/sync for one process: the embedded default, and the reference for all other drivers.
//
//	session := sync.New(memsync.New(nil), nil)
//
// Its safety is sync.Local: it does not exclude other processes. In tests, drivers on one [Space] contend like processes that share an
// engine.
//
// Guarantees:
//   - Claims are granted in the order of their calls. A seat that is released wakes only the next waiter.
//   - A lease ends within a millisecond after its TTL, by the monotonic clock.
//   - Tokens increase by one with each claim, over all names of the Space.
package memsync

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/life"
	"github.com/go-os/go-os/state/sync/driver"
)

const (
	// MaxName is the length of the longest name, in bytes.
	MaxName = 64 << 10
	// MaxValue is the length of the longest value, in bytes.
	MaxValue = 1 << 20
)

// Options configure New.
type Options struct {
	// Space that drivers share. Default: a new one.
	Space *Space
}

// Driver implements driver.Driver. It is safe for concurrent use.
type Driver struct {
	space *Space
	life  life.Life
}

// New returns a driver.
func New(opts *Options) *Driver {
	o := defaults.Copy(opts)
	if o.Space == nil {
		o.Space = NewSpace()
	}
	return &Driver{space: o.Space}
}

// Capabilities implements driver.Driver.
func (*Driver) Capabilities() driver.Capabilities {
	return driver.Capabilities{
		System: "memory", Safety: driver.Local, Ordered: true, MaxName: MaxName, MaxValue: MaxValue,
		Lease: driver.LeaseLimits{Min: time.Millisecond, MaxLateness: 10 * time.Millisecond},
	}
}

// Close implements driver.Driver. It does not change the Space.
func (d *Driver) Close() error {
	d.life.End()
	return nil
}

// Space holds queues and leases. It is safe for concurrent use.
type Space struct {
	mu     sync.Mutex
	queues map[string]*queue
	leases map[driver.LeaseID]*lease
	token  driver.Token
	leased uint64
}

// NewSpace returns an empty Space.
func NewSpace() *Space {
	return &Space{queues: map[string]*queue{}, leases: map[driver.LeaseID]*lease{}}
}

// queue holds the claims of a name, in order. It exists as long as it has claims or watchers.
type queue struct {
	name     string
	claims   []*claim
	watchers int
	changed  chan struct{} // closed when the first claim changes
}

type claim struct {
	driver.Claim
	granted, gone chan struct{} // closed when the claim is granted, and when it has left its queue
}

type lease struct {
	ttl       time.Duration
	ends      time.Time
	timer     *time.Timer
	claims    map[*claim]struct{}
	withdrawn map[place]struct{} // claims that Acquire must no longer create
}

// place identifies a claim of a lease.
type place struct{ name, id string }

// Grant implements driver.Leaser.
func (d *Driver) Grant(ctx context.Context, ttl time.Duration) (driver.LeaseID, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	s := d.space
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leased++
	id := driver.LeaseID(strconv.FormatUint(s.leased, 10))
	l := &lease{ttl: ttl, ends: time.Now().Add(ttl), claims: map[*claim]struct{}{}, withdrawn: map[place]struct{}{}}
	l.timer = time.AfterFunc(ttl, func() { s.expire(id, l) })
	s.leases[id] = l
	return id, nil
}

// Renew implements driver.Leaser.
func (d *Driver) Renew(ctx context.Context, id driver.LeaseID, claims []driver.Claim) (gone []driver.Claim, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := d.space
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.alive(id)
	if l == nil {
		return nil, driver.ErrLost
	}
	l.ends = time.Now().Add(l.ttl)
	l.timer.Reset(l.ttl)
	for _, c := range claims {
		if _, mine := s.find(c); mine == nil {
			gone = append(gone, c)
		}
	}
	return gone, nil
}

// Revoke implements driver.Leaser.
func (d *Driver) Revoke(ctx context.Context, id driver.LeaseID) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d.space.Revoke(id)
	return nil
}

// Revoke ends a lease from outside, for tests.
func (s *Space) Revoke(id driver.LeaseID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.leases[id]; l != nil {
		s.end(id, l)
	}
}

// Leases returns the existing leases, for tests.
func (s *Space) Leases() (all []driver.LeaseID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.leases {
		all = append(all, id)
	}
	return all
}

// alive returns a lease that has not ended by the clock, or nil, even if its timer has not fired yet. The caller holds mu, as for the
// methods below.
func (s *Space) alive(id driver.LeaseID) *lease {
	l := s.leases[id]
	if l != nil && !time.Now().Before(l.ends) {
		s.end(id, l)
		return nil
	}
	return l
}

func (s *Space) expire(id driver.LeaseID, l *lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leases[id] == l && !time.Now().Before(l.ends) {
		s.end(id, l)
	}
}

func (s *Space) end(id driver.LeaseID, l *lease) {
	l.timer.Stop()
	delete(s.leases, id)
	for c := range l.claims {
		s.remove(c)
	}
}
