package discovery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/internal/backoff"
)

// Registration is an instance that a Registrar keeps in the registry. It is safe for concurrent use.
type Registration struct {
	registrar *Registrar
	service   string // of the record; they never change
	id        string
	tried     chan struct{} // closed after the first attempt
	done      chan struct{} // closed by Close, or when another process has taken the place

	writing chan struct{} // holds a token while no request about the record is under way

	mu        sync.Mutex
	record    driver.Record
	lease     *lease       // under which a record was confirmed last; nil if none is
	current   bool         // that record is the wanted one
	revision  int          // counts the changes of record
	attempts  int          // revision of the last attempt
	confirmed confirmation // the last one
	attempted bool
	ended     bool
	err       error         // why it is not registered
	revised   chan struct{} // closed when the record should change
	updated   chan struct{} // closed with the outcome of an attempt
}

// confirmation is a record that the registry has taken, and its revision.
type confirmation struct {
	record   driver.Record
	revision int
}

func (g *Registration) key() string { return g.service + "/" + g.id }

// Instance returns the instance as it should be in the registry.
func (g *Registration) Instance() Instance {
	g.mu.Lock()
	defer g.mu.Unlock()
	return cloned(g.record.Instance)
}

// Check returns nil while the instance is registered and its lease lives, be it with an older weight or state. Otherwise it returns the
// reason: ErrUnavailable while the registry is unreachable, ErrConflict if a later process has registered the same service and ID,
// ErrClosed after Close. It does no I/O.
func (g *Registration) Check(context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	err := g.err
	switch {
	case g.lease != nil && g.lease.left() > 0:
		return nil
	case g.lease != nil:
		err = fmt.Errorf("%w: the lease was not renewed in time", ErrUnavailable)
	case err == nil:
		err = fmt.Errorf("%w: not registered yet", ErrUnavailable)
	}
	return wrap("check", g.service, err)
}

// Drain announces to readers that the instance takes no new requests. It is Update with the state Draining. Keep serving until they have
// seen it.
func (g *Registration) Drain(ctx context.Context) error {
	return g.Update(ctx, func(i *Instance) { i.State = Draining })
}

// Update changes the version, addresses, zone, weight, labels and state of the instance. The state Up ends a drain. The service and the ID
// stay as they are. The function change gets a copy of the instance.
//
// Update returns when the registry has the change. If ctx ends first it returns ErrUnavailable, and the change is still made as soon as the
// registry answers. It returns ErrInvalid if the changed instance could not be registered, and ErrConflict or ErrClosed if the registration
// has ended.
func (g *Registration) Update(ctx context.Context, change func(*Instance)) (err error) {
	ctx, call := g.registrar.obs.update.Start(ctx, g.service)
	defer call.End(ctx, &err)
	if err := g.change(change); err != nil {
		return err
	}
	for {
		confirmed, updated, err := g.outcome()
		switch {
		case confirmed:
			return nil
		case errors.Is(err, ErrConflict), errors.Is(err, ErrClosed), refused(err):
			return err
		}
		select {
		case <-updated:
		case <-ctx.Done():
			return fmt.Errorf("%w: the registry has not confirmed the change: %w", ErrUnavailable, because(ctx.Err(), err))
		}
	}
}

// change sets the instance that should be registered.
func (g *Registration) change(change func(*Instance)) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return g.err
	}
	if change == nil {
		return fmt.Errorf("%w: Update was given no function", ErrInvalid)
	}
	next := cloned(g.record.Instance)
	change(&next)
	if next.Service != g.record.Service || next.ID != g.record.ID {
		return fmt.Errorf("%w: the service and the ID cannot change: register another instance", ErrInvalid)
	}
	if err := check(next); err != nil {
		return err
	}
	if next.State != Up && next.State != Draining {
		return fmt.Errorf("%w: state %s: use Up or Draining, and Close to deregister", ErrInvalid, next.State)
	}
	if same(next, g.record.Instance) {
		return nil
	}
	g.record.Instance = next
	g.revise()
	return nil
}

// revise schedules another write of the record. mu is held.
func (g *Registration) revise() {
	g.current = false
	g.revision++
	close(g.revised)
	g.revised = make(chan struct{})
}

// healthChanged schedules another write of the record if the record shows the health of the process.
func (g *Registration) healthChanged() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.ended && g.record.State == driver.Up {
		g.revise()
	}
}

