package discovery

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/internal/backoff"
	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/telemetry"
)

// The defaults of RegistrarOptions.
const (
	DefaultTTL     = 15 * time.Second
	DefaultTimeout = 5 * time.Second
	// DefaultGoodbye is how long readers can see that an instance has deregistered.
	DefaultGoodbye = 10 * time.Minute
	// DefaultHealthInterval is how often RegistrarOptions.Health is called.
	DefaultHealthInterval = 5 * time.Second
)

// RegistrarOptions configure NewRegistrar.
type RegistrarOptions struct {
	// TTL is how long the registry keeps the instances of a process that has died. It is renewed three times a TTL. Default: DefaultTTL.
	TTL time.Duration
	// Timeout limits one request to the registry. More than a third of the TTL means a third of the TTL. Default: DefaultTimeout.
	Timeout time.Duration
	// Goodbye is how long the record of an instance that has deregistered stays in the registry. Default: DefaultGoodbye.
	Goodbye time.Duration
	// Backoff is the wait before a failed request is retried. It doubles up to a third of the TTL, and half of it is random. Default:
	// DefaultBackoff.
	Backoff time.Duration
	// Health reports whether the process can serve. While it returns an error, instances that are Up are registered as Unhealthy. It is
	// called every HealthInterval, must return soon, and should not flap: give it a cached verdict. A panic counts as an error.
	// Default: always healthy.
	Health func(context.Context) error
	// HealthInterval is the time between two calls of Health. Default: DefaultHealthInterval.
	HealthInterval time.Duration
	// Telemetry receives spans, metrics and events. A no-op provider turns its signal off.
	Telemetry telemetry.Providers
}

func (o *RegistrarOptions) withDefaults(caps driver.Capabilities) (RegistrarOptions, error) {
	all := defaults.Copy(o)
	if err := cmp.Or(
		defaults.Fill("discovery.RegistrarOptions.TTL", &all.TTL, max(DefaultTTL, caps.MinTTL)),
		defaults.Fill("discovery.RegistrarOptions.Timeout", &all.Timeout, DefaultTimeout),
		defaults.Fill("discovery.RegistrarOptions.Goodbye", &all.Goodbye, DefaultGoodbye),
		defaults.Fill("discovery.RegistrarOptions.Backoff", &all.Backoff, DefaultBackoff),
		defaults.Fill("discovery.RegistrarOptions.HealthInterval", &all.HealthInterval, DefaultHealthInterval),
	); err != nil {
		return all, err
	}
	switch {
	case all.TTL < caps.MinTTL:
		return all, fmt.Errorf("%w: discovery.RegistrarOptions.TTL is %s: %s takes at least %s", ErrInvalid, all.TTL, caps.System, caps.MinTTL)
	case caps.MaxTTL > 0 && all.TTL > caps.MaxTTL:
		return all, fmt.Errorf("%w: discovery.RegistrarOptions.TTL is %s: %s takes at most %s", ErrInvalid, all.TTL, caps.System, caps.MaxTTL)
	}
	all.Timeout = min(all.Timeout, all.TTL/3)
	return all, nil
}

// Registrar keeps the instances of one process in a registry. It is safe for concurrent use.
type Registrar struct {
	driver driver.Registrar
	opts   RegistrarOptions
	obs    writeObserver

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup

	incarnation string
	unhealthy   atomic.Bool // by the last call of Health

	mu            sync.Mutex
	closed        bool
	started       bool
	lease         *lease // nil without a lease
	registrations map[string]*Registration
}

// NewRegistrar returns a Registrar on a registry, which the Registrar closes. One registry may serve a Registrar and a Resolver: closing a
// registry of kvdiscovery or consuldiscovery twice, or while the other uses it, is harmless. It does no I/O and starts no goroutine. It returns ErrInvalid
// without a registry, or if an option is negative or outside the registry's limits.
func NewRegistrar(d driver.Registrar, opts *RegistrarOptions) (*Registrar, error) {
	if err := defaults.Given("discovery: NewRegistrar", "registry", d); err != nil {
		return nil, err
	}
	o, err := opts.withDefaults(d.Capabilities())
	if err != nil {
		return nil, fmt.Errorf("discovery: NewRegistrar: %w", err)
	}
	r := &Registrar{
		driver: d, opts: o, incarnation: rand.Text(), registrations: map[string]*Registration{},
	}
	r.obs = observeWrites(d.Capabilities().System, o.Telemetry, r.states)
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r, nil
}

