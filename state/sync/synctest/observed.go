package synctest

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-os/go-os/internal/tooling/suite"
	"github.com/go-os/go-os/state/sync"
)

func observed() []promise {
	return []promise{
		{Name: "telemetry/spans and metrics", Check: telemetryContract},
		{Name: "telemetry/names stay off metrics", Check: namesOffMetrics},
	}
}

// telemetryContract makes one call after another, and checks their telemetry.
func telemetryContract(r *rig) {
	name := r.name("t")
	a, b := r.process(), r.process()
	held := r.lock(a, name)
	_, _ = b.Mutex(name).TryLock(r.context())
	waiting := r.wait(r.context(), b, b.Mutex(name).Lock)
	r.eventually("the claim to be counted", func() error {
		return r.counts("goos.sync.waiting {claim} goos.sync.kind=mutex,goos.sync.system="+r.caps.System, 1)
	})
	r.release(held)
	second := r.granted(waiting, "the waiter").grant
	_ = held.Release(r.context())
	ctx, cancel := context.WithTimeout(r.context(), 50*time.Millisecond)
	defer cancel()
	_, _ = a.Mutex(name).Lock(ctx)
	r.release(second)
	_, _ = a.Semaphore(name, 0).Acquire(r.context())
	_, _ = a.Election(name).Leader(r.context())
	e := a.Election(name)
	if _, err := e.Campaign(r.context(), nil); err != nil {
		r.Fatalf("Campaign: %v", err)
	}
	_ = a.Close()
	_, _ = a.Mutex(name).Lock(r.context())

	want := []string{
		"acquire election", "acquire mutex", "acquire mutex", "acquire mutex closed", "acquire mutex timeout", "acquire semaphore invalid",
		"leader election not_held", "release mutex", "release mutex", "release mutex not_held", "try_acquire mutex held",
	}
	if got := r.spanned(); !slices.Equal(got, want) {
		r.Errorf("spans\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	r.spanAttributes("goos.sync.system", "goos.sync.kind", "goos.sync.name")
	r.eventually("the metrics", func() error { return r.metrics() })
}

// counts returns an error unless a point has the value n.
func (r *rig) counts(point string, n int64) error {
	if got := r.points(); got[point] != n {
		return fmt.Errorf("%s holds %d, want %d; all: %v", point, got[point], n, got)
	}
	return nil
}

// metrics checks the metrics of telemetryContract.
func (r *rig) metrics() error {
	system := ",goos.sync.system=" + r.caps.System
	wait := func(kind, op, errorType string) string {
		if errorType != "" {
			errorType = "error.type=" + errorType + ","
		}
		return "goos.sync.wait.duration s " + errorType + "goos.sync.kind=" + kind + ",goos.sync.operation=" + op + system
	}
	hold := func(kind, end string) string {
		return "goos.sync.hold.duration s goos.sync.end=" + end + ",goos.sync.kind=" + kind + system
	}
	want := map[string]int64{
		wait("mutex", "acquire", ""):                                        2,
		wait("mutex", "acquire", "timeout"):                                 1,
		wait("mutex", "acquire", "closed"):                                  1,
		wait("mutex", "try_acquire", "held"):                                1,
		wait("semaphore", "acquire", "invalid"):                             1,
		wait("election", "acquire", ""):                                     1,
		hold("mutex", "released"):                                           2,
		hold("election", "closed"):                                          1,
		"goos.sync.contentions {acquisition} goos.sync.kind=mutex" + system: 2,
		"goos.sync.waiting {claim} goos.sync.kind=mutex" + system:           0,
		"goos.sync.held {grant} goos.sync.kind=mutex" + system:              0,
		"goos.sync.held {grant} goos.sync.kind=election" + system:           0,
	}
	got := r.points()
	for point, n := range want {
		if has, ok := got[point]; !ok || has != n {
			return fmt.Errorf("%s: %d, want %d; all: %v", point, has, n, got)
		}
		delete(got, point)
	}
	if len(got) != 0 {
		return fmt.Errorf("points beyond the contract: %v", got)
	}
	return nil
}

func namesOffMetrics(r *rig) {
	p := r.process()
	name := r.name("secret")
	_ = p.Mutex(name).Do(r.context(), func(context.Context, *sync.Grant) error { return nil })
	for point := range r.points() {
		if strings.Contains(point, "secret") {
			r.Errorf("the name stands on a metric: %s", point)
		}
	}
}

// event fails the test unless an event with this name was emitted.
func (r *rig) event(name string) {
	r.Helper()
	r.eventually("the event "+name, func() error {
		if !suite.Emitted(r.Recorder, name) {
			return fmt.Errorf("only %v", r.Events())
		}
		return nil
	})
}

// points returns the values of the instruments.
func (r *rig) points() map[string]int64 {
	r.Helper()
	return suite.Points(r, r.Recorder)
}

// spanned returns the names of the ended spans, with their error.type.
func (r *rig) spanned() (all []string) {
	for _, span := range r.Spans() {
		name := span.Name
		if kind, ok := span.Attributes["error.type"].(string); ok {
			name += " " + kind
		}
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// spanAttributes fails the test unless each span has these keys.
func (r *rig) spanAttributes(keys ...string) {
	r.Helper()
	for _, span := range r.Spans() {
		for _, key := range keys {
			if _, ok := span.Attributes[key]; !ok {
				r.Errorf("the span %q has the attributes %v, and not %s", span.Name, span.Attributes, key)
			}
		}
	}
}

func idle() []promise {
	return []promise{
		{Name: "idle/renewals alone", Hook: "Requests", Check: renewalsAlone},
		{Name: "idle/many waiters do not stampede", Hook: "Requests", Check: noStampede},
	}
}

// renewalsAlone counts requests while one process holds, one waits and one observes.
func renewalsAlone(r *rig) {
	name := r.name("m")
	a, b, c := r.process(), r.process(), r.process()
	held := r.lock(a, name)
	waiting := r.wait(r.context(), b, b.Mutex(name).Lock)
	ctx, cancel := context.WithCancel(r.context())
	seen, ended := make(chan struct{}, 10), make(chan struct{})
	go func() {
		defer close(ended)
		for range c.Election(name).Observe(ctx) {
			seen <- struct{}{}
		}
	}()
	<-seen
	r.pass(200 * time.Millisecond) // for requests still in progress
	before, began := r.Requests(), time.Now()
	r.pass(max(r.ttl, 4*time.Second))
	n, took := r.Requests()-before, time.Since(began)
	// Two sessions hold leases, each renewed three times per TTL. One more renewal may occur at either end of the interval. A renewal is
	// one request for the lease and one for its claims.
	// request for the lease and one for its claims.
	allowed := int64(2*2*(3*took.Seconds()/r.ttl.Seconds()+2)) + int64(2*r.Polls*took.Seconds())
	if n > allowed {
		r.Errorf("%d requests within %s while nothing happened, want %d at most", n, took, allowed)
	}
	r.Logf("%d requests within %s, of %d allowed", n, took.Round(time.Millisecond), allowed)
	cancel()
	<-ended
	r.release(held)
	r.release(r.granted(waiting, "the waiter").grant)
}

// noStampede compares the requests of a hand-over with few and with many waiters. On a busy machine, the polls of a thousand waiters can
// arrive in bursts and look like a stampede once. A driver that wakes all waiters causes one every time.
func noStampede(r *rig) {
	const attempts = 3
	var few, many float64
	for range attempts {
		few, many = r.handOvers(10), r.handOvers(1000)
		r.Logf("requests a hand-over: %.1f with 10 waiters, %.1f with 1,000", few, many)
		if many <= 2*few+2 {
			return
		}
	}
	r.Errorf("%.1f requests a hand-over with 1,000 waiters, %.1f with 10, in the last of %d attempts", many, few, attempts)
}

// calm waits until the waiters have sent their first requests, and send only polls.
func (r *rig) calm(waiters int) {
	r.Helper()
	const window, times = 500 * time.Millisecond, 240
	polls := 5 + int64(2*r.Polls*window.Seconds()*float64(waiters))
	for range times {
		before := r.Requests()
		r.pass(window)
		if r.Requests()-before <= polls {
			return
		}
	}
}

// handOvers returns the number of requests per hand-over with this many waiters. It is the median, since waiters may poll in the
// meantime.
func (r *rig) handOvers(waiters int) float64 {
	r.Helper()
	const processes, times, abreast = 5, 20, 32
	name := r.name("m" + rand.Text())
	calm := sync.Options{TTL: max(r.ttl, time.Minute)} // keeps renewals out of the count
	owner := r.processOn(r.open, calm)
	held := r.lock(owner, name)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	grants := make(chan *sync.Grant, waiters)
	ended := make(chan struct{}, waiters)
	var all []process
	for range processes {
		all = append(all, r.processOn(r.open, calm))
	}
	inQueue := func() (n int) {
		for _, p := range all {
			n += int(p.acquired.Load())
		}
		return n
	}
	for i := range waiters {
		// A thousand waiters at once would measure the engine's capacity and not the cost of a hand-over.
		r.eventually("the claims before to be in the queue", func() error {
			if n := inQueue(); n < i-abreast {
				return fmt.Errorf("%d of %d", n, i)
			}
			return nil
		})
		p := all[i%processes]
		go func() {
			defer func() { ended <- struct{}{} }()
			for ctx.Err() == nil { // a busy engine may not answer in time
				if g, err := p.Mutex(name).Lock(ctx); err == nil {
					grants <- g
					return
				}
			}
		}()
	}
	r.eventually("all claims to be in the queue", func() error {
		if n := inQueue(); n < waiters {
			return fmt.Errorf("%d of %d", n, waiters)
		}
		return nil
	})
	r.calm(waiters)
	idle := r.Requests()
	r.pass(time.Second)
	idle = min(r.Requests()-idle, int64(r.Polls*float64(waiters))) // per second
	var requests []float64
	for i := range min(times, waiters-1) {
		before, began := r.Requests(), time.Now()
		if err := held.Release(r.context()); err != nil { // the session repeats it until the engine confirms it
			r.Logf("Release: %v", err)
		}
		select {
		case held = <-grants:
		case <-time.After(r.patience()):
			r.Fatalf("hand-over %d did not happen", i)
		}
		r.pass(20 * time.Millisecond) // for requests that are not part of the hand-over
		requests = append(requests, max(float64(r.Requests()-before)-float64(idle)*time.Since(began).Seconds(), 0))
	}
	slices.Sort(requests)
	cancel()
	for range waiters {
		<-ended
	}
	grants <- held
	close(grants)
	for g := range grants {
		if err := g.Release(r.context()); err != nil { // a busy engine may fail it; the rest ends with its session
			r.Logf("Release: %v", err)
		}
	}
	return requests[len(requests)/2]
}