// outcome reports whether the registry has the record, the reason if not, and the time of the next check. The error of an earlier record
// does not count.
func (g *Registration) outcome() (confirmed bool, updated <-chan struct{}, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended || g.attempts == g.revision {
		err = g.err
	}
	return g.current, g.updated, err
}

// revising returns a channel that is closed when the record should change.
func (g *Registration) revising() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.revised
}

// wake notifies the waiters for the outcome of an attempt. mu is held.
func (g *Registration) wake() {
	close(g.updated)
	g.updated = make(chan struct{})
}

// tend keeps the record in the registry while the lease lives.
func (g *Registration) tend(l *lease) {
	ctx, cancel := context.WithCancel(l.ctx)
	defer cancel()
	altered := make(chan struct{}, 1)
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	work.Go(func() { g.watch(ctx, l, altered) })
	wait := backoff.Backoff{First: l.registrar.opts.Backoff, Longest: l.registrar.opts.TTL / 3}
	doubt := false
	for {
		revised := g.revising()
		err := g.write(ctx, l, doubt)
		switch {
		case ctx.Err() != nil, g.over():
			return
		case err == nil:
			wait.Reset()
		case errors.Is(err, ErrNotFound):
			l.end(err)
			return
		}
		switch g.pause(ctx, revised, altered, err, &wait) {
		case hasEnded:
			return
		case wasAltered:
			doubt = true
		default:
			doubt = doubt && err != nil
		}
	}
}

// reason is the reason why a record is rewritten or kept.
type reason int

const (
	hasEnded reason = iota
	wasAltered
	isDue // it should change, or an attempt has failed
)

// pause waits for a reason to write the record.
func (g *Registration) pause(ctx context.Context, revised, altered <-chan struct{}, err error, wait *backoff.Backoff) reason {
	var retry <-chan time.Time
	if err != nil {
		timer := time.NewTimer(wait.Next())
		defer timer.Stop()
		retry = timer.C
	}
	select {
	case <-revised:
	case <-retry:
	case <-altered:
		return wasAltered
	case <-g.done:
		return hasEnded
	case <-ctx.Done():
		return hasEnded
	}
	return isDue
}

// watch notices when the record is altered or removed.
func (g *Registration) watch(ctx context.Context, l *lease, altered chan<- struct{}) {
	notify := func() {
		select {
		case altered <- struct{}{}:
		default:
		}
	}
	wait := backoff.Backoff{First: l.registrar.opts.Backoff, Longest: l.registrar.opts.TTL / 3}
	for ctx.Err() == nil {
		r, _ := g.wanted()
		if l.Watch(ctx, r, func() { wait.Reset(); notify() }) != nil && wait.Wait(ctx) == nil {
			notify() // a change may have been missed
		}
	}
}

// wanted returns the record as it should be in the registry, and its revision.
func (g *Registration) wanted() (r driver.Record, revision int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.withHealth(), g.revision
}

// withHealth returns the record with the state that follows from the health of the process. mu is held.
func (g *Registration) withHealth() driver.Record {
	r := g.record
	r.Instance = cloned(r.Instance)
	if r.State == driver.Up && g.registrar.unhealthy.Load() {
		r.State = driver.Unhealthy
	}
	return r
}