// Register keeps an instance in the registry until the Registration is closed. Its State is ignored: it is Up. A Weight of zero means
// DefaultWeight. Register waits for the outcome of the first request until ctx ends, and succeeds even if the registry is away.
// [Registration.Check] reports whether the instance is registered.
//
// It returns ErrInvalid if the instance cannot be registered anywhere or this process has registered the same service and ID, and ErrClosed.
func (r *Registrar) Register(ctx context.Context, instance Instance) (out *Registration, err error) {
	ctx, call := r.obs.register.Start(ctx, instance.Service)
	defer call.End(ctx, &err)
	if err := check(instance); err != nil {
		return nil, err
	}
	instance = cloned(instance)
	instance.State = Up
	instance.Weight = cmp.Or(instance.Weight, DefaultWeight)
	g := &Registration{
		registrar: r, service: instance.Service, id: instance.ID,
		tried: make(chan struct{}), writing: make(chan struct{}, 1), revised: make(chan struct{}), updated: make(chan struct{}), done: make(chan struct{}),
	}
	g.record = driver.Record{Instance: instance, Incarnation: r.incarnation}
	g.release()
	if err := r.add(g); err != nil {
		return nil, err
	}
	select {
	case <-g.tried:
	case <-ctx.Done():
	case <-r.ctx.Done():
	}
	return g, nil
}

// add adds a registration, and starts the upkeep with the first one.
func (r *Registrar) add(g *Registration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ErrClosed
	}
	if _, ok := r.registrations[g.key()]; ok {
		return fmt.Errorf("%w: instance %q: already registered by this process", ErrInvalid, g.id)
	}
	r.registrations[g.key()] = g
	if !r.started {
		r.started = true
		r.work.Go(r.run)
		if r.opts.Health != nil {
			r.work.Go(r.observeHealth)
		}
	} else if r.lease != nil {
		r.lease.tend(g)
	}
	return nil
}

// run keeps a lease until Close.
func (r *Registrar) run() {
	wait := backoff.Backoff{First: r.opts.Backoff, Longest: r.opts.TTL / 3}
	for r.ctx.Err() == nil {
		l, err := r.grant()
		if err != nil {
			for _, g := range r.fail(err) {
				g.observe(nil, err)
			}
			_ = wait.Wait(r.ctx)
			continue
		}
		wait.Reset()
		if err := l.keep(); err != nil && r.ctx.Err() == nil {
			r.obs.lost(r.ctx, err)
			r.fail(err)
		}
	}
}

// observeHealth follows the health of the process until Close.
func (r *Registrar) observeHealth() {
	for {
		err := r.health()
		if now := err != nil; r.unhealthy.Swap(now) != now {
			r.healthChanged(err)
		}
		if backoff.Sleep(r.ctx, backoff.Jitter(r.opts.HealthInterval, 0.1)) != nil {
			return
		}
	}
}

// health calls Health, and returns a panic as an error.
func (r *Registrar) health() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	ctx, cancel := context.WithTimeout(r.ctx, r.opts.HealthInterval)
	defer cancel()
	return r.opts.Health(ctx)
}

func (r *Registrar) healthChanged(err error) {
	for _, g := range r.all() {
		g.healthChanged()
	}
	if err != nil && r.ctx.Err() == nil {
		r.obs.sickened.EmitError(r.ctx, err, r.obs.system)
	}
}

// all returns the registrations.
func (r *Registrar) all() []*Registration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Values(r.registrations))
}

// states counts the registrations for the metrics.
func (r *Registrar) states() map[registrationState]int {
	states := map[registrationState]int{}
	for _, g := range r.all() {
		states[g.state()]++
	}
	return states
}

