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
func (d *Driver) Watch(ctx context.Context, req driver.WatchRequest, emit func(driver.Event) error) error {
	bucket, err := d.open(ctx)
	if err != nil {
		return err
	}
	conn := d.js.Conn()
	// The client would resume the watch by itself, but would not report that the known state is stale until then.
	lost := conn.StatusChanged(nats.DISCONNECTED, nats.RECONNECTING, nats.CLOSED)
	defer conn.RemoveStatusListener(lost)
	created, ignore, err := d.creations(ctx)
	if err != nil {
		return err
	}
	defer ignore()
	now, err := d.position(ctx)
	switch {
	case err != nil:
		return err
	case req.From != 0 && uint64(req.From) != now:
		return fmt.Errorf("%w: the bucket is at %d", driver.ErrCompacted, now)
	}
	opts := []jetstream.WatchOpt{jetstream.ResumeFromRevision(now + 1)}
	if req.Snapshot {
		opts = nil // the last message of each key, then all changes
	}
	name := filter(req.Prefix)
	if req.Key != "" {
		name = escape(req.Key)
	}
	watcher, err := bucket.watches.WatchFiltered(ctx, []string{name}, opts...)
	if err != nil {
		return d.classify(ctx, err)
	}
	defer end(watcher)
	w := &watch{Driver: d, source: source{watcher: watcher, lost: lost, created: created, name: name}, prefix: req.Prefix, emit: emit, at: now}
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

// creations returns a channel that receives when the bucket is created, and a function that ends that. The client would resume a watch of a
// new bucket at the sequence of the old one, and miss all changes before it. The servers publish the creation, so that nobody has to ask.
func (d *Driver) creations(ctx context.Context) (<-chan *nats.Msg, func(), error) {
	created := make(chan *nats.Msg, 1)
	sub, err := d.js.Conn().ChanSubscribe("$JS.EVENT.ADVISORY.STREAM.CREATED."+d.stream(), created)
	if err != nil {
		return nil, nil, d.classify(ctx, err)
	}
	return created, func() { _ = sub.Unsubscribe() }, nil // an error means that the connection is closed
}

// source is a watcher of the client.
type source struct {
	watcher jetstream.KeyWatcher
	lost    <-chan nats.Status // receives when the connection is lost; nil never does
	created <-chan *nats.Msg   // receives when the bucket is created anew; nil never does
	name    string             // the escaped key or the pattern
}

// watch is one watch in progress.
type watch struct {
	*Driver
	source source
	prefix string
	emit   func(driver.Event) error
	at     uint64 // all messages up to this one were shown
}

// snapshot emits the existing items. It skips messages of keys that no longer exist.
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

// recheck is how long to wait for a message from a replica before asking the leader whether the message still exists.
const recheck = 50 * time.Millisecond

// current reads the existing messages from a watcher, and returns the sequence of the last one. The replica that delivers may lag, so
// current continues until it has the last message of the leader. Messages that the replica did not have at first are late: they may
// replace earlier ones.
func (d *Driver) current(ctx context.Context, from source, take func(entry jetstream.KeyValueEntry, late bool) error) (shown uint64, err error) {
	target, err := d.newest(ctx, from.name)
	for began := false; err == nil && (!began || shown < target); {
		var entry jetstream.KeyValueEntry
		entry, err = d.nextWithin(ctx, from, began)
		switch {
		case began && errors.Is(err, errNothing): // the message may no longer exist
			target, err = d.newest(ctx, from.name)
		case err != nil:
		case entry == nil: // the replica has delivered all that it had
			began = true
		case entry.Revision() > shown:
			shown = entry.Revision()
			err = take(entry, began)
		}
	}
	return shown, err
}

// newest returns the sequence of the last message of a pattern, or zero.
func (d *Driver) newest(ctx context.Context, name string) (uint64, error) {
	msg, err := d.last(ctx, d.subject(name))
	return sequence(msg), err
}

// step emits the next change. It skips changes that were emitted before, since the client may resume on a replica that lags.
func (w *watch) step(ctx context.Context) error {
	entry, err := w.next(ctx, w.source)
	if err != nil || entry == nil || entry.Revision() <= w.at { // nil: there are no messages after the position
		return err
	}
	w.at = entry.Revision()
	ev, ours, err := w.event(entry)
	if err != nil || !ours {
		return err
	}
	return w.emit(ev)
}

// event returns the event of a message, and whether its key belongs to this watch.
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

// next returns the next entry of a watcher. A nil entry means that all messages that existed at the start were delivered.
func (d *Driver) next(ctx context.Context, from source) (jetstream.KeyValueEntry, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-from.lost:
		return nil, driver.Classify(driver.ErrUnavailable, errLost)
	case <-from.created:
		return nil, fmt.Errorf("%w: bucket %q was created again", driver.ErrCompacted, d.bucket)
	case entry, open := <-from.watcher.Updates():
		if !open {
			return nil, driver.Classify(driver.ErrUnavailable, errLost)
		}
		if entry != nil {
			d.progress.observe(entry.Revision()) // before the caller can read because of it
		}
		return entry, nil
	}
}

// errNothing is the error of a watcher that has delivered nothing for a while.
var errNothing = errors.New("nothing was delivered")

// nextWithin is next. If brief, it returns errNothing after the time of recheck.
func (d *Driver) nextWithin(ctx context.Context, from source, brief bool) (jetstream.KeyValueEntry, error) {
	if !brief {
		return d.next(ctx, from)
	}
	within, cancel := context.WithTimeout(ctx, recheck)
	defer cancel()
	entry, err := d.next(within, from)
	if err != nil && within.Err() != nil && ctx.Err() == nil {
		return nil, errNothing
	}
	return entry, err
}

// end stops a watcher, and drains its channel, because the watcher may be blocked in a send.
func end(watcher jetstream.KeyWatcher) {
	if err := watcher.Stop(); err != nil {
		return // the connection is closed, and the watcher with it
	}
	for range watcher.Updates() {
	}
}
