// Package synctest is the conformance suite of state/sync. [Run] checks the contract of package driver, equally for every driver.
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
// Each promise is a subtest. If it needs a hook that the Backend lacks, it is skipped, naming the hook.
//
// On a real clock, promises that wait for TTLs run concurrently, each on its own names.
//
// The promises under faults/ and storm/ take minutes on an engine with a real clock. They are skipped, by name, unless the environment
// variable OS_TEST_LONG is on. With OS_TEST_LONG=short, only the storms run; they include every fault. With package folders, such as
// OS_TEST_LONG=state/kv/etcdkv, all promises run in those packages, and only the storms in the others. A record needs all promises.
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

// Open creates a driver on an engine. Each driver represents a process.
type Open func(t testing.TB) driver.Driver

// Backend is a driver under test, and the hooks that inject faults into its engine.
type Backend struct {
	// Begin prepares the engine for one promise, and returns a function that creates drivers on it. Other promises may run concurrently;
	// Begin must not affect their state. Required.
	Begin func(t testing.TB) Open
	// FakeClock means that the engine runs in this process and uses package time, so that the suite may run in a testing/synctest bubble,
	// where a minute passes at once.
	FakeClock bool
	// TTL is the TTL of the sessions. Default: one second, or the engine's minimum if that is larger.
	TTL time.Duration

	// Kill ends the engine without warning, until Revive. Its data survive if its class is SessionBound or Linearizable.
	Kill, Revive func(t testing.TB)
	// Pause stops the engine from answering until Resume. Its connections stay open.
	Pause, Resume func(t testing.TB)
	// KillLeader ends the leader of several engines until Revive.
	KillLeader func(t testing.TB)
	// Cut closes the connections between drivers and engine and refuses new ones. Drop discards what is sent on them. Slow delays each
	// answer. Heal ends each of these faults.
	Cut, Drop, Heal func(t testing.TB)
	Slow            func(t testing.TB, latency, jitter time.Duration)
	// Tap controls each chunk between the drivers of Begin and the engine. A request about a claim must contain its name if that consists
	// of letters and digits.
	Tap Tap
	// Beside returns a driver on the same engine, unaffected by these network faults.
	Beside Open
	// Lag delays the requests to one of the Endpoints until Heal. Each endpoint alone reaches the engine.
	Lag       func(t testing.TB, endpoint int, latency time.Duration)
	Endpoints int
	// Step sets the engine's wall clock to the true time plus offset, which may be negative.
	Step func(t testing.TB, offset time.Duration)
	// Default returns a driver with default options, on a client with default options, and a function that closes the client.
	Default func(t testing.TB) (driver.Driver, func())
	// Requests returns the number of requests that the engine has received.
	Requests func() int64
	// Polls is the number of requests per second that are allowed for a waiting claim, and for an observer. Default: none.
	Polls float64

	// EngineFuncs are functions whose goroutines belong to an engine or a client that outlives a driver, as goleak names them.
	EngineFuncs []string

	// Record is the file, relative to the test's package, that records the results of the suite for the driver. The run fails when its
	// result differs. It writes the file instead when the environment variable SYNCTEST_RECORD is "write". Default: no file.
	Record string

	patience time.Duration // limit of the wait for an expected event; default: long, since test machines are busy
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

// contract returns the contract that b must keep. It stores the driver's declarations in record.
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

// promise is one check of the contract.
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

// rig is the environment of a check.
type rig struct {
	testing.TB
	Backend
	*telemetrytest.Recorder

	open Open
	caps driver.Capabilities
	ttl  time.Duration
	run  string // makes the names of this run unique

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

// process is a session with a driver that can fail as if the process had.
type process struct {
	*sync.Session
	*spy
}

// process returns a new process. The suite closes it.
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

// name returns a name that no other run uses.
func (r *rig) name(s string) string { return r.run + "/" + s }

// patience is how long the suite waits for an expected event. It allows for hand-overs after a crash and for busy test machines.
func (r *rig) patience() time.Duration {
	if r.Backend.patience > 0 {
		return r.Backend.patience
	}
	return 20*time.Second + 2*r.latest()
}

// latest is the time from a crashed process's last renewal until its seat is free.
func (r *rig) latest() time.Duration { return r.caps.Lease.Latest(r.ttl) }

// context returns a context that ends after patience.
func (r *rig) context() context.Context {
	ctx, cancel := context.WithTimeout(r.Context(), r.patience())
	r.Cleanup(cancel)
	return ctx
}

// lock acquires a lock, and fails the test if it cannot.
func (r *rig) lock(p process, name string) *sync.Grant {
	r.Helper()
	g, err := p.Mutex(name).Lock(r.context())
	if err != nil {
		r.Fatalf("Lock: %v", err)
	}
	return g
}

// release releases a grant, and fails the test if it cannot.
func (r *rig) release(g *sync.Grant) {
	r.Helper()
	if err := g.Release(r.context()); err != nil {
		r.Errorf("Release: %v", err)
	}
}

// is fails the test unless err is want, which may be nil.
func (r *rig) is(err, want error, format string, args ...any) {
	r.Helper()
	if !errors.Is(err, want) {
		r.Errorf("%s: %v; want %v", fmt.Sprintf(format, args...), err, want)
	}
}

// pass waits for d.
func (r *rig) pass(d time.Duration) {
	r.Helper()
	suite.Pass(r, d)
}

// eventually repeats check until it returns nil.
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

// outcome is the result of an acquisition that waits in the background.
type outcome struct {
	grant *sync.Grant
	err   error
	at    time.Time
}

// wait starts an acquisition in the background, and returns when its claim is in the queue.
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

// granted fails the test unless the outcome is a grant.
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

// waits fails the test if there is an outcome already.
func (r *rig) waits(done <-chan outcome, what string) {
	r.Helper()
	select {
	case o := <-done:
		r.Fatalf("%s: grant %v, error %v; it should wait", what, o.grant != nil, o.err)
	default:
	}
}
