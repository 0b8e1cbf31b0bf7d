package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/internal/backoff"
	"github.com/go-os/go-os/internal/fault"
	"github.com/go-os/go-os/internal/instrument"
)

// service is the state of one service in a Resolver.
type service struct {
	name     string
	resolver *Resolver
	loaded   chan struct{} // closed when there is a first answer: the registry's, or a saved one
	failed   chan struct{} // closed when the registry has failed before that
	disk     *disk         // nil if nothing is saved

	current atomic.Pointer[Snapshot] // nil until there is something to show

	mu         sync.Mutex
	answered   bool
	stale      time.Time // since when the registry is out of reach; zero if it is not
	reported   bool      // that it is out of reach
	err        error     // why
	known      bool      // the registry has had a record
	dirty      bool      // the entries differ from the snapshot
	entries    map[string]*entry
	unseen     map[string]struct{} // by the snapshot that is being read
	reading    bool                // a snapshot is being read
	vanished   map[string]vanished // by ID; of the last HoldWindow
	order      []departure         // of vanished, by time; an ID may have returned since
	held       int                 // of the entries
	holdEnd    time.Time           // when timer fires; zero if it does not
	invalid    map[string]error
	refused    map[string]struct{}     // invalid records of the snapshot that is being read, by their place
	waiters    chan struct{}           // closed with the next change
	timer      *time.Timer             // ends holds
	resyncs    int                     // snapshots that have been read
	publishing *time.Timer             // publishes the delayed changes; nil if there are none
	rest       time.Time               // when the next snapshot may be published
	ready      bool                    // loaded is closed
	pending    []func(context.Context) // events to emit
	emitting   bool                    // a goroutine emits them
	recalled   int                     // instances of the file that was used before the first answer
}

// entry is one instance.
type entry struct {
	record   driver.Record
	held     time.Time // since when; zero if it is registered
	asOf     time.Time // when the registry was last known to have the record, if that is from a file; else zero
	failures int       // in a row, as reported
}

// departure is when an instance vanished.
type departure struct {
	id string
	at time.Time
}

// vanished is an instance whose record was removed without a goodbye.
type vanished struct {
	record driver.Record
	at     time.Time
	asOf   time.Time // as of entry
}

func newService(name string, r *Resolver) *service {
	return &service{
		name: name, resolver: r, loaded: make(chan struct{}), stale: time.Now(), waiters: make(chan struct{}),
		failed: make(chan struct{}), disk: newDisk(r.opts.SnapshotDir, name),
		entries: map[string]*entry{}, invalid: map[string]error{}, vanished: map[string]vanished{},
	}
}

// run follows the service until ctx ends.
func (s *service) run(ctx context.Context) {
	defer s.stop()
	timer := time.AfterFunc(overdueAfter, s.overdue)
	defer timer.Stop()
	wait := backoff.Backoff{First: s.resolver.opts.Backoff, Longest: s.resolver.opts.MaxBackoff}
	for {
		err := s.resolver.reader.Watch(ctx, s.name, func(e driver.Event) error {
			if e.Kind == driver.EventSynced {
				wait.Reset()
			}
			s.apply(ctx, e)
			return nil
		})
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = fmt.Errorf("%w: the watch has ended", ErrUnavailable)
		}
		s.resolver.obs.restarted(ctx, fault.Type(err))
		s.lose(err)
		if errors.Is(err, ErrClosed) { // the driver, or its store
			return
		}
		if wait.Wait(ctx) != nil {
			return
		}
	}
}

func (s *service) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, timer := range []*time.Timer{s.timer, s.publishing} {
		if timer != nil {
			timer.Stop()
		}
	}
}

// apply takes one event of the registry.
func (s *service) apply(ctx context.Context, e driver.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := e.Record.ID
	switch e.Kind {
	case driver.EventResync:
		s.restart(ctx)
	case driver.EventPut:
		delete(s.unseen, id)
		if err := checkRead(e.Record.Instance); err != nil && e.Record.State != driver.Gone {
			s.refuse(id, err)
			return
		}
		delete(s.invalid, id)
		s.put(e.Record)
	case driver.EventDelete:
		delete(s.invalid, id)
		s.vanish(id)
		s.judge(id)
		s.publish()
	case driver.EventInvalid:
		delete(s.unseen, id) // it exists: there is no evidence that the instance is gone
		s.refuse(id, e.Err)
	case driver.EventSynced:
		s.synced()
	case driver.EventLost:
		s.resolver.obs.restarted(ctx, fault.Type(cmp.Or(e.Err, ErrUnavailable)))
		s.lost(e.Err, e.Age)
	}
}

