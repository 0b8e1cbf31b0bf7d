package readnode

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-os/go-os/control/discovery/driver"
	pb "github.com/go-os/go-os/control/discovery/internal/readnodev1"
	"github.com/go-os/go-os/internal/backoff"
)

// feed is the node's state of one service: its records, each encoded once, and the latest changes.
type feed struct {
	node    *Node
	service string
	epoch   string // of this history
	cancel  context.CancelFunc
	idle    *time.Timer // ends the feed a while after the last follower; guarded by Node.mu

	mu        sync.Mutex
	records   map[string][]byte   // encoded events, by ID or place
	unseen    map[string]struct{} // by the list that is being read; nil unless one is
	revision  uint64
	history   history
	snapshot  snapshot
	synced    bool      // the registry has answered once
	lost      time.Time // since when the registry is out of reach; zero while it is in reach
	reason    string    // why
	refused   error     // why no retry can help
	followers map[*follower]struct{}
}

// snapshot holds the frames of all records at a revision.
type snapshot struct {
	revision uint64
	frames   [][]byte
}

func newFeed(n *Node, service string) *feed {
	return &feed{
		node: n, service: service, epoch: rand.Text(), records: map[string][]byte{}, followers: map[*follower]struct{}{},
		history: history{limit: n.opts.History}, lost: time.Now(),
	}
}

// listPatience is how long an unanswered list of the registry blocks other lists.
const listPatience = 10 * time.Second

// run follows the service in the registry until ctx ends.
func (f *feed) run(ctx context.Context) {
	defer time.AfterFunc(remindAfter, f.remind).Stop()
	wait := backoff.Backoff{First: f.node.opts.Backoff, Longest: f.node.opts.MaxBackoff}
	for {
		err := f.watch(ctx, wait.Reset)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, driver.ErrInvalid):
			f.refuse(err)
			return
		case err == nil:
			err = driver.ErrUnavailable
		}
		f.apply(ctx, driver.Event{Kind: driver.EventLost, Err: err})
		if wait.Wait(ctx) != nil {
			return
		}
	}
}

const (
	// remindAfter is how long the registry may take before the node notifies its clients of the delay.
	remindAfter = time.Second
	noAnswer    = "the registry has not answered yet"
)

// remind notifies clients that the registry does not answer.
func (f *feed) remind() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.synced && f.reason == "" {
		f.reason = noAnswer
		f.wake()
	}
}

