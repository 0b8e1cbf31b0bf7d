package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/control/discovery/internal/naming"
	"github.com/go-os/go-os/internal/backoff"
	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/fault"
	"github.com/go-os/go-os/internal/instrument"
	"github.com/go-os/go-os/telemetry"
)

// The defaults of ResolverOptions.
const (
	DefaultHoldShare  = 0.3
	DefaultHoldWindow = 15 * time.Second
	DefaultHoldTime   = time.Hour
	DefaultBackoff    = 100 * time.Millisecond
	DefaultMaxBackoff = 5 * time.Second
)

// ResolverOptions configure NewResolver.
type ResolverOptions struct {
	// HoldShare is the share of a service's instances, above 0 and up to 1, that may vanish without a goodbye within HoldWindow. If more do,
	// all of them are held. Default: DefaultHoldShare.
	HoldShare float64
	// HoldWindow is the time within which vanished instances are counted. Set it to the TTL of the registrars. Default: DefaultHoldWindow.
	HoldWindow time.Duration
	// HoldTime is the longest time for which an instance is held. Default: DefaultHoldTime.
	HoldTime time.Duration
	// Backoff is the wait before a failed watch is restarted. It doubles up to MaxBackoff, and half of it is random. Default:
	// DefaultBackoff.
	Backoff time.Duration
	// MaxBackoff is the longest such wait. Default: DefaultMaxBackoff.
	MaxBackoff time.Duration
	// SnapshotDir is a folder in which the instances of each service are saved. A process that starts while the registry is away uses them
	// after 50 ms. The folder is created with the mode 0700, its files have 0600. Files that another user can write or read are not used.
	// Default: none.
	SnapshotDir string
	// Telemetry receives spans, metrics and events. A no-op provider turns its signal off.
	Telemetry telemetry.Providers
}

func (o *ResolverOptions) withDefaults() (ResolverOptions, error) {
	all := defaults.Copy(o)
	if all.HoldShare > 1 {
		return all, fmt.Errorf("%w: discovery.ResolverOptions.HoldShare is %v: use 0 to 1", ErrInvalid, all.HoldShare)
	}
	return all, cmp.Or(
		defaults.Fill("discovery.ResolverOptions.HoldShare", &all.HoldShare, DefaultHoldShare),
		defaults.Fill("discovery.ResolverOptions.HoldWindow", &all.HoldWindow, DefaultHoldWindow),
		defaults.Fill("discovery.ResolverOptions.HoldTime", &all.HoldTime, DefaultHoldTime),
		defaults.Fill("discovery.ResolverOptions.Backoff", &all.Backoff, DefaultBackoff),
		defaults.Fill("discovery.ResolverOptions.MaxBackoff", &all.MaxBackoff, DefaultMaxBackoff),
	)
}

// Resolver holds the instances of services in memory. It follows a service from its first Lookup until Close. It is safe for concurrent
// use.
type Resolver struct {
	reader driver.Reader
	opts   ResolverOptions
	obs    readObserver

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup
	disk   sync.WaitGroup // may be blocked by a file system

	services sync.Map // of *service by name
	mu       sync.Mutex
	closed   bool
}

