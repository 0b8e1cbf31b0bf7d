package kv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/go-os/go-os/internal/backoff"
	"github.com/go-os/go-os/state/kv/driver"
)

// Event is a report of a watch.
//
//	type Event struct {
//		Kind     EventKind // EventPut, EventDelete, EventResync, EventSynced or EventLost
//		Item     Item      // the item that was written; after a deletion only the key is set
//		Position Version   // position after this event, for From; zero means that a watch cannot start here
//	}
type Event = driver.Event

// EventKind is the kind of an event.
//
//	type EventKind uint8
type EventKind = driver.EventKind

// The kinds of events.
const (
	// EventPut: the item was written, or exists.
	EventPut = driver.EventPut
	// EventDelete: the item was deleted, or has expired.
	EventDelete = driver.EventDelete
	// EventResync: the state known so far may be wrong. All existing items follow, each as an EventPut, up to
	// EventSynced.
	EventResync = driver.EventResync
	// EventSynced: the watch is established, and no change will be missed. Items that were not shown since the last EventResync do not
	// exist.
	EventSynced = driver.EventSynced
	// EventLost: the connection is lost, and the watch reconnects. The state known so far may be stale until
	// EventSynced.
	EventLost = driver.EventLost
)

// WatchOption is an option of Watch and WatchPrefix. Nil changes nothing.
type WatchOption interface {
	applyWatch(*driver.WatchRequest) error
}

// From starts after a version: the Position of an event, or the Version of an item. If the engine no longer has the changes since then,
// the watch starts as with Current.
func From(v Version) WatchOption { return from(v) }

// Current starts with the existing items: EventResync, an EventPut for each item, EventSynced. Changes follow without a gap.
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

// Watch returns the changes of one key; see WatchPrefix.
func (s *Store) Watch(ctx context.Context, key string, opts ...WatchOption) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		w := &watch{store: s, name: key, yield: yield}
		full, err := s.admit(ctx, key)
		w.req.Key = full
		w.run(ctx, err, opts)
	}
}

// WatchPrefix returns the changes of the keys that begin with prefix, in order. An empty prefix means all keys. Without an option, the
// first event is EventSynced, and the changes after it follow.
//
// A watch that loses its connection emits EventLost and reconnects, for as long as the loop runs. If the engine still has the changes
// since then, the watch emits EventSynced and resumes. Otherwise it resyncs with EventResync, the existing items, and EventSynced. A
// caller that keeps a copy must do four things: set on EventPut, remove on EventDelete, mark all items as unseen on EventResync, and
// remove the unseen on EventSynced. [Mirror] does that.
//
// On engines with the ability ExactEvents, no change between two EventResync events is missed. On others, a state that was soon replaced
// may be skipped, but never the latest.
//
// The loop ends without an error when ctx ends. Any other end is an error in the last pair: ErrClosed, ErrInvalid or
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

// errStopped ends the driver's watch after the caller has left the loop.
var errStopped = errors.New("the loop has ended")

// watch is one running loop.
type watch struct {
	store *Store
	name  string // the key or the prefix, without that of a namespace
	yield func(Event, error) bool
	req   driver.WatchRequest // the next request to the driver

	placed   bool // EventSynced was emitted
	resyncs  bool // between EventResync and EventSynced
	failures int  // consecutive
	left     bool // the caller has left the loop
}

// run retries until an error that a retry cannot fix. invalid is the error of the key, or nil.
func (w *watch) run(ctx context.Context, invalid error, opts []WatchOption) {
	watcher, err := w.prepare(invalid, opts)
	inner, leave := w.store.within(ctx)
	defer leave()
	for err == nil {
		err = w.ended(inner, watcher.Watch(inner, w.req, func(ev Event) error { return w.emit(inner, ev) }))
	}
	if !w.left && ctx.Err() == nil {
		w.yield(Event{}, &Error{Op: "watch", Key: w.name, Err: cmp.Or(context.Cause(inner), err)})
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

// emit passes one event of the driver to the loop and records the position.
func (w *watch) emit(ctx context.Context, ev Event) error {
	if w.left { // a driver that continues nevertheless must not cause a panic
		return errStopped
	}
	switch ev.Kind {
	case EventResync:
		w.resyncs = true
		w.store.engine.watchResync.Emit(ctx, keyAttr.String(w.name))
	case EventSynced:
		w.resyncs, w.placed = false, true
	}
	if !w.resyncs {
		w.failures = 0
		w.req.From, w.req.Snapshot = ev.Position, ev.Position == 0
	}
	ev.Item.Key = strings.TrimPrefix(ev.Item.Key, w.store.prefix)
	return w.send(ev)
}

// send passes one event to the loop.
func (w *watch) send(ev Event) error {
	if w.left = !w.yield(ev, nil); w.left {
		return errStopped
	}
	return nil
}

// ended handles the end of the driver's watch. It returns nil, after a wait, if the watch must be retried.
func (w *watch) ended(ctx context.Context, err error) error {
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
			if err := w.send(Event{Kind: EventLost}); err != nil {
				return err
			}
		}
	}
	o := &w.store.engine.opts
	return backoff.Sleep(ctx, backoff.After(w.failures-1, o.Backoff, o.MaxBackoff))
}
