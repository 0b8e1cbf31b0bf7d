package synctest

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/go-os/go-os/state/sync"
)

func inputs() []promise {
	return []promise{
		{Name: "input/bad names and values", Check: badInput},
		{Name: "input/TTLs outside the limits", Check: badTTL},
		{Name: "input/required safety", Check: required},
		{Name: "input/ended context", Check: endedContext},
	}
}

func badInput(r *rig) {
	p := r.process()
	long := strings.Repeat("x", r.caps.MaxName)
	for what, call := range map[string]func() error{
		"Lock of an empty name":   func() error { _, err := p.Mutex("").Lock(r.context()); return err },
		"TryLock of no UTF-8":     func() error { _, err := p.Mutex("a\xff").TryLock(r.context()); return err },
		"Lock of a name too long": func() error { _, err := p.Mutex(long).Lock(r.context()); return err },
		"Do of an empty name":     func() error { return p.Mutex("").Do(r.context(), nil) },
		"Acquire of no seats":     func() error { _, err := p.Semaphore(r.name("s"), 0).Acquire(r.context()); return err },
		"TryAcquire of seats < 0": func() error { _, err := p.Semaphore(r.name("s"), -1).TryAcquire(r.context()); return err },
		"Leader of an empty name": func() error { _, err := p.Election("").Leader(r.context()); return err },
		"Campaign, value too long": func() error {
			_, err := p.Election(r.name("e")).Campaign(r.context(), make([]byte, r.caps.MaxValue+1))
			return err
		},
		"Observe of an empty name": func() (last error) {
			for _, err := range p.Election("").Observe(r.context()) {
				last = err
			}
			return last
		},
	} {
		err := call()
		r.is(err, sync.ErrInvalid, "%s", what)
		var named *sync.Error
		if !errors.As(err, &named) || named.Op == "" {
			r.Errorf("%s: %v names no operation", what, err)
		}
	}
	if n := len(p.leases); n != 0 {
		r.Errorf("%d leases were made for calls that make no sense", n)
	}
	value := make([]byte, r.caps.MaxValue)
	e := p.Election(r.name("e"))
	if _, err := e.Campaign(r.context(), value); err != nil {
		r.Errorf("Campaign with the longest value: %v", err)
	}
	leader, err := e.Leader(r.context())
	if err != nil || len(leader.Value) != len(value) {
		r.Errorf("Leader: %d bytes, %v; want %d", len(leader.Value), err, len(value))
	}
}

func badTTL(r *rig) {
	limits := r.caps.Lease
	bad := map[string]sync.Options{
		"negative":         {TTL: -time.Second},
		"margin too large": {TTL: r.ttl, Margin: r.ttl/2 + 1},
		"margin negative":  {TTL: r.ttl, Margin: -1},
	}
	if limits.Min > 1 {
		bad["under the minimum"] = sync.Options{TTL: limits.Min - 1}
	}
	if limits.Max > 0 {
		bad["over the maximum"] = sync.Options{TTL: limits.Max + max(limits.Granularity, 1)}
	}
	for what, opts := range bad {
		p := r.processOn(r.open, opts)
		_, err := p.Mutex(r.name("m")).Lock(r.context())
		r.is(err, sync.ErrInvalid, "Lock with a TTL %s", what)
		r.is(p.Require(sync.Local), sync.ErrInvalid, "Require with a TTL %s", what)
		if n := len(p.leases); n != 0 {
			r.Errorf("%s: %d leases were made", what, n)
		}
	}
}

func required(r *rig) {
	p := r.process()
	for _, class := range []sync.Safety{sync.Local, sync.BestEffort, sync.SessionBound, sync.Linearizable} {
		var want error
		if class > r.caps.Safety {
			want = errors.ErrUnsupported
		}
		r.is(p.Require(class), want, "Require(%s) of %s", class, r.caps.Safety)
	}
	if r.caps.System == "" || r.caps.Safety == 0 || r.caps.MaxName <= 0 || r.caps.MaxValue <= 0 {
		r.Errorf("capabilities %+v leave something out", r.caps)
	}
}

