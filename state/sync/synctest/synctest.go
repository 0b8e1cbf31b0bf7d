// Package synctest is the contract of state/sync as a test: what package driver promises, [Run] checks, for every driver alike.
//
//	func TestContract(t *testing.T) {
//		synctest.Run(t, synctest.Backend{
//			Begin: func(testing.TB) synctest.Open {
//				space := memsync.NewSpace()
//				return func(testing.TB) driver.Driver { return memsync.New(&memsync.Options{Space: space}) }
//			},
//			FakeClock: true,
//		})
//	}
//
// Each promise is a subtest. One that needs a hook which the Backend does not have is skipped, naming the hook.
//
// On a real clock, promises that wait for TTLs are checked at the same time, each on names of its own.
//
// The promises under faults/ and storm/ take minutes on an engine with a real clock. They are skipped, by name, unless the environment
// variable OS_TEST_LONG is on. With OS_TEST_LONG=short the storms alone run; they include every fault. With folders of packages, such as
// OS_TEST_LONG=state/kv/etcdkv, all promises run in those packages, and the storms in the others. A record needs all promises.
package synctest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	gosync "sync"
	"testing"
	"time"

	"github.com/go-os/go-os/internal/tooling/suite"
	"github.com/go-os/go-os/state/sync"
	"github.com/go-os/go-os/state/sync/driver"
	"github.com/go-os/go-os/telemetry/telemetrytest"
)

// Open makes a driver on an engine. Each stands for a process.
type Open func(t testing.TB) driver.Driver

// Backend is a driver under test, and the hooks that inject faults into its engine.
type Backend struct {
	// Begin prepares the engine for one promise, and returns what makes drivers on it. Other promises may be under way: it leaves
	// alone what they hold. Required.
	Begin func(t testing.TB) Open
	// FakeClock says that the engine runs in this process and takes its time from package time, so that the suite may run
	// in a testing/synctest bubble, where a minute passes in no time.
	FakeClock bool
	// TTL is that of the sessions. Default: the larger of a second and the shortest that the engine takes.
	TTL time.Duration

	// Kill ends the engine without warning, until Revive; its data survive if its class is SessionBound or Linearizable.
	Kill, Revive func(t testing.TB)
	// Pause stops the engine from answering until Resume, with its connections open.
	Pause, Resume func(t testing.TB)
	// KillLeader ends that of several engines which leads, until Revive.
	KillLeader func(t testing.TB)
	// Cut ends the connections between drivers and engine and lets none be made, Drop swallows what is sent on them, and Slow
	// delays each answer, until Heal.
	Cut, Drop, Heal func(t testing.TB)
	Slow            func(t testing.TB, latency, jitter time.Duration)
	// Tap decides about each chunk between the drivers of Begin and the engine. Requests about a claim must show its name, where that is
	// letters and digits.
	Tap Tap
	// Beside returns a driver on the same engine, out of reach of these faults of the network.
	Beside Open
	// Lag delays the requests to one of so many Endpoints, each of which is enough to reach the engine, until Heal.
	Lag       func(t testing.TB, endpoint int, latency time.Duration)
	Endpoints int
	// Step sets the engine's wall clock to this much after the true time, or before it.
	Step func(t testing.TB, offset time.Duration)
	// Default returns a driver of default options, on a client of default options, and what closes the client.
	Default func(t testing.TB) (driver.Driver, func())
	// Requests returns how many requests the engine has seen.
	Requests func() int64
	// Polls is how many requests a second are allowed for a claim that waits, and for an observer. Default: none.
	Polls float64

	// EngineFuncs are functions whose goroutines belong to an engine or a client that outlives a driver, as goleak names them.
	EngineFuncs []string

	// Record is the file, relative to the test's package, that keeps what the suite proved of the driver. The run fails when it
	// proved something else, and writes the file when the environment variable SYNCTEST_RECORD is "write". Default: none is kept.
	Record string

	patience time.Duration // how long to wait for what must happen; default: long, since test machines do other things
}

// Run checks every promise of package driver against b.
func Run(t *testing.T, b Backend) {
	b = suite.Guarded(b)
	var record Record
	record.took(contract(b, &record).Run(t))
	if b.Record != "" {
		record.settle(t, b.Record)
	}
}

// contract returns what b must keep. What its driver declares goes into the record.
func contract(b Backend, record *Record) suite.Contract[*rig, suite.NoAbility] {
	var declare gosync.Once
	return suite.Contract[*rig, suite.NoAbility]{
		Promises: promises(),
		Open: func(t testing.TB) *rig {
			r := newRig(t, b)
			declare.Do(func() { record.declare(r.caps) })
			return r
		},
		FakeClock:  b.FakeClock,
		Bystanders: b.EngineFuncs,
	}
}

// promise is one part of the contract.
type promise = suite.Promise[*rig, suite.NoAbility]

func promises() []promise {
	var all []promise
	for _, part := range [][]promise{
		queues(), mutexes(), elections(), semaphores(), leases(), unknowns(), inputs(), observed(), idle(), lifecycle(), faults(), network(), clocks(),
		storms(),
	} {
		all = append(all, part...)
	}
	return all
}

