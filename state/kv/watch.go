package kv

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/go-os/go-os/internal/backoff"
	"github.com/go-os/go-os/state/kv/driver"
)

// Event is something that a watch reports.
//
//	type Event struct {
//		Kind     EventKind // Put, Delete, Resync, Synced or Lost
//		Item     Item      // what was written; a Delete has the key alone
//		Position Version   // place after this event, for From; zero means that a watch cannot begin here
//	}
type Event = driver.Event

// EventKind says what an event means.
//
//	type EventKind uint8
type EventKind = driver.EventKind

// The kinds of events.
const (
	// Put: the item was written, or is there.
	Put = driver.Put
	// Delete: the item was removed, or has expired.
	Delete = driver.Delete
	// Resync: what was known may be wrong. The items that are there follow as Puts, up to Synced.
	Resync = driver.Resync
	// Synced: the watch is in place, and no change will be missed. After a Resync it also says that what was not shown since
	// then does not exist.
	Synced = driver.Synced
	// Lost: the connection is lost; the watch is trying to come back. What is known may be out of date until Synced comes.
	Lost = driver.Lost
)

// WatchOption is an option of Watch and WatchPrefix. Nil changes nothing.
type WatchOption interface {
	applyWatch(*driver.WatchRequest) error
}

// From begins after a version: the Position of an event, or the Version of an item. If the engine does not remember
// that far back, the watch begins as with Current.
func From(v Version) WatchOption { return from(v) }

// Current begins with what is there: Resync, a Put for each item, Synced; and then goes on without a gap.
func Current() WatchOption { return current{} }

type (
	from    Version
	current struct{}
)

func (o from) applyWatch(req *driver.WatchRequest) error {
	if o == 0 {
		return fmt.Errorf("%w: From no version: use Current to begin with what is there", ErrInvalid)
	}
	if req.From != 0 || req.Snapshot {
		return fmt.Errorf("%w: one of From and Current", ErrInvalid)
	}
	req.From = Version(o)
	return nil
}

func (current) applyWatch(req *driver.WatchRequest) error {
	if req.From != 0 {
		return fmt.Errorf("%w: one of From and Current", ErrInvalid)
	}
	req.Snapshot = true
	return nil
}

// Watch returns what happens to one key; see WatchPrefix.
func (s *Store) Watch(ctx context.Context, key string, opts ...WatchOption) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		w := &watch{store: s, name: key, yield: yield}
		full, err := s.admit(ctx, key)
		w.req.Key = full
		w.run(ctx, err, opts)
	}
}

// WatchPrefix returns what happens to the keys that begin with prefix, in order; an empty prefix means all keys. Without an
// option it shows what happens after the first event, which is Synced.
//
// A connection that is lost is told as Lost, and made again for as long as the loop goes on. If the engine remembers what
// happened meanwhile, the watch goes on there after another Synced; if not, it starts over with Resync, the items that
// are there, and Synced. So who keeps a copy does four things: set on Put, remove on Delete, mark all as unseen on
// Resync, and remove the unseen on Synced.
//
// On engines with the ability ExactEvents no change is missed between two Resyncs. Elsewhere a state that was soon
// replaced may be left out; the latest one never is.
//
// The loop ends in silence when ctx does. Any other end is an error, in the last pair: ErrClosed, ErrInvalid or
// errors.ErrUnsupported.
func (s *Store) WatchPrefix(ctx context.Context, prefix string, opts ...WatchOption) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		w := &watch{store: s, name: prefix, yield: yield}
		err := s.usable(ctx)
		if err == nil {
			w.req.Prefix, err = s.full(prefix)
		}
		w.run(ctx, err, opts)
	}
}

// errStopped is how a loop that was left ends the driver's watch.
var errStopped = errors.New("the loop has ended")

// watch is one loop under way.
type watch struct {
	store *Store
	name  string // the key or the prefix, as the user knows it
	yield func(Event, error) bool
	req   driver.WatchRequest // what to ask the driver for next

	placed   bool // has been in place once
	resyncs  bool // is between Resync and Synced
	failures int  // in a row
	left     bool // the loop wants no more
}

// run watches until there is a reason to end that trying again cannot mend. invalid is what is wrong with the key.
func (w *watch) run(ctx context.Context, invalid error, opts []WatchOption) {
	watcher, err := w.prepare(invalid, opts)
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for at := w.store; at != nil; at = at.parent {
		defer at.life.attend(func() { cancel(ErrClosed) })()
	}
	for err == nil {
		err = w.judge(inner, watcher.Watch(inner, w.req, func(ev Event) error { return w.emit(inner, ev) }))
	}
	switch {
	case w.left || ctx.Err() != nil:
	case context.Cause(inner) != nil:
		w.yield(Event{}, &Error{Op: "watch", Key: w.name, Err: context.Cause(inner)})
	default:
		w.yield(Event{}, &Error{Op: "watch", Key: w.name, Err: err})
	}
}

func (w *watch) prepare(invalid error, opts []WatchOption) (driver.Watcher, error) {
	if invalid != nil {
		return nil, invalid
	}
	for _, o := range opts {
		if o == nil {
			continue
		}
		if err := o.applyWatch(&w.req); err != nil {
			return nil, err
		}
	}
	return optional[driver.Watcher](w.store.engine, Watch)
}

// emit gives one event to the loop and keeps its place.
func (w *watch) emit(ctx context.Context, ev Event) error {
	if w.left { // a driver that goes on all the same must not take the program down
		return errStopped
	}
	switch ev.Kind {
	case Resync:
		w.resyncs = true
		w.store.engine.watchResync.Emit(ctx, keyAttr.String(w.name))
	case Synced:
		w.resyncs, w.placed = false, true
	}
	if !w.resyncs {
		w.failures = 0
		w.req.From, w.req.Snapshot = ev.Position, ev.Position == 0
	}
	if ev.Item.Key != "" {
		ev.Item.Key = ev.Item.Key[len(w.store.prefix):]
	}
	return w.tell(ev)
}

// tell gives one event to the loop.
func (w *watch) tell(ev Event) error {
	if w.left = !w.yield(ev, nil); w.left {
		return errStopped
	}
	return nil
}

// judge decides how to go on after a driver's watch has ended: nil means to try again, and the wait is over.
func (w *watch) judge(ctx context.Context, err error) error {
	switch {
	case w.left:
		return errStopped
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, ErrClosed), errors.Is(err, ErrInvalid), errors.Is(err, errors.ErrUnsupported):
		return err
	case errors.Is(err, driver.ErrCompacted):
		w.req.From, w.req.Snapshot = 0, true
		if w.failures++; w.failures == 1 {
			return nil
		}
	default:
		w.failures++
		w.store.engine.watchLost.EmitError(ctx, err, keyAttr.String(w.name))
		if w.placed {
			if err := w.tell(Event{Kind: Lost}); err != nil {
				return err
			}
		}
	}
	o := &w.store.engine.opts
	return backoff.Sleep(ctx, backoff.After(w.failures-1, o.Backoff, o.MaxBackoff))
}
