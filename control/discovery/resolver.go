package discovery

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/control/discovery/internal/naming"
	"github.com/go-os/go-os/internal/defaults"
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

	held         []bool   // by index of Instances
	incarnations []string // by index of Instances
	service      *service
}

// add appends an instance.
func (s *Snapshot) add(i Instance, incarnation string, held bool) {
	s.Instances, s.held, s.incarnations = append(s.Instances, i), append(s.held, held), append(s.incarnations, incarnation)
	if held {
		s.Held++
	}
}

// IsHeld reports whether Instances[n] is held.
func (s *Snapshot) IsHeld(n int) bool { return s.held[n] }

// Incarnation identifies the start of the process of Instances[n]: a restart changes it. It is empty if the registry does not record it,
// as DNS does not.
func (s *Snapshot) Incarnation(n int) string { return s.incarnations[n] }

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
		if !same(before.Instances[n], instance) || before.held[n] != now.held[i] ||
			before.incarnations[n] != now.incarnations[i] {
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