// rig is what a check works with.
type rig struct {
	testing.TB
	Backend
	*telemetrytest.Recorder

	open Open
	caps driver.Capabilities
	ttl  time.Duration
	run  string // sets the names of this run apart

	mu     gosync.Mutex
	closes []func()
}

// newRig prepares the engine for one promise.
func newRig(t testing.TB, b Backend) *rig {
	r := &rig{TB: t, Backend: b, Recorder: telemetrytest.New(), run: rand.Text()}
	r.open = b.Begin(t)
	probe := r.open(t)
	r.caps = probe.Capabilities()
	if err := probe.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if r.ttl = b.TTL; r.ttl == 0 {
		r.ttl = max(time.Second, r.caps.Lease.Min)
	}
	return r
}

// Has implements suite.Rig.
func (r *rig) Has(suite.NoAbility) bool { return true }

// Hooks implements suite.Rig.
func (r *rig) Hooks() suite.Hooks {
	hooks := suite.HooksOf(r.Backend)
	hooks["Lag"] = hooks["Lag"] && r.Endpoints > 1
	return hooks
}

// Close implements suite.Rig.
func (r *rig) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.closes {
		c()
	}
}

// process is a session, and the driver below it, which can be made to fail as if the process had.
type process struct {
	*sync.Session
	*spy
}

// process returns a new one. The suite closes it.
func (r *rig) process() process { return r.processOn(r.open, sync.Options{}) }

func (r *rig) processOn(open Open, opts sync.Options) process {
	r.Helper()
	s := &spy{Driver: open(r)}
	if opts.TTL == 0 {
		opts.TTL = r.ttl
	}
	if opts.Backoff == 0 {
		opts.Backoff, opts.MaxBackoff = 10*time.Millisecond, 200*time.Millisecond
	}
	opts.Telemetry = r.Providers
	p := process{sync.New(s, &opts), s}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closes = append(r.closes, func() {
		s.thaw()
		if err := p.Close(); err != nil {
			r.Errorf("Close: %v", err)
		}
	})
	return p
}

// name returns one that no other run uses.
func (r *rig) name(s string) string { return r.run + "/" + s }

// patience is how long the suite waits for what must happen: hand-overs after a crash, and a test machine that does other things.
func (r *rig) patience() time.Duration {
	if r.Backend.patience > 0 {
		return r.Backend.patience
	}
	return 20*time.Second + 2*r.latest()
}

// latest is how long after its last renewal the seat of a crashed process is free.
func (r *rig) latest() time.Duration { return r.caps.Lease.Latest(r.ttl) }

// context returns one that ends when the suite loses its patience.
func (r *rig) context() context.Context {
	ctx, cancel := context.WithTimeout(r.Context(), r.patience())
	r.Cleanup(cancel)
	return ctx
}

// lock gets what must be had.
func (r *rig) lock(p process, name string) *sync.Grant {
	r.Helper()
	g, err := p.Mutex(name).Lock(r.context())
	if err != nil {
		r.Fatalf("Lock: %v", err)
	}
	return g
}

// release gives back what is held.
func (r *rig) release(g *sync.Grant) {
	r.Helper()
	if err := g.Release(r.context()); err != nil {
		r.Errorf("Release: %v", err)
	}
}

// is fails unless err is want; nil means that it must be nil.
func (r *rig) is(err, want error, format string, args ...any) {
	r.Helper()
	if !errors.Is(err, want) {
		r.Errorf("%s: %v; want %v", fmt.Sprintf(format, args...), err, want)
	}
}

// pass waits for d.
func (r *rig) pass(d time.Duration) {
	r.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
		r.Fatal("the test ended while time was to pass")
	}
}

// eventually asks until the answer is nil.
func (r *rig) eventually(what string, check func() error) {
	r.Helper()
	var err error
	for began := time.Now(); time.Since(began) < r.patience(); r.pass(10 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	r.Fatalf("waited %s for %s: %v", r.patience(), what, err)
}

// outcome is what came of an acquisition that was waited for in the background.
type outcome struct {
	grant *sync.Grant
	err   error
	at    time.Time
}

// wait has a process wait for a lock, and returns when its claim is in the queue.
func (r *rig) wait(ctx context.Context, p process, acquire func(context.Context) (*sync.Grant, error)) <-chan outcome {
	r.Helper()
	before := p.acquired.Load()
	done := make(chan outcome, 1)
	go func() {
		g, err := acquire(ctx)
		done <- outcome{g, err, time.Now()}
	}()
	r.eventually("the claim to be in the queue", func() error {
		if p.acquired.Load() == before {
			return errors.New("not yet")
		}
		return nil
	})
	return done
}

// granted fails unless the outcome is a grant.
func (r *rig) granted(done <-chan outcome, what string) outcome {
	r.Helper()
	select {
	case o := <-done:
		if o.err != nil {
			r.Fatalf("%s: %v", what, o.err)
		}
		return o
	case <-time.After(r.patience()):
		r.Fatalf("%s: nothing within %s", what, r.patience())
		return outcome{}
	}
}

// waits fails if there is an outcome already.
func (r *rig) waits(done <-chan outcome, what string) {
	r.Helper()
	select {
	case o := <-done:
		r.Fatalf("%s: grant %v, error %v; it should wait", what, o.grant != nil, o.err)
	default:
	}
}