// restart begins a snapshot of the registry.
func (s *service) restart(ctx context.Context) {
	if s.resyncs++; s.resyncs > 1 {
		s.resolver.obs.restarted(ctx, "resync")
	}
	s.reading = true
	s.unseen = map[string]struct{}{}
	for id := range s.entries {
		s.unseen[id] = struct{}{}
	}
	s.refused = map[string]struct{}{}
}

// synced ends a snapshot. Instances missing from it have vanished.
func (s *service) synced() {
	if s.reading {
		s.reading = false
		s.believe()
		unseen := slices.Sorted(maps.Keys(s.unseen))
		for _, id := range unseen {
			s.vanish(id)
		}
		s.judge(unseen...)
		maps.DeleteFunc(s.invalid, func(place string, _ error) bool {
			_, still := s.refused[place]
			return !still
		})
		s.unseen, s.refused = nil, nil
	}
	s.stale, s.err, s.reported = time.Time{}, nil, false
	s.answered = true
	s.publish()
	s.load()
	s.disk.touch()
}

// believe removes the instances of the file that the first answer of the registry lacks, if the answer has about as many others. They were
// replaced while this process was down, and their goodbyes may have expired. If it has far fewer, the rules of holds apply.
func (s *service) believe() {
	shown := len(s.entries) - len(s.unseen)
	if s.recalled == 0 || float64(shown) < (1-s.resolver.opts.HoldShare)*float64(s.recalled) {
		s.recalled = 0
		return
	}
	s.recalled = 0
	for id := range s.unseen {
		if !s.entries[id].asOf.IsZero() {
			delete(s.entries, id)
			delete(s.unseen, id)
			s.dirty = true
		}
	}
}

// load unblocks the first Lookups.
func (s *service) load() {
	if !s.ready {
		s.ready = true
		close(s.loaded)
	}
}

func (s *service) put(r driver.Record) {
	s.known = true
	if r.State == driver.Gone {
		s.depart(r)
		s.publish()
		return
	}
	e := s.entries[r.ID]
	if e == nil {
		e = &entry{}
		s.entries[r.ID] = e
		s.later(s.resolver.obs.appeared, r)
	} else if e.record.State != driver.Draining && r.State == driver.Draining {
		s.later(s.resolver.obs.draining, r)
	}
	s.dirty = s.dirty || !e.held.IsZero() || e.record.Incarnation != r.Incarnation || !same(e.record.Instance, r.Instance)
	if !e.held.IsZero() {
		s.held--
	}
	*e = entry{record: r}
	delete(s.vanished, r.ID)
	s.publish()
}

// depart removes an instance after its goodbye, unless another incarnation has replaced it.
func (s *service) depart(r driver.Record) {
	delete(s.vanished, r.ID)
	e := s.entries[r.ID]
	if e == nil || e.record.Epoch > r.Epoch {
		return
	}
	if !e.held.IsZero() {
		s.held--
	}
	delete(s.entries, r.ID)
	s.dirty = true
	s.later(s.resolver.obs.departed, r)
}

// maxPending is how many events of a service wait while handlers are slow. Further ones are dropped.
const maxPending = 1000

// later queues an event about an instance. mu is held.
func (s *service) later(event *instrument.Event, r driver.Record) {
	s.queue(func(ctx context.Context) { event.Emit(ctx, s.resolver.obs.about(r)...) })
}

// queue emits an event in a separate goroutine: handlers of the program run in it, and may be slow. mu is held.
func (s *service) queue(event func(context.Context)) {
	if len(s.pending) >= maxPending {
		return
	}
	s.pending = append(s.pending, event)
	if !s.emitting {
		s.emitting = s.resolver.spawn(s.emit)
	}
}

// spawn runs a function in a goroutine that Close waits for. After Close it returns false.
func (r *Resolver) spawn(do func(context.Context)) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.work.Go(func() { do(r.ctx) })
	return true
}

// emit emits the pending events, and returns when none is left.
func (s *service) emit(ctx context.Context) {
	for {
		s.mu.Lock()
		pending := s.pending
		s.pending = nil
		s.emitting = len(pending) > 0
		s.mu.Unlock()
		if len(pending) == 0 {
			return
		}
		for _, event := range pending {
			if ctx.Err() != nil {
				break // Close does not wait for slow handlers
			}
			event(ctx)
		}
	}
}