// NewResolver returns a Resolver on a registry, which the Resolver closes. One registry may serve a Registrar and a Resolver: closing a
// registry of kvdiscovery or consuldiscovery twice, or while the other uses it, is harmless. It does no I/O and starts no goroutine. It returns ErrInvalid
// without a registry or if an option is invalid.
func NewResolver(r driver.Reader, opts *ResolverOptions) (*Resolver, error) {
	o, err := opts.withDefaults()
	if err := cmp.Or(defaults.Given("discovery: NewResolver", "registry", r), err); err != nil {
		return nil, err
	}
	s := &Resolver{reader: r, opts: o}
	s.obs = observeReads(r.System(), o.Telemetry, s.Status)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Snapshot is the instances of a service at one moment. All callers share it: do not change its fields.
type Snapshot struct {
	// Service that the instances provide.
	Service string
	// Instances that are registered or held, including draining ones, ordered by ID.
	Instances []Instance
	// Held is how many of them are held: their records have vanished without a goodbye.
	Held int

	held    []bool // by index of Instances
	service *service
}

// add appends an instance.
func (s *Snapshot) add(i Instance, held bool) {
	s.Instances, s.held = append(s.Instances, i), append(s.held, held)
	if held {
		s.Held++
	}
}

// IsHeld reports whether Instances[n] is held.
func (s *Snapshot) IsHeld(n int) bool { return s.held[n] }

// Age returns for how long the registry has been out of reach. It is zero while the Resolver watches the service.
func (s *Snapshot) Age() time.Duration { return s.service.age() }

// Lookup returns the present instances of a service. The first Lookup of a service queries the registry and waits for its answer until ctx
// ends; later ones read memory.
//
// It returns ErrNotFound if the registry has never had a record of the service. It returns ErrUnavailable if ctx ends before the registry
// answers. It may also return ErrInvalid or ErrClosed. A service whose instances have all said goodbye has an empty Snapshot and no error.
// After ErrNotFound, a later Lookup finds an instance as soon as one is registered.
//
// The Resolver follows each name until Close, so do not look up names from untrusted input.
func (r *Resolver) Lookup(ctx context.Context, name string) (*Snapshot, error) {
	if s, ok := r.services.Load(name); ok {
		if snapshot := s.(*service).current.Load(); snapshot != nil {
			return snapshot, nil
		}
	}
	return r.lookup(ctx, name)
}

// lookup waits for the first answer, or returns why there are no instances.
func (r *Resolver) lookup(ctx context.Context, name string) (out *Snapshot, err error) {
	ctx, call := r.obs.lookup.Start(ctx, name)
	defer call.End(ctx, &err)
	s, err := r.follow(name)
	if err != nil {
		return nil, err
	}
	select {
	case <-s.loaded:
	case <-ctx.Done():
		if snapshot := s.current.Load(); snapshot != nil {
			return snapshot, nil
		}
		return nil, fmt.Errorf("%w: no answer from %s yet: %w", ErrUnavailable, r.reader.System(), because(ctx.Err(), s.failure()))
	case <-r.ctx.Done():
		return nil, ErrClosed
	}
	if snapshot := s.current.Load(); snapshot != nil {
		return snapshot, nil
	}
	if err := s.failure(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("%w: no instance has been registered", ErrNotFound)
}

// because adds a cause to an error, if there is one, on the same line.
func because(err, cause error) error {
	if cause == nil {
		return err
	}
	return fmt.Errorf("%w: %w", cause, err)
}

// follow returns the service of this name, and starts to follow it at the first call.
func (r *Resolver) follow(name string) (*service, error) {
	if err := naming.CheckService(name); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, ErrClosed
	}
	if s, ok := r.services.Load(name); ok {
		return s.(*service), nil
	}
	s := newService(name, r)
	r.services.Store(name, s)
	r.work.Go(func() { s.run(r.ctx) })
	if s.disk != nil {
		r.disk.Go(func() { s.keepSaved(r.ctx) })
	}
	return s, nil
}

// Change is a Snapshot and its difference from the previous one.
type Change struct {
	// Snapshot after the change.
	Snapshot *Snapshot
	// Added are instances that were not in the snapshot before.
	Added []Instance
	// Removed are instances that are no longer in it.
	Removed []Instance
	// Updated are instances that have changed, such as their weight or their state, or that are held, or no longer are.
	Updated []Instance
}

// Watch returns the present instances of a service that all filters accept as Added, and then every change, until ctx ends. It waits while
// the service is unknown, or the registry is out of reach. A slow loop misses intermediate snapshots, never the last one. The loop ends
// without an error when ctx ends. Any other end is an error in the last pair: ErrInvalid or ErrClosed.
func (r *Resolver) Watch(ctx context.Context, name string, filters ...Filter) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		s, err := r.follow(name)
		if err != nil {
			yield(Change{}, wrap("watch", name, err))
			return
		}
		view := View{service: s, filters: filters}
		before, first := &Snapshot{Service: name, service: s}, true
		for {
			changed := s.changed()
			if now := view.snapshot(); now != nil && now != before {
				change := difference(before, now)
				before = now
				if first || !change.empty() {
					first = false
					if !yield(change, nil) {
						return
					}
				}
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			case <-r.ctx.Done():
				yield(Change{}, wrap("watch", name, ErrClosed))
				return
			}
		}
	}
}

// empty reports whether nothing has changed.
func (c Change) empty() bool { return len(c.Added)+len(c.Removed)+len(c.Updated) == 0 }

// difference compares two snapshots. Their instances must be ordered by ID.
func difference(before, now *Snapshot) Change {
	c := Change{Snapshot: now}
	n := 0 // of the instances before
	for i, instance := range now.Instances {
		for ; n < len(before.Instances) && before.Instances[n].ID < instance.ID; n++ {
			c.Removed = append(c.Removed, before.Instances[n])
		}
		if n == len(before.Instances) || before.Instances[n].ID != instance.ID {
			c.Added = append(c.Added, instance)
			continue
		}
		if !same(before.Instances[n], instance) || before.held[n] != now.held[i] {
			c.Updated = append(c.Updated, instance)
		}
		n++
	}
	c.Removed = append(c.Removed, before.Instances[n:]...)
	return c
}

// Report records whether a connection to an instance has succeeded. Three failures in a row end the hold of an instance. They do not affect
// an instance that is not held, or other processes. The clients of oshttp and osgrpc report by themselves.
func (r *Resolver) Report(name, id string, ok bool) {
	if s, known := r.services.Load(name); known {
		s.(*service).report(id, ok)
	}
}

// Status is the state of a service in a Resolver.
type Status struct {
	// Service is its name.
	Service string
	// Loaded is set once the registry has answered.
	Loaded bool
	// Age is how long the registry has been out of reach; zero while it is reachable.
	Age time.Duration
	// Instances is how many there are, held ones included.
	Instances int
	// Held are the IDs of the instances that are held.
	Held []string
	// States counts the instances that are not held by state.
	States map[State]int
	// Invalid are the records that could not be decoded, by their place in the registry.
	Invalid map[string]error
	// Err is why the registry is out of reach, if it is.
	Err error
}

// Status returns the state of each followed service, ordered by name.
func (r *Resolver) Status() []Status {
	var all []Status
	r.services.Range(func(_, s any) bool {
		all = append(all, s.(*service).status())
		return true
	})
	slices.SortFunc(all, func(a, b Status) int { return strings.Compare(a.Service, b.Service) })
	return all
}

// Close ends all watches, saves the snapshots and closes the driver. Snapshots stay valid; later calls return ErrClosed. A second Close does
// nothing. Close waits for a blocked file system for a second at most.
func (r *Resolver) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.work.Wait()
	saved := make(chan struct{})
	go func() { r.disk.Wait(); close(saved) }()
	select {
	case <-saved:
	case <-time.After(closeTimeout):
	}
	r.services.Clear()
	r.obs.close()
	return r.reader.Close()
}

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
	s.dirty = s.dirty || !e.held.IsZero() || !same(e.record.Instance, r.Instance)
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