// watch runs one watch of the registry. Only a few may be without an answer at a time.
func (f *feed) watch(ctx context.Context, synced func()) error {
	select {
	case f.node.lists <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	done := sync.OnceFunc(func() { <-f.node.lists })
	defer done()
	defer time.AfterFunc(listPatience, done).Stop()
	return f.node.reader.Watch(ctx, f.service, func(e driver.Event) error {
		if e.Kind == driver.EventSynced {
			synced()
		}
		if e.Kind == driver.EventSynced || e.Kind == driver.EventLost {
			done()
		}
		f.apply(ctx, e)
		return nil
	})
}

// apply takes one event of the registry.
func (f *feed) apply(ctx context.Context, e driver.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	id := e.Record.ID
	switch e.Kind {
	case driver.EventResync:
		f.unseen = make(map[string]struct{}, len(f.records))
		for id := range f.records {
			f.unseen[id] = struct{}{}
		}
	case driver.EventPut, driver.EventInvalid:
		delete(f.unseen, id)
		f.put(id, encodeRecord(e))
	case driver.EventDelete:
		f.remove(id)
	case driver.EventSynced:
		f.settle(ctx)
	case driver.EventLost:
		f.lose(ctx, e)
	}
}

func (f *feed) put(id string, record []byte) {
	if string(f.records[id]) == string(record) {
		return
	}
	f.records[id] = record
	f.change(record)
}

func (f *feed) remove(ids ...string) {
	var events [][]byte
	for _, id := range ids {
		if _, known := f.records[id]; known {
			delete(f.records, id)
			events = append(events, mustEvent(&pb.Event{Kind: &pb.Event_Delete{Delete: text(id)}}))
		}
	}
	if len(events) > 0 {
		f.change(events...)
	}
}

// settle ends a list: records missing from it do not exist.
func (f *feed) settle(ctx context.Context) {
	f.remove(slices.Sorted(maps.Keys(f.unseen))...)
	f.unseen = nil
	if f.lost.IsZero() {
		return
	}
	since := time.Since(f.lost)
	f.lost, f.reason = time.Time{}, ""
	if f.synced {
		f.node.obs.restored(ctx, f.service, since)
		f.change(mustEvent(&pb.Event{Kind: &pb.Event_Synced{Synced: true}}))
	}
	f.synced = true
	f.wake()
}

func (f *feed) lose(ctx context.Context, e driver.Event) {
	f.unseen = nil
	if e.Err == nil {
		e.Err = driver.ErrUnavailable
	}
	reason := text(e.Err.Error())
	if !f.lost.IsZero() {
		if f.reason != reason {
			f.reason = reason
			f.wake()
		}
		return
	}
	f.lost, f.reason = time.Now().Add(-e.Age), reason
	f.node.obs.lost(ctx, f.service, e.Err)
	f.change(mustEvent(&pb.Event{Kind: &pb.Event_Lost{Lost: reason}}))
}

func (f *feed) refuse(err error) {
	f.node.drop(f)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refused = err
	f.wake()
}

// change records events, encodes them for all followers and wakes them. A feed stays hidden until the registry has answered.
func (f *feed) change(events ...[]byte) {
	if !f.synced {
		return
	}
	for _, part := range split(events) {
		f.revision++
		f.history.add(f.revision, f.encode(&pb.Update{}, part))
	}
	f.wake()
}

func (f *feed) encode(header *pb.Update, events [][]byte) []byte {
	header.Service, header.Epoch, header.Revision = f.service, f.epoch, f.revision
	f.node.encoded()
	return encodeUpdate(header, events...)
}

// wake notifies the sessions of all followers.
func (f *feed) wake() {
	for w := range f.followers {
		w.session.wake(w)
	}
}

// maxBehind is how many changes a reused snapshot may lack: the client receives them from the history.
const maxBehind = 64

// whole returns the frames of a snapshot, at a revision that the history covers.
func (f *feed) whole() snapshot {
	if f.snapshot.frames != nil && f.revision-f.snapshot.revision <= maxBehind && f.history.covers(f.snapshot.revision) {
		return f.snapshot
	}
	events := make([][]byte, 0, len(f.records))
	for _, id := range slices.Sorted(maps.Keys(f.records)) {
		events = append(events, f.records[id])
	}
	parts := split(events)
	s := snapshot{revision: f.revision}
	for n, part := range parts {
		s.frames = append(s.frames, f.encode(&pb.Update{Snapshot: true, Last: n == len(parts)-1}, part))
	}
	f.snapshot = s
	return s
}

// age returns for how long the registry has been out of reach.
func (f *feed) age() time.Duration {
	if f.lost.IsZero() {
		return 0
	}
	return max(time.Since(f.lost), time.Millisecond)
}

// why returns why the registry is out of reach.
func (f *feed) why() string {
	if f.reason == "" && !f.lost.IsZero() {
		return noAnswer
	}
	return f.reason
}

// history holds the frames of the latest changes.
type history struct {
	limit  int
	last   uint64 // revision
	frames [][]byte
	size   int
}

// maxHistory is how many bytes a history has at most.
const maxHistory = 1 << 20

func (h *history) add(revision uint64, frame []byte) {
	h.last = revision
	h.frames, h.size = append(h.frames, frame), h.size+len(frame)
	for len(h.frames) > 1 && (len(h.frames) > h.limit || h.size > maxHistory) {
		h.size -= len(h.frames[0])
		h.frames[0] = nil // append copies only the rest
		h.frames = h.frames[1:]
	}
}

// covers reports whether the history has every change after a revision.
func (h *history) covers(revision uint64) bool {
	return revision <= h.last && h.last-revision <= uint64(len(h.frames))
}

// after returns the frames after a revision that is covered.
func (h *history) after(revision uint64) [][]byte {
	return slices.Clone(h.frames[uint64(len(h.frames))-(h.last-revision):])
}
