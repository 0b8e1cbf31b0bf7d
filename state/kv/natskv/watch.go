package natskv

import (
	"context"
	"errors"
	"fmt"
	"strings"

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
	now, err := s.sequence(ctx)
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
	watcher, err := bucket.WatchFiltered(ctx, []string{name}, opts...)
	if err != nil {
		return s.classify(ctx, err)
	}
	defer end(watcher)
	w := &watch{Store: s, watcher: watcher, lost: lost, prefix: req.Prefix, emit: emit, at: now}
	if req.Snapshot {
		err = w.snapshot(ctx)
	}
	if err == nil {
		err = emit(driver.Event{Kind: driver.Synced, Position: driver.Version(w.at)})
	}
	for err == nil {
		err = w.step(ctx)
	}
	return err
}

// sequence returns the number of the bucket's last message.
func (s *Store) sequence(ctx context.Context) (uint64, error) {
	stream, err := s.js.Stream(ctx, "KV_"+s.bucket)
	if err != nil {
		return 0, s.classify(ctx, err)
	}
	return stream.CachedInfo().State.LastSeq, nil // it was made a moment ago
}

// watch is one watch under way.
type watch struct {
	*Store
	watcher jetstream.KeyWatcher
	lost    <-chan nats.Status
	prefix  string
	emit    func(driver.Event) error
	at      uint64 // the last message that was seen
}

// snapshot shows what is there. A key that is gone has a message too, which is left out.
func (w *watch) snapshot(ctx context.Context) error {
	if err := w.emit(driver.Event{Kind: driver.Resync}); err != nil {
		return err
	}
	for {
		entry, err := w.next(ctx, w.watcher, w.lost)
		if err != nil || entry == nil {
			return err
		}
		ev, ours, err := w.event(entry)
		if err != nil {
			return err
		}
		if ours && ev.Kind == driver.Put {
			ev.Position = 0
			if err := w.emit(ev); err != nil {
				return err
			}
		}
	}
}

// step shows the next change.
func (w *watch) step(ctx context.Context) error {
	entry, err := w.next(ctx, w.watcher, w.lost)
	if err != nil || entry == nil { // nil: what was there at the start has been told
		return err
	}
	ev, ours, err := w.event(entry)
	if err != nil || !ours {
		return err
	}
	return w.emit(ev)
}

// event is what a message says, and whether it is about a key of this watch.
func (w *watch) event(entry jetstream.KeyValueEntry) (driver.Event, bool, error) {
	w.at = max(w.at, entry.Revision())
	key, err := unescape(entry.Key())
	if err != nil || !strings.HasPrefix(key, w.prefix) {
		return driver.Event{}, false, err
	}
	ev := driver.Event{Kind: driver.Put, Item: item(key, entry), Position: driver.Version(entry.Revision())}
	if entry.Operation() != jetstream.KeyValuePut {
		ev.Kind, ev.Item = driver.Delete, driver.Item{Key: key}
	}
	return ev, true, nil
}

// next waits for what a watcher has to say. Nil stands for the end of what was there at the start.
func (s *Store) next(ctx context.Context, watcher jetstream.KeyWatcher, lost ...<-chan nats.Status) (jetstream.KeyValueEntry, error) {
	var over <-chan nats.Status // none is never ready
	if len(lost) > 0 {
		over = lost[0]
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-over:
		return nil, fmt.Errorf("%w: %w", driver.ErrUnavailable, errLost)
	case entry, open := <-watcher.Updates():
		if !open {
			return nil, fmt.Errorf("%w: %w", driver.ErrUnavailable, errLost)
		}
		return entry, nil
	}
}

// end stops a watcher. It may be waiting for someone to take what it has to say, until its channel is closed.
func end(watcher jetstream.KeyWatcher) {
	if err := watcher.Stop(); err != nil {
		return // the connection is closed, and the watcher with it
	}
	for range watcher.Updates() {
	}
}
