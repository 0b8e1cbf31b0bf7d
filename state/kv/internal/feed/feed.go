// Package feed implements watches for engines inside the process. A feed is a bounded history that any number of followers read, each at
// its own pace.
//
// Followers have no queues, so a thousand of them need no more memory than one. A follower that falls behind the history gets
// driver.ErrCompacted, and the portable type resyncs with a snapshot. A slow consumer may miss intermediate states, but never the latest
// one, and never delays a writer.
package feed

import (
	"bytes"
	"context"
	"strings"
	"sync"

	"github.com/go-os/go-os/state/kv/driver"
)

// DefaultLength is how many events a Feed remembers by default.
const DefaultLength = 10_000

// perTurn is how many events a follower reads under one lock.
const perTurn = 64

// Feed is a history and its followers. It is safe for concurrent use.
type Feed struct {
	mu        sync.Mutex
	ring      []driver.Event // the event at position p has the index p modulo length; grows up to length
	length    driver.Version
	oldest    driver.Version // position of the oldest event in the ring
	last      driver.Version // position of the newest event
	followers map[*Follower]struct{}
	closed    chan struct{}
}

// New returns a Feed that remembers up to length events. The first event will have the position last+1. Both must be above zero.
func New(length int, last driver.Version) *Feed {
	return &Feed{
		length:    driver.Version(length),
		oldest:    last + 1,
		last:      last,
		followers: make(map[*Follower]struct{}),
		closed:    make(chan struct{}),
	}
}

// Append adds an event at the next position, which becomes the version of an item that was written. Calls must be in order, and the event's
// value must not change afterwards.
func (f *Feed) Append(ev driver.Event) driver.Version {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last++
	ev.Position = f.last
	if ev.Kind == driver.EventPut {
		ev.Item.Version = f.last
	}
	if i := int(f.last % f.length); i < len(f.ring) {
		f.ring[i] = ev
	} else {
		f.grow(i)
		f.ring[i] = ev
	}
	if f.last-f.oldest >= f.length {
		f.oldest = f.last - f.length + 1
	}
	for w := range f.followers {
		switch {
		case w.wants(ev.Item.Key):
			w.wakeUp()
		case w.place == f.last-1:
			w.place = f.last // the event is not for this follower, which had read everything before
		}
	}
	return f.last
}

// grow makes room for index i in steps, so that a store with few changes does not allocate a long history.
func (f *Feed) grow(i int) {
	size := min(max(i+1, 2*len(f.ring), 64), int(f.length))
	ring := make([]driver.Event, size)
	copy(ring, f.ring)
	f.ring = ring
}

// Compact discards the history.
func (f *Feed) Compact() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.oldest = f.last + 1
	clear(f.ring)
}

// Close ends all followers with driver.ErrClosed.
func (f *Feed) Close() { close(f.closed) }

// Follow returns a follower that starts after req.From, or now if that is zero. It returns driver.ErrCompacted if the position is no
// longer in the history, or was never reached. The caller must call Leave.
func (f *Feed) Follow(req driver.WatchRequest) (*Follower, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	from := req.From
	if from == 0 {
		from = f.last
	}
	if from+1 < f.oldest || from > f.last {
		return nil, driver.ErrCompacted
	}
	w := &Follower{feed: f, key: req.Key, prefix: req.Prefix, start: from, place: from, awake: make(chan struct{}, 1)}
	f.followers[w] = struct{}{}
	return w, nil
}

// Follower reads a Feed.
type Follower struct {
	feed        *Feed
	key, prefix string
	start       driver.Version
	awake       chan struct{}

	place driver.Version // guarded by feed.mu
}

// Start returns the position after which the follower began.
func (w *Follower) Start() driver.Version { return w.start }

// Leave removes the follower from the feed.
func (w *Follower) Leave() {
	w.feed.mu.Lock()
	defer w.feed.mu.Unlock()
	delete(w.feed.followers, w)
}

// Run emits events until emit fails, ctx ends, the feed is closed, or the follower has fallen too far behind.
func (w *Follower) Run(ctx context.Context, emit func(driver.Event) error) error {
	turn := make([]driver.Event, 0, perTurn)
	for {
		var err error
		if turn, err = w.take(turn[:0]); err != nil {
			return err
		}
		for _, ev := range turn {
			if err := ctx.Err(); err != nil {
				return err
			}
			if ev.Kind == driver.EventPut {
				ev.Item.Value = bytes.Clone(ev.Item.Value)
			}
			if err := emit(ev); err != nil {
				return err
			}
		}
		if len(turn) == cap(turn) {
			continue
		}
		select {
		case <-w.awake:
		case <-w.feed.closed:
			return driver.ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// take appends the next events for the follower, and advances its position.
func (w *Follower) take(turn []driver.Event) ([]driver.Event, error) {
	f := w.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	if w.place+1 < f.oldest {
		return nil, driver.ErrCompacted
	}
	for w.place < f.last && len(turn) < cap(turn) {
		w.place++
		if ev := f.ring[w.place%f.length]; w.wants(ev.Item.Key) {
			turn = append(turn, ev)
		}
	}
	return turn, nil
}

func (w *Follower) wants(key string) bool {
	if w.key != "" {
		return key == w.key
	}
	return strings.HasPrefix(key, w.prefix)
}

func (w *Follower) wakeUp() {
	select {
	case w.awake <- struct{}{}:
	default: // already awake
	}
}
