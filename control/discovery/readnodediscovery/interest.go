package readnodediscovery

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-os/go-os/control/discovery/driver"
	pb "github.com/go-os/go-os/control/discovery/internal/readnodev1"
)

// watcher is one call of Watch. Its queue is short: whoever delivers waits for it.
type watcher struct {
	batches chan []driver.Event
	failed  chan error
	done    chan struct{} // closed when Watch returns
	begun   bool          // it has seen the beginning of a list; guarded by interest.mu
}

// interest is a service that the Reader follows. Its events come from one source at a time: a session with a node, or the engine.
type interest struct {
	service string
	reader  *Reader
	order   uint64 // among the interests of the Reader

	delivery sync.Mutex // held while events are delivered; taken before mu

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
	if i.fallback != nil && i.source == i.fallback { // it starts again: it cannot list twice
		i.fallback.cancel()
	}
}

// usable reports whether all watchers have all records. The lock must be held.
func (i *interest) usable() bool {
	for w := range i.watchers {
		if !w.begun {
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

// calmDown ends the fallback, or what leads to it. The lock must be held.
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

// errSuperseded means that another source delivers the events of a service now.
var errSuperseded = errors.New("another source has taken over")

// update is a set of events, and where the watchers are after them.
type update struct {
	events   []driver.Event
	begins   bool // a list
	complete bool // the watchers have all records then
	epoch    string
	revision uint64
}

// take makes source the one that delivers, from the next event on.
func (i *interest) take(source any) {
	i.delivery.Lock()
	defer i.delivery.Unlock()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.source != source {
		i.source, i.epoch = source, ""
	}
}

// deliver passes events to all watchers, and waits for those that are slow. It returns errSuperseded if source does not deliver any longer.
func (i *interest) deliver(source any, u update) error {
	i.delivery.Lock()
	defer i.delivery.Unlock()
	i.mu.Lock()
	if i.source != source {
		i.mu.Unlock()
		return errSuperseded
	}
	watchers := i.present(u.begins)
	i.mu.Unlock()
	i.send(watchers, u.events)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.have = i.have || u.complete
	i.epoch, i.revision = u.epoch, u.revision
	return nil
}

// present returns the watchers that have begun, or all of them at the beginning of a list. The lock must be held.
func (i *interest) present(begins bool) []*watcher {
	all := make([]*watcher, 0, len(i.watchers))
	for w := range i.watchers {
		if w.begun = w.begun || begins; w.begun {
			all = append(all, w)
		}
	}
	return all
}

func (i *interest) send(watchers []*watcher, events []driver.Event) {
	if len(events) == 0 {
		return
	}
	for _, w := range watchers {
		select {
		case w.batches <- events:
		case <-w.done:
		case <-i.reader.ctx.Done():
		}
	}
}

// notify passes on an event that changes nothing of what the watchers have.
func (i *interest) notify(e driver.Event) {
	i.delivery.Lock()
	defer i.delivery.Unlock()
	i.mu.Lock()
	watchers := slices.Collect(maps.Keys(i.watchers))
	i.mu.Unlock()
	i.send(watchers, []driver.Event{e})
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

// outOfReach records that the node which is the source has lost the registry.
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

// schedule has the fallback of a service that has instances start later, unless it runs or is scheduled. The lock must be held.
func (i *interest) schedule() {
	if i.usable() && !i.served {
		i.startAfter(i.reader.delay())
	}
}

// startAfter has the fallback start later, unless it runs or is scheduled. The lock must be held.
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

// relisted reports whether the engine is the source, and a watcher has come that needs its list.
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
