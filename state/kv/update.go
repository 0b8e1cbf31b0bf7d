package kv

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/go-os/go-os/internal/backoff"
	"github.com/go-os/go-os/state/kv/driver"
)

// The results of the function of an Update, in place of a new value. Like fs.SkipDir, neither is a failure.
var (
	// SkipUpdate leaves the item unchanged, or absent.
	//lint:ignore ST1012 named as fs.SkipDir
	SkipUpdate = errors.New("skip the update")
	// DeleteItem deletes the item.
	//lint:ignore ST1012 named as fs.SkipDir
	DeleteItem = errors.New("delete the item")
)

// The waits after a conflict. Conflicting writers are milliseconds apart, so a wait is about one round trip at first, and longer with
// more writers.
const (
	updateBackoff    = time.Millisecond
	updateMaxBackoff = 100 * time.Millisecond
)

const attemptsAttr = attribute.Key("goos.kv.update.attempts")

// Update reads the item at key, calls change for its new value, and writes that value unless another writer came first. After such a
// conflict it retries with a short random wait, until ctx ends: give ctx a deadline. It returns the version of the item.
//
// For a key that does not exist, change receives an Item with only the Key set: its Version is zero. Update then creates the item. change
// returns SkipUpdate to leave the item unchanged, and DeleteItem to delete it; the version is zero if the key does not exist afterwards.
// Any other error ends the update and is returned unchanged. change may be called many times, so it should have no side effects.
//
// Options are those of Put: without TTL or WithLease the item loses its TTL or lease. IfAbsent and IfVersion are ErrInvalid, since Update
// sets its own condition. Other errors are those of Get and Put, except ErrConflict. On an engine without the ability CAS, Update returns
// errors.ErrUnsupported. On an engine without FreshReads, SkipUpdate may be based on a stale read.
func (s *Store) Update(ctx context.Context, key string, change func(old Item) ([]byte, error), opts ...PutOption) (Version, error) {
	u := update{store: s, change: change}
	version, err := u.observe(ctx, key, opts)
	if u.refusal != nil {
		return 0, u.refusal
	}
	return version, err
}

// update is one Update in progress.
type update struct {
	store  *Store
	change func(old Item) ([]byte, error)

	key      string            // without the prefix of a namespace
	req      driver.PutRequest // without value and condition
	attempts int
	refusal  error // the error of change that ended the update
}

// observe runs the update as one call.
func (u *update) observe(ctx context.Context, key string, opts []PutOption) (version Version, err error) {
	ctx, call := u.store.engine.update.Start(ctx, key)
	defer call.End(ctx, &err)
	defer func() {
		if call.Recording() {
			call.Set(attemptsAttr.Int(u.attempts))
		}
	}()
	if err := u.prepare(ctx, key, opts); err != nil {
		return 0, err
	}
	return u.run(ctx)
}

// prepare checks the arguments before anything is read.
func (u *update) prepare(ctx context.Context, key string, opts []PutOption) (err error) {
	if u.change == nil {
		return fmt.Errorf("%w: no function for the new value", ErrInvalid)
	}
	for _, o := range opts {
		switch o.(type) {
		case ifAbsent, ifVersion:
			return fmt.Errorf("%w: Update makes its own condition: give it neither IfAbsent nor IfVersion", ErrInvalid)
		}
	}
	u.key = key
	if u.req, err = u.store.putRequest(ctx, key, nil, opts); err != nil {
		return err
	}
	return u.store.engine.able(CAS)
}

func (u *update) run(ctx context.Context) (Version, error) {
	wait := backoff.Backoff{First: updateBackoff, Longest: updateMaxBackoff}
	for {
		u.attempts++
		version, err := u.attempt(ctx)
		if u.refusal != nil || !errors.Is(err, ErrConflict) {
			return version, err
		}
		if err := wait.Wait(ctx); err != nil {
			return 0, fmt.Errorf("%w, after %d conflicts with other writers", err, u.attempts)
		}
	}
}

// attempt returns ErrConflict if another writer came first.
func (u *update) attempt(ctx context.Context) (Version, error) {
	old, err := u.read(ctx)
	if err != nil {
		return 0, err
	}
	value, err := u.change(old)
	switch {
	case errors.Is(err, SkipUpdate):
		return old.Version, nil
	case errors.Is(err, DeleteItem):
		return 0, u.delete(ctx, old.Version)
	case err != nil:
		u.refusal = err
		return 0, err
	}
	if err := u.store.engine.fits(value); err != nil {
		return 0, err
	}
	req := u.req
	req.Value, req.IfAbsent, req.IfVersion = value, old.Version == 0, old.Version
	return u.store.engine.Put(ctx, req)
}

func (u *update) read(ctx context.Context) (Item, error) {
	if err := u.store.usable(ctx); err != nil {
		return Item{}, err
	}
	old, err := u.store.engine.Get(ctx, u.req.Key)
	if errors.Is(err, ErrNotFound) {
		old, err = Item{}, nil
	}
	old.Key = u.key
	return old, err
}

func (u *update) delete(ctx context.Context, version Version) error {
	if version == 0 {
		return nil
	}
	return u.store.engine.Delete(ctx, driver.DeleteRequest{Key: u.req.Key, IfVersion: version})
}
