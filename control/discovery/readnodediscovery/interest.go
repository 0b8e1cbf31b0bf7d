package readnodediscovery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-os/go-os/control/discovery/driver"
	pb "github.com/go-os/go-os/control/discovery/internal/readnodev1"
)

// watcher is one call of Watch. Nothing waits for it: it buffers at most one list and maxBehind events. Its queue is guarded by
// interest.mu.
type watcher struct {
	failed chan error
	signal chan struct{} // has an element after something was put into the queue

	begun   bool // it has received the beginning of a list
	behind  bool // it has missed events, and needs a list
	queue   []driver.Event
	listing bool // the queue ends within a list
	changes int  // in the queue, outside of the list
}

// maxBehind is how many events, outside of a list, a watcher may lag behind.
const maxBehind = 1024

var errBehind = fmt.Errorf("%w: the watch was too slow for the changes of the service, which is listed again", driver.ErrUnavailable)

// put adds events to the queue. A list makes earlier ones superfluous. A watcher that is too far behind loses its queue.
func (w *watcher) put(events []driver.Event) {
	for _, e := range events {
		switch {
		case e.Kind == driver.EventResync:
			w.queue, w.changes, w.listing, w.behind = nil, 0, true, false
		case w.behind:
			return
		case e.Kind == driver.EventSynced, e.Kind == driver.EventLost:
			w.listing = false
			w.changes++
		case !w.listing:
			w.changes++
		}
		w.queue = append(w.queue, e)
		if w.changes > maxBehind {
			w.queue, w.changes, w.begun, w.behind = []driver.Event{{Kind: driver.EventLost, Err: errBehind}}, 0, false, true
		}
	}
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

// interest is a service that the Reader follows. Its events come from one source at a time: a session with a node, or the engine.
type interest struct {
	service string
	reader  *Reader
	order   uint64 // among the interests of the Reader

	mu       sync.Mutex
	watchers map[*watcher]struct{}
	source   any    // *session, *engineWatch, or nil
	have     bool   // the watchers that have begun have all records
	epoch    string // where they are in the history of a node; empty if they are elsewhere
	revision uint64
	served   bool         // the source is a node, in reach of the registry
	timer    *time.Timer  // starts the fallback
	fallback *engineWatch // nil unless it runs
	stopped  bool
}

func (i *interest) add(w *watcher) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.watchers[w] = struct{}{}
	w.begun, w.behind = false, false
	if i.fallback != nil && i.source == i.fallback { // it restarts: it cannot list twice
		i.fallback.cancel()
	}
}

// take empties the queue of a watcher. It reports whether the watcher needs a list.
func (i *interest) take(w *watcher) (events []driver.Event, behind bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	events, w.queue, w.changes = w.queue, nil, 0
	return events, w.behind
}

// usable reports whether all watchers have all records, except watchers that have not yet received the events sent to them. The lock must
// be held.
func (i *interest) usable() bool {
	for w := range i.watchers {
		if !w.begun && !w.behind {
			return false
		}
	}
	return i.have
}

// remove removes a watcher and returns how many are left.
func (i *interest) remove(w *watcher) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.watchers, w)
	return len(i.watchers)
}

// stop ends the fallback, for good.
func (i *interest) stop() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.stopped = true
	i.calmDown()
}

// calmDown ends the fallback, or the wait before it. The lock must be held.
func (i *interest) calmDown() {
	if i.timer != nil {
		i.timer.Stop()
		i.timer = nil
	}
	if i.fallback != nil {
		i.fallback.cancel()
	}
}

// message returns the request for the service.
func (i *interest) message(tag uint64) *pb.Interest {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.usable() {
		return &pb.Interest{Service: i.service, Tag: tag}
	}
	return &pb.Interest{Service: i.service, Tag: tag, Epoch: i.epoch, Revision: i.revision, Usable: true}
}

// errSuperseded means that another source now delivers the events of a service.
var errSuperseded = errors.New("another source has taken over")

// update is a set of events, and where the watchers are after them.
type update struct {
	events   []driver.Event
	begins   bool // a list
	complete bool // the watchers have all records then
	epoch    string
	revision uint64
}

// lead makes source the delivering source from the next event on.
func (i *interest) lead(source any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.source != source {
		i.source, i.epoch = source, ""
	}
}

// deliver passes events to all watchers that have begun, or to all at the beginning of a list. It returns errSuperseded if source is no
// longer the delivering source.
func (i *interest) deliver(source any, u update) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.source != source {
		return errSuperseded
	}
	for w := range i.watchers {
		if w.begun = w.begun || u.begins; w.begun {
			w.put(u.events)
		}
	}
	i.have = i.have || u.complete
	i.epoch, i.revision = u.epoch, u.revision
	return nil
}

// notify forwards an event that does not change the records of the watchers.
func (i *interest) notify(e driver.Event) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for w := range i.watchers {
		w.put([]driver.Event{e})
	}
}

// fail ends all watches with an error that a retry cannot fix.
func (i *interest) fail(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.calmDown()
	for w := range i.watchers {
		select {
		case w.failed <- err:
		default:
		}
	}
}

// lose records that a source has ended.
func (i *interest) lose(source any, err error) {
	i.mu.Lock()
	lost := i.source == source
	if lost {
		i.source, i.served = nil, false
	}
	i.mu.Unlock()
	if lost {
		i.notify(driver.Event{Kind: driver.EventLost, Err: err})
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.schedule()
}

// outOfReach records that the source, a node, has lost the registry.
func (i *interest) outOfReach() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.served = false
	i.schedule()
}

// synced records that a node is the source, and in reach of the registry.
func (i *interest) synced() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.served = true
	i.calmDown()
}

// misplace forgets where the watchers are, so that the node sends a snapshot.
func (i *interest) misplace() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.epoch = ""
}

// unanswered records that no node answers. A service without instances is read from the engine at once.
func (i *interest) unanswered(err error) {
	i.mu.Lock()
	usable, unserved := i.usable(), i.source == nil
	i.mu.Unlock()
	if unserved {
		i.notify(driver.Event{Kind: driver.EventLost, Err: err})
	}
	if !usable {
		i.fallBack()
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.schedule()
}

// fallBack starts the fallback of a service without instances.
func (i *interest) fallBack() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.usable() {
		i.start()
	}
}

// schedule schedules the fallback of a service with instances, unless it runs or is scheduled. The lock must be held.
func (i *interest) schedule() {
	if i.usable() && !i.served {
		i.startAfter(i.reader.delay())
	}
}

// startAfter starts the fallback later, unless it runs or is scheduled. The lock must be held.
func (i *interest) startAfter(delay time.Duration) {
	if i.stopped || i.reader.opts.Engine == nil || i.fallback != nil || i.timer != nil {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(delay, func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.timer == timer {
			i.timer = nil
			i.start()
		}
	})
	i.timer = timer
}

// start starts the fallback. The lock must be held.
func (i *interest) start() {
	if i.stopped || i.reader.opts.Engine == nil || i.fallback != nil {
		return
	}
	ctx, cancel := context.WithCancel(i.reader.ctx)
	e := &engineWatch{interest: i, cancel: cancel, patient: !i.usable()}
	i.fallback = e
	i.reader.work.Go(func() { e.run(ctx) })
}

// relisted reports whether the engine is the source and a new watcher needs its list.
func (i *interest) relisted(e *engineWatch) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.source == e && !i.usable()
}

// fallenBack reports whether the engine is the source.
func (i *interest) fallenBack() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fallback != nil && i.source == i.fallback
}