// write writes the record to the registry. doubt means that the stored record may have been altered.
func (g *Registration) write(ctx context.Context, l *lease, doubt bool) error {
	if err := g.acquire(ctx); err != nil {
		return err
	}
	defer g.release()
	if g.over() {
		return ErrClosed
	}
	ctx, cancel := context.WithTimeout(ctx, l.registrar.opts.Timeout)
	defer cancel()
	go func() {
		select {
		case <-g.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	r, revision := g.wanted()
	if r.Epoch == 0 {
		epoch, err := l.Epoch(ctx, r.Service, r.ID, uint64(time.Now().UnixMilli()))
		if err != nil {
			return g.settle(l, r, revision, doubt, l.registrar.blame(err))
		}
		r.Epoch = epoch
		g.setEpoch(epoch)
	}
	if before, ok := g.superseded(revision); doubt && ok {
		if err := l.Register(ctx, before); err != nil {
			return g.settle(l, r, revision, true, l.registrar.blame(err))
		}
		doubt = false
	}
	return g.settle(l, r, revision, doubt, l.registrar.blame(l.Register(ctx, r)))
}

// superseded returns the record that a new revision replaces, if the registry has it. If the new one is refused, the old one must stay.
func (g *Registration) superseded(revision int) (driver.Record, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.confirmed.record, g.lease != nil && g.confirmed.revision != revision
}

// acquire waits until no request about the record is under way.
func (g *Registration) acquire(ctx context.Context) error {
	select {
	case <-g.writing:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *Registration) release() { g.writing <- struct{}{} }

// setEpoch records the epoch before the request, which may succeed without an answer. From now on the record must be deregistered.
func (g *Registration) setEpoch(epoch uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.record.Epoch = epoch
}

// settle records the outcome of an attempt to write a revision of the record.
func (g *Registration) settle(l *lease, r driver.Record, revision int, doubt bool, err error) error {
	g.mu.Lock()
	before, ended := g.err, g.ended
	if ended {
		g.mu.Unlock()
		return err
	}
	g.attempts = revision
	g.err = err
	g.current = err == nil && same(r.Instance, g.withHealth().Instance)
	switch {
	case err == nil:
		g.lease = l
		g.confirmed = confirmation{r, revision}
	case doubt || !refused(err):
		g.lease = nil
	}
	if errors.Is(err, ErrConflict) {
		g.finish(err)
	}
	g.attempt()
	g.wake()
	g.mu.Unlock()
	g.observe(before, err)
	return err
}

// refused reports whether the registry has refused a record and kept the previous one.
func refused(err error) bool {
	return errors.Is(err, ErrInvalid) || errors.Is(err, ErrTooLarge) || errors.Is(err, ErrDenied)
}

// observe emits the events and metrics of an outcome. mu is free.
func (g *Registration) observe(before, err error) {
	o := g.registrar.obs
	attrs := o.about(g.service, g.id)
	switch {
	case errors.Is(err, ErrConflict):
		o.superseded.EmitError(g.registrar.ctx, err, attrs...)
	case err != nil && before == nil:
		o.failed.EmitError(g.registrar.ctx, err, attrs...)
	case err == nil && before != nil:
		o.registered.Emit(g.registrar.ctx, attrs...)
	}
}

// attempt unblocks the call of Register. mu is held.
func (g *Registration) attempt() {
	if !g.attempted {
		g.attempted = true
		close(g.tried)
	}
}

// finish ends the registration. mu is held.
func (g *Registration) finish(err error) {
	if g.ended {
		return
	}
	g.ended, g.lease, g.current, g.err = true, nil, false, err
	close(g.done)
	g.wake()
}

// over reports whether the registration has ended.
func (g *Registration) over() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ended
}

// fail records why the instance is not registered. It returns false if there was a reason before.
func (g *Registration) fail(err error) (first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return false
	}
	first = g.err == nil
	g.lease, g.current, g.err = nil, false, err
	g.attempt()
	g.wake()
	return first
}

// state returns the state under which the metrics count the registration.
func (g *Registration) state() registrationState {
	g.mu.Lock()
	defer g.mu.Unlock()
	state := isPending
	switch {
	case g.ended:
		state = isSuperseded
	case g.lease != nil && g.lease.left() > 0:
		state = isRegistered
	}
	return registrationState{g.service, state}
}

// Close deregisters the instance: readers see it leave at once. If the registry does not answer, Close takes a second at most and returns
// ErrUnavailable. The Registrar then repeats the goodbye until the registry has it, or its lease has ended. A second Close does nothing.
func (g *Registration) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return g.deregister(ctx)
}

// deregister replaces the record by a goodbye.
func (g *Registration) deregister(ctx context.Context) (err error) {
	r := g.registrar
	ctx, call := r.obs.deregister.Start(ctx, g.service)
	defer call.End(ctx, &err)
	first := g.leave()
	l := r.remove(g)
	if !first {
		return nil
	}
	if l == nil { // the record ends with its lease
		return nil
	}
	if err = g.goodbye(ctx, l); err != nil {
		r.repeat(l, func(ctx context.Context) error { return g.goodbye(ctx, l) })
	}
	return err
}

// leave ends the registration. It returns false if it had ended before.
func (g *Registration) leave() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		g.err = ErrClosed
		return false
	}
	g.finish(ErrClosed)
	return true
}

// goodbye replaces the record, if a request to write it has ever been sent.
func (g *Registration) goodbye(ctx context.Context, l *lease) error {
	if err := g.acquire(ctx); err != nil { // a request under way has been canceled: its late arrival must not overwrite the goodbye
		return g.registrar.blame(err)
	}
	defer g.release()
	record, _ := g.wanted()
	if record.Epoch == 0 {
		return nil
	}
	record.State = driver.Gone
	return g.registrar.blame(l.Deregister(ctx, record, g.registrar.opts.Goodbye))
}
