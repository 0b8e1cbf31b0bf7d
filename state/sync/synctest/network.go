package synctest

import (
	"bytes"
	"context"
	"crypto/rand"
	"time"

	"github.com/go-os/go-os/state/sync"
)

// Tap is a network between drivers and engine that the suite controls chunk by chunk.
type Tap interface {
	// Requests calls decide for each chunk that a driver sends, until the next call of Requests. The first now bytes of the chunk pass at
	// once. The others pass when rest is closed, however late, and even if the driver has closed the connection. Later chunks of the
	// connection wait for them. A nil rest or a nil decide passes everything.
	Requests(decide func(chunk []byte) (now int, rest <-chan struct{}))
	// Answers controls the chunks that the engine sends, as Requests does those of the drivers.
	Answers(decide func(chunk []byte) (now int, rest <-chan struct{}))
}

func network() []promise {
	return []promise{
		{Name: "faults/request held back", Hook: "Tap and Beside", Check: heldBack},
		{Name: "faults/network silent within a request", Hook: "Tap and Beside", Check: silentWithin},
		{Name: "faults/one endpoint slow", Hook: "Lag", Check: oneSlow},
	}
}

// holdFirst delays the first chunk that contains a word until the channel is closed.
func (r *rig) holdFirst(word string, until <-chan struct{}) (seen <-chan struct{}) {
	first := make(chan struct{})
	var held bool
	r.Tap.Requests(func(chunk []byte) (int, <-chan struct{}) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if held || !bytes.Contains(chunk, []byte(word)) {
			return 0, nil
		}
		held = true
		close(first)
		return 0, until
	})
	return first
}

// heldBack delivers an acquisition after the session has given it up, while another grant keeps its lease alive.
func heldBack(r *rig) {
	const soon = 2 * time.Second // less than the time for which a living lease would keep a claim
	opts := sync.Options{TTL: max(r.ttl, 3*time.Second)}
	a, b := r.processOn(r.open, opts), r.processOn(r.Beside, opts)
	defer r.Tap.Requests(nil)
	for _, k := range kinds() {
		name := rand.Text()
		job := r.lock(a, r.name(k.kind))
		arrives := make(chan struct{})
		seen := r.holdFirst(name, arrives)
		_, err := k.acquire(r.context(), a, name)
		r.is(err, sync.ErrUnavailable, "an acquisition of a %s that the network holds back", k.kind)
		select {
		case <-seen:
		default:
			r.Errorf("no request shows the name %q", name)
		}
		r.pass(opts.TTL / 8)
		close(arrives)
		r.pass(opts.TTL / 8)
		for began := time.Now(); ; r.pass(20 * time.Millisecond) {
			g, err := k.try(r.context(), b, name)
			if err == nil {
				r.release(g)
				break
			}
			if time.Since(began) > soon {
				r.Errorf("a %s that nobody holds, %s after a claim came late: %v", k.kind, soon, err)
				break
			}
		}
		if err := job.Release(r.context()); err != nil {
			r.Logf("Release of the grant that keeps the lease alive: %v", err)
		}
	}
}

// silentWithin kills a candidate's machine when it has sent half of a request.
func silentWithin(r *rig) {
	a, b := r.process(), r.processOn(r.Beside, sync.Options{})
	value := bytes.Repeat([]byte("v"), min(r.caps.MaxValue, 3000))
	lead := func(p process, name string, within time.Duration) (*sync.Grant, error) {
		ctx, cancel := context.WithTimeout(r.Context(), within)
		defer cancel()
		return p.Election(name).Campaign(ctx, value)
	}
	name := rand.Text()
	g, err := lead(a, name+"0", r.patience()) // creates what a client prepares on first use
	if err != nil {
		r.Fatalf("Campaign: %v", err)
	}
	r.release(g)
	never := make(chan struct{})
	defer close(never)
	defer r.Tap.Answers(nil)
	defer r.Tap.Requests(nil)
	dead := make(chan struct{})
	r.Tap.Requests(func(chunk []byte) (int, <-chan struct{}) {
		r.mu.Lock()
		defer r.mu.Unlock()
		select {
		case <-dead:
			return 0, never
		default:
		}
		if !bytes.Contains(chunk, []byte(name)) {
			return 0, nil
		}
		close(dead)
		return len(chunk) / 2, never
	})
	r.Tap.Answers(func([]byte) (int, <-chan struct{}) {
		select {
		case <-dead:
			return 0, never
		default:
			return 0, nil
		}
	})
	if _, err := lead(a, name, r.ttl); err == nil {
		r.Error("half a request is granted")
	}
	select {
	case <-dead:
	default:
		r.Fatalf("no request shows the name %q", name)
	}
	died := time.Now()
	g, err = lead(b, name, r.patience())
	if err != nil {
		r.Fatalf("Campaign after another candidate has died: %v", err)
	}
	if took, bound := time.Since(died), r.latest()+time.Second; took > bound {
		r.Errorf("it took %s to lead after another candidate has died, want %s at most", took, bound)
	}
	r.release(g)
}

