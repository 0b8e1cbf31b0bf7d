package natskv

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/go-os/go-os/internal/backoff"
	"github.com/go-os/go-os/state/kv/driver"
)

const (
	// catchUpEvery is the interval between reads of a leader that is behind.
	catchUpEvery = 5 * time.Millisecond
	// acceptBehind is how long a leader may be behind before the store concludes that the bucket was restored to an earlier state. A leader
	// that is cut off from the others steps down after ten seconds.
	acceptBehind = 30 * time.Second
)

// progress is the highest sequence that the store has seen, and the highest that the bucket's leader is known to have. A read is valid once
// the leader has reached what the store had seen before the read. So no read is older than an event, a write or a read before it.
type progress struct {
	mu     sync.Mutex
	seen   uint64    // the highest sequence of any event, reply or acknowledgement
	leader uint64    // the highest sequence in a reply of the leader
	link   uint64    // the number of the connection on which leader was observed
	behind time.Time // when the leader was first found behind; zero if it is not
}

// observe records a sequence from any server.
func (h *progress) observe(sequence uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen = max(h.seen, sequence)
}

// observeLeader records a sequence from the leader, on a connection.
func (h *progress) observeLeader(sequence, link uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen = max(h.seen, sequence)
	if h.link != link { // another server may consider a different one the leader
		h.link, h.leader = link, 0
	}
	h.leader = max(h.leader, sequence)
	if h.leader >= h.seen {
		h.behind = time.Time{}
	}
}

// needed returns the sequence that a read must reach if it begins now.
func (h *progress) needed() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.seen
}

// reached reports whether the leader is known to have reached a sequence.
func (h *progress) reached(sequence, link uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return sequence == 0 || h.link == link && h.leader >= sequence
}

// rewound reports whether the leader has been behind for acceptBehind. Its state is then valid, and what was seen before is discarded.
func (h *progress) rewound(last uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case last >= h.seen:
		return false
	case h.behind.IsZero():
		h.behind = time.Now()
		return false
	case time.Since(h.behind) < acceptBehind:
		return false
	}
	h.seen, h.behind = last, time.Time{}
	return true
}

// link returns the number of the connection, which grows with each reconnection.
func (d *Driver) link() uint64 { return d.js.Conn().Stats().Reconnects }

// last returns the last message of a subject, which may be a pattern, or nil if there is none.
func (d *Driver) last(ctx context.Context, subject string) (*nats.RawStreamMsg, error) {
	b, err := d.open(ctx)
	if err != nil {
		return nil, err
	}
	for {
		need, link := d.progress.needed(), d.link()
		msg, err := ask(ctx, func(ctx context.Context) (*nats.RawStreamMsg, error) { return d.request(ctx, b, subject) })
		switch {
		case err == nil:
			d.progress.observeLeader(msg.Sequence, link)
		case !errors.Is(err, nats.ErrMsgNotFound):
			return nil, d.classify(ctx, err)
		}
		if d.progress.reached(need, link) {
			return msg, nil
		}
		if _, err := d.position(ctx); err != nil {
			return nil, err
		}
	}
}

// request reads the last message of a subject from the bucket's leader. A direct get costs less, but any replica may answer it, so it is for
// buckets on one server. It accepts no pattern, and does not report why there is no answer.
func (d *Driver) request(ctx context.Context, b *opened, subject string) (*nats.RawStreamMsg, error) {
	if b.single && !strings.ContainsAny(subject, "*>") {
		msg, err := b.reads.GetLastMsg(d.stream(), subject, nats.Context(ctx), nats.DirectGet())
		if !errors.Is(err, nats.ErrNoResponders) {
			return msg, err
		}
	}
	return b.reads.GetLastMsg(d.stream(), subject, nats.Context(ctx))
}

// position returns the sequence of the bucket's last message, once its leader has reached the sequence that the store has seen.
func (d *Driver) position(ctx context.Context) (uint64, error) {
	for {
		need, link := d.progress.needed(), d.link()
		stream, err := ask(ctx, func(ctx context.Context) (jetstream.Stream, error) { return d.js.Stream(ctx, d.stream()) })
		if err != nil {
			return 0, d.classify(ctx, err)
		}
		last := stream.CachedInfo().State.LastSeq // the handle was made by this request
		d.progress.observeLeader(last, link)
		if last >= need || d.rewound(last, stream.CachedInfo().Created) {
			return last, nil
		}
		if err := backoff.Sleep(ctx, catchUpEvery); err != nil {
			return 0, fmt.Errorf("%w: the leader of bucket %q is at sequence %d and this store has seen %d", err, d.bucket, last, need)
		}
	}
}

// rewound reports whether the bucket was created again under its name, or restored to an earlier state.
func (d *Driver) rewound(last uint64, created time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.created.Equal(created) {
		d.created, d.opened = created, nil // it may have other replicas
		d.progress.forget(last)
		return true
	}
	return d.progress.rewound(last)
}

// forget starts over with the state of a new bucket.
func (h *progress) forget(last uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen, h.leader, h.behind = last, last, time.Time{}
}

const (
	// firstAnswer is how long the first attempt of a read waits for an answer. Each retry waits twice as long.
	firstAnswer = time.Second
	attempts    = 4
)

// ask repeats an unanswered request. While the servers elect a leader, requests may be lost without an error.
func ask[T any](ctx context.Context, request func(context.Context) (T, error)) (answer T, err error) {
	for n := range attempts {
		within, cancel := context.WithTimeout(ctx, firstAnswer<<n)
		answer, err = request(within)
		late := within.Err() != nil && ctx.Err() == nil
		cancel()
		if err == nil || !late {
			break
		}
	}
	return answer, err
}

// gone reports whether a message means that its key does not exist.
func gone(msg *nats.RawStreamMsg) bool {
	return msg == nil || msg.Header.Get(operation) != "" || msg.Header.Get(jetstream.MarkerReasonHeader) != ""
}

// Get implements driver.Driver. It does not return the TTL.
func (d *Driver) Get(ctx context.Context, key string) (driver.Item, error) {
	msg, err := d.last(ctx, d.subject(escape(key)))
	switch {
	case err != nil:
		return driver.Item{}, err
	case gone(msg):
		return driver.Item{}, driver.ErrNotFound
	}
	return item(key, msg.Data, msg.Sequence), nil
}

func item(key string, value []byte, sequence uint64) driver.Item {
	if value == nil {
		value = []byte{}
	}
	return driver.Item{Key: key, Value: value, Version: driver.Version(sequence)}
}