func endedContext(r *rig) {
	p := r.process()
	r.release(r.lock(p, r.name("m")))
	ctx, cancel := context.WithCancel(r.context())
	cancel()
	_, err := p.Mutex(r.name("m")).Lock(ctx)
	r.is(err, context.Canceled, "Lock")
	_, err = p.Mutex(r.name("m")).TryLock(ctx)
	r.is(err, context.Canceled, "TryLock")
	_, err = p.Election(r.name("e")).Leader(ctx)
	r.is(err, context.Canceled, "Leader")
	for range p.Election(r.name("e")).Observe(ctx) {
		r.Error("Observe goes on")
	}
	held := r.lock(p, r.name("m"))
	if err := held.Release(ctx); err != nil { // it may return an error, but must take effect
		r.is(err, context.Canceled, "Release")
	}
	r.release(r.lock(p, r.name("m")))
}

func lifecycle() []promise {
	return []promise{
		{Name: "close/hands seats on", Check: closeHandsOn},
		{Name: "close/ends what waits", Check: closeEnds},
		{Name: "close/shutdown waits for releases", Check: shutdown},
		{Name: "faults/closed while the engine is paused", Hook: "Pause and Default", Check: closePaused},
	}
}

func closeHandsOn(r *rig) {
	name := r.name("m")
	a, b := r.process(), r.process()
	held := r.lock(a, name)
	waiting := r.wait(r.context(), b, b.Mutex(name).Lock)
	closed := time.Now()
	r.is(a.Close(), nil, "Close")
	r.is(a.Close(), nil, "Close again")
	r.is(held.Context().Err(), context.Canceled, "the context of a grant of a closed session")
	r.is(held.Lost(), sync.ErrClosed, "Lost")
	r.is(held.Release(r.context()), sync.ErrClosed, "Release")
	o := r.granted(waiting, "the waiter")
	if took := o.at.Sub(closed); took > min(time.Second, r.ttl/2) {
		r.Errorf("handed on after %s", took)
	}
	_, err := a.Mutex(name).Lock(r.context())
	r.is(err, sync.ErrClosed, "Lock of a closed session")
	_, err = a.Election(name).Leader(r.context())
	r.is(err, sync.ErrClosed, "Leader of a closed session")
	r.release(o.grant)
}

func closeEnds(r *rig) {
	name := r.name("m")
	a, b := r.process(), r.process()
	held := r.lock(a, name)
	waiting := r.wait(r.context(), b, b.Mutex(name).Lock)
	observed := make(chan error, 1)
	began := make(chan struct{}, 10)
	go func() {
		var last error
		for _, err := range b.Election(name).Observe(r.context()) {
			last = err
			began <- struct{}{}
		}
		observed <- last
	}()
	<-began
	closed := time.Now()
	r.is(b.Close(), nil, "Close")
	r.is((<-waiting).err, sync.ErrClosed, "Lock")
	r.is(<-observed, sync.ErrClosed, "Observe")
	if took := time.Since(closed); took > 2*time.Second {
		r.Errorf("it took %s to end what waited", took)
	}
	r.release(held)
	r.release(r.lock(a, name)) // no claim is left
}

func shutdown(r *rig) {
	p := r.process()
	held := r.lock(p, r.name("m"))
	waiting := r.wait(r.context(), p, p.Mutex(r.name("m")).Lock)
	done := make(chan error, 1)
	go func() { done <- p.Shutdown(r.context()) }()
	r.eventually("the session to refuse", func() error {
		g, err := p.Mutex(r.name("n")).TryLock(r.context())
		if err == nil {
			r.release(g)
			return errors.New("granted")
		}
		r.is(err, sync.ErrClosed, "TryLock during Shutdown")
		return nil
	})
	r.is(held.Lost(), nil, "Lost during Shutdown")
	r.release(held)
	r.is(<-done, nil, "Shutdown")
	r.is((<-waiting).err, sync.ErrClosed, "Lock of who waited")

	late := r.process()
	r.lock(late, r.name("m"))
	ctx, cancel := context.WithTimeout(r.context(), 50*time.Millisecond)
	defer cancel()
	r.is(late.Shutdown(ctx), context.DeadlineExceeded, "Shutdown that does not wait so long")
	_, err := late.Mutex(r.name("m")).Lock(r.context())
	r.is(err, sync.ErrClosed, "Lock after Shutdown")
}
