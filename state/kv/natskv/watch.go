package natskv

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/go-os/go-os/state/kv/driver"
)

// errLost ends a watch whose connection is lost.
var errLost = errors.New("the connection to NATS is lost")

// Watch implements driver.Watcher.
func (s *Store) Watch(ctx context.Context, req driver.WatchRequest, emit func(driver.Event) error) error {
	bucket, err := s.open(ctx)
	if err != nil {
		return err
	}
	conn := s.js.Conn()
	// The client would take the watch up again by itself, but would not tell that what is known is out of date meanwhile.
	lost := conn.StatusChanged(nats.DISCONNECTED, nats.RECONNECTING, nats.CLOSED)
	defer conn.RemoveStatusListener(lost)
	now, err := s.position(ctx)
	switch {
	case err != nil:
		return err
	case req.From != 0 && uint64(req.From) != now:
		return fmt.Errorf("%w: the bucket is at %d", driver.ErrCompacted, now)
	}
	opts := []jetstream.WatchOpt{jetstream.ResumeFromRevision(now + 1)}
	if req.Snapshot {
		opts = nil // the last message of each key, then what comes
	}
	name := filter(req.Prefix)
	if req.Key != "" {
		name = escape(req.Key)
	}
	watcher, err := bucket.watches.WatchFiltered(ctx, []string{name}, opts...)
	if err != nil {
		return s.classify(ctx, err)
	}
	defer end(watcher)
	w := &watch{Store: s, source: source{watcher: watcher, lost: lost, name: name}, prefix: req.Prefix, emit: emit, at: now}
	if req.Snapshot {
		err = w.snapshot(ctx)
	}
	if err == nil {
		err = emit(driver.Event{Kind: driver.EventSynced, Position: driver.Version(w.at)})
	}
	for err == nil {
		err = w.step(ctx)
	}
	return err
}

// source is a watcher of the client, and what it watches.
type source struct {
	watcher jetstream.KeyWatcher
	lost    <-chan nats.Status // tells that the connection is lost; nil is never ready
	name    string             // the escaped key or the pattern
}

// watch is one watch under way.
type watch struct {
	*Store
	source source
	prefix string
	emit   func(driver.Event) error
	at     uint64 // all messages up to this one were shown
}

// snapshot shows what is there. A key that does not exist may have a message too, which is left out.
func (w *watch) snapshot(ctx context.Context) error {
	if err := w.emit(driver.Event{Kind: driver.EventResync}); err != nil {
		return err
	}
	last, err := w.current(ctx, w.source, func(entry jetstream.KeyValueEntry, late bool) error {
		ev, ours, err := w.event(entry)
		if err != nil || !ours || ev.Kind == driver.EventDelete && !late {
			return err
		}
		ev.Position = 0
		return w.emit(ev)
	})
	w.at = max(w.at, last)
	return err
}

// recheck is how long a replica may take to deliver a message before the leader is asked whether it still exists.
const recheck = 50 * time.Millisecond

// current reads from a watcher what is there, and returns the sequence of the last message. The replica that delivers may lag: what
// it has is not all before it has delivered the last message that the leader has. Messages that come late, after all that the
// replica had at first, may replace earlier ones.
func (s *Store) current(ctx context.Context, from source, take func(entry jetstream.KeyValueEntry, late bool) error) (shown uint64, err error) {
	target, err := s.newest(ctx, from.name)
	for began := false; err == nil && (!began || shown < target); {
		var entry jetstream.KeyValueEntry
		entry, err = s.nextWithin(ctx, from, began)
		switch {
		case began && errors.Is(err, errNothing): // that message may be gone
			target, err = s.newest(ctx, from.name)
		case err != nil:
		case entry == nil: // the replica has nothing else
			began = true
		case entry.Revision() > shown:
			shown = entry.Revision()
			err = take(entry, began)
		}
	}
	return shown, err
}

// newest returns the sequence of the last message of a pattern, or zero.
func (s *Store) newest(ctx context.Context, name string) (uint64, error) {
	msg, err := s.last(ctx, s.subject(name))
	return sequence(msg), err
}

// step shows the next change. One that was shown before is left out: the client takes up a watch again on a replica that may lag.
func (w *watch) step(ctx context.Context) error {
	entry, err := w.next(ctx, w.source)
	if err != nil || entry == nil || entry.Revision() <= w.at { // nil: there was nothing after the place to begin at
		return err
	}
	w.at = entry.Revision()
	ev, ours, err := w.event(entry)
	if err != nil || !ours {
		return err
	}
	return w.emit(ev)
}

// event is what a message says, and whether it is about a key of this watch.
func (w *watch) event(entry jetstream.KeyValueEntry) (driver.Event, bool, error) {
	key, err := unescape(entry.Key())
	if err != nil || !strings.HasPrefix(key, w.prefix) {
		return driver.Event{}, false, err
	}
	ev := driver.Event{Kind: driver.EventPut, Item: item(key, entry.Value(), entry.Revision()), Position: driver.Version(entry.Revision())}
	if entry.Operation() != jetstream.KeyValuePut {
		ev.Kind, ev.Item = driver.EventDelete, driver.Item{Key: key}
	}
	return ev, true, nil
}

// next waits for what a watcher delivers. Nil stands for the end of what was there when it began.
func (s *Store) next(ctx context.Context, from source) (jetstream.KeyValueEntry, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-from.lost:
		return nil, driver.Classify(driver.ErrUnavailable, errLost)
	case entry, open := <-from.watcher.Updates():
		if !open {
			return nil, driver.Classify(driver.ErrUnavailable, errLost)
		}
		if entry != nil {
			s.progress.observe(entry.Revision()) // before anybody reads because of it
		}
		return entry, nil
	}
}

// errNothing says that a watcher had nothing to deliver for a while.
var errNothing = errors.New("nothing was delivered")

// nextWithin is next; if brief, it returns errNothing after a while.
func (s *Store) nextWithin(ctx context.Context, from source, brief bool) (jetstream.KeyValueEntry, error) {
	if !brief {
		return s.next(ctx, from)
	}
	within, cancel := context.WithTimeout(ctx, recheck)
	defer cancel()
	entry, err := s.next(within, from)
	if err != nil && within.Err() != nil && ctx.Err() == nil {
		return nil, errNothing
	}
	return entry, err
}

// end stops a watcher. It may be waiting for someone to take what it has to say, until its channel is closed.
func end(watcher jetstream.KeyWatcher) {
	if err := watcher.Stop(); err != nil {
		return // the connection is closed, and the watcher with it
	}
	for range watcher.Updates() {
	}
}