// oneSlow slows each endpoint in turn beyond the request timeout. The session keeps its grants. Acquisitions may fail meanwhile: they are
// not repeated at another endpoint, since a late request would create a claim that no session knows of.
func oneSlow(r *rig) {
	a := r.process()
	held := r.lock(a, r.name("m"))
	for i := range r.Endpoints {
		r.Lag(r, i, r.ttl/2)
		r.pass(r.ttl + r.ttl/2)
		r.is(held.Lost(), nil, "Lost, with endpoint %d slow", i)
		r.Heal(r)
		r.pass(r.ttl / 2) // for requests still in transit
		r.eventually("a lock after the endpoint is fast again", func() error { return r.locks(a, r.name("other")) })
	}
	r.release(held)
}

func clocks() []promise {
	return []promise{
		{Name: "faults/clock set forward", Hook: "Step", Check: steppedForward},
		{Name: "faults/clock set back", Hook: "Step", Check: steppedBack},
	}
}

// steppedForward sets the engine's clock forward by many TTLs, and back again. The waiter gets the lock through the step or on release. A
// holder that loses the lock through the step detects it within a TTL.
func steppedForward(r *rig) {
	name := r.name("m")
	a, b := r.process(), r.process()
	held := r.lock(a, name)
	defer r.Step(r, 0)
	for _, offset := range []time.Duration{10 * r.ttl, 0} {
		waiting := r.wait(r.context(), b, b.Mutex(name).Lock)
		r.Step(r, offset)
		var next outcome
		select {
		case next = <-waiting:
			select {
			case <-held.Context().Done():
			case <-time.After(r.ttl):
				r.Errorf("a TTL after another is granted the lock, its holder does not know")
			}
		case <-time.After(2 * r.ttl):
			if err := held.Release(r.context()); err != nil {
				r.is(err, sync.ErrLost, "Release")
			}
			next = r.granted(waiting, "the waiter")
		}
		if next.err != nil {
			r.Fatalf("Lock after a step to %s: %v", offset, next.err)
		}
		if next.grant.Token() <= held.Token() {
			r.Errorf("token %d came after %d", next.grant.Token(), held.Token())
		}
		held = next.grant
		a, b = b, a
	}
	r.release(held)
}

// steppedBack sets the engine's clock back by an hour. The session keeps its grants, and after its death another process gets the lock in
// time.
func steppedBack(r *rig) {
	name := r.name("m")
	a, b := r.process(), r.process()
	held := r.lock(a, name)
	waiting := r.wait(r.context(), b, b.Mutex(name).Lock)
	r.Step(r, -time.Hour)
	defer r.Step(r, 0)
	r.pass(r.ttl + r.ttl/2)
	r.is(held.Lost(), nil, "Lost after the clock was set back")
	r.waits(waiting, "the waiter")
	r.is(r.locks(a, r.name("other")), nil, "a lock of another name")
	a.freeze()
	died := time.Now()
	o := r.granted(waiting, "the waiter behind a dead holder")
	if took, bound := o.at.Sub(died), r.latest()+time.Second; took > bound {
		r.Errorf("replaced after %s, want %s at most", took, bound)
	}
	if o.grant.Token() <= held.Token() {
		r.Errorf("token %d came after %d", o.grant.Token(), held.Token())
	}
	r.release(o.grant)
	a.thaw()
	// Now the holder dies before the clock is set back. Its request is the last one before the step.
	r.Step(r, 0)
	r.eventually("a lock with the clock as it was", func() error { return r.locks(b, name) })
	held = r.lock(a, name)
	a.freeze()
	r.Step(r, -time.Hour)
	died = time.Now()
	next := r.lock(b, name)
	if took, bound := time.Since(died), r.latest()+time.Second; took > bound {
		r.Errorf("replaced after %s, want %s at most", took, bound)
	}
	if next.Token() <= held.Token() {
		r.Errorf("token %d came after %d", next.Token(), held.Token())
	}
	r.release(next)
	a.thaw()
}

// closePaused closes a session with default options, on a client with default options, while the engine is silent. The session then has a
// grant, a waiter and an observer.
func closePaused(r *rig) {
	d, closeClient := r.Default(r)
	s := sync.New(d, &sync.Options{Telemetry: r.Providers})
	defer closeClient()
	defer func() { _ = s.Close() }()
	ctx, cancel := context.WithCancel(r.context())
	defer cancel()
	name := r.name("m")
	if _, err := s.Mutex(name).Lock(ctx); err != nil {
		r.Fatalf("Lock: %v", err)
	}
	waited, observed, began := make(chan error, 1), make(chan error, 1), make(chan struct{}, 10)
	go func() { _, err := s.Mutex(name).Lock(ctx); waited <- err }()
	go func() {
		var last error
		for _, err := range s.Election(name).Observe(ctx) {
			last = err
			began <- struct{}{}
		}
		observed <- last
	}()
	<-began
	r.eventually("the claim to wait", func() error {
		return r.counts("goos.sync.waiting {claim} goos.sync.kind=mutex,goos.sync.system="+r.caps.System, 1)
	})
	r.pass(200 * time.Millisecond) // so that their subscriptions are established
	r.Pause(r)
	defer r.Resume(r)
	r.pass(300 * time.Millisecond)
	closing := time.Now()
	r.is(s.Close(), nil, "Close")
	if took := time.Since(closing); took > 1500*time.Millisecond { // one second is promised, and test machines are busy
		r.Errorf("Close took %s", took)
	}
	for what, ended := range map[string]<-chan error{"Lock": waited, "Observe": observed} {
		select {
		case err := <-ended:
			r.is(err, sync.ErrClosed, "%s", what)
		case <-time.After(2 * time.Second):
			r.Errorf("%s goes on after Close", what)
		}
	}
}