// grant makes a lease that tends all registrations.
func (r *Registrar) grant() (*lease, error) {
	ctx, cancel := context.WithTimeout(r.ctx, r.opts.Timeout)
	defer cancel()
	sent := time.Now()
	granted, err := r.driver.Grant(ctx, r.opts.TTL)
	if err != nil {
		return nil, r.blame(err)
	}
	l := &lease{Lease: granted, registrar: r, until: sent.Add(r.opts.TTL)}
	l.ctx, l.end = context.WithCancelCause(r.ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lease = l
	for _, g := range r.registrations {
		l.tend(g)
	}
	return l, nil
}

// fail records why no instance is registered. It returns the registrations for which the reason is new.
func (r *Registrar) fail(err error) (all []*Registration) {
	for _, g := range r.all() {
		if g.fail(err) {
			all = append(all, g)
		}
	}
	return all
}

// blame turns a timeout without a class into ErrUnavailable.
func (r *Registrar) blame(err error) error {
	if errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrUnavailable) {
		return fmt.Errorf("%w: the registry has not answered in time", ErrUnavailable)
	}
	return err
}

// Close deregisters all instances, revokes the lease and closes the driver. If the registry does not answer, Close takes a second at most, and
// the instances vanish after the TTL. A second Close does nothing.
func (r *Registrar) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	all := slices.Collect(maps.Values(r.registrations))
	l := r.lease
	r.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var work sync.WaitGroup
	for _, g := range all {
		work.Go(func() { _ = g.deregister(ctx) }) // without an answer the record vanishes after the TTL
	}
	work.Wait()
	r.cancel()
	r.work.Wait()
	if l != nil {
		_ = l.Revoke(ctx) // as above
	}
	r.obs.close()
	return r.driver.Close()
}

// closeTimeout is how long Close waits for the registry.
const closeTimeout = time.Second

// lease is the lease that the records of the process are bound to.
type lease struct {
	driver.Lease
	registrar *Registrar

	ctx  context.Context // ends with the lease
	end  context.CancelCauseFunc
	work sync.WaitGroup

	mu    sync.Mutex
	until time.Time // when it ends unless it is renewed
}

// keep renews the lease until it has ended, and returns why.
func (l *lease) keep() error {
	defer l.work.Wait()
	defer l.end(nil)
	defer l.registrar.forget(l)
	ttl := l.registrar.opts.TTL
	wait := renewAfter(ttl)
	for {
		if backoff.Sleep(l.ctx, wait) != nil {
			return context.Cause(l.ctx)
		}
		err := l.renew()
		switch {
		case err == nil:
			wait = renewAfter(ttl)
		case errors.Is(err, ErrNotFound):
			return err
		case l.left() <= 0:
			return fmt.Errorf("%w: no renewal within %s: %w", ErrUnavailable, ttl, err)
		default:
			wait = min(ttl/10, l.left())
		}
	}
}

// renewAfter returns a random time around a third of a TTL, so that a fleet sends three renewals a TTL on average.
func renewAfter(ttl time.Duration) time.Duration { return backoff.Jitter(ttl*7/20, 2.0/21) } // 0.317 to 0.350

func (l *lease) renew() error {
	ctx, cancel := context.WithTimeout(l.ctx, min(l.registrar.opts.Timeout, max(l.left(), 0)))
	defer cancel()
	sent := time.Now()
	if err := l.Renew(ctx); err != nil {
		return l.registrar.blame(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = sent.Add(l.registrar.opts.TTL)
	return nil
}

// left returns how long the lease surely lives.
func (l *lease) left() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Until(l.until)
}

// remove takes a registration out of the upkeep, and returns the present lease, if there is one.
func (r *Registrar) remove(g *Registration) *lease {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.registrations[g.key()] == g {
		delete(r.registrations, g.key())
	}
	return r.lease
}

// repeat repeats a goodbye until the registry accepts or refuses it, or the lease ends and the record with it.
func (r *Registrar) repeat(l *lease, goodbye func(context.Context) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lease != l {
		return
	}
	l.work.Go(func() {
		wait := backoff.Backoff{First: r.opts.Backoff, Longest: r.opts.TTL / 3}
		for wait.Wait(l.ctx) == nil {
			ctx, cancel := context.WithTimeout(l.ctx, r.opts.Timeout)
			err := goodbye(ctx)
			cancel()
			if err == nil || refused(err) {
				return
			}
		}
	})
}

func (r *Registrar) forget(l *lease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lease == l {
		r.lease = nil
	}
}

// tend has the lease keep a registration. registrar.mu is held.
func (l *lease) tend(g *Registration) {
	l.work.Go(func() { g.tend(l) })
}
