// Package kvtest is the conformance suite of state/kv. [Run] checks the contract of package driver, equally for every driver.
//
//	func TestContract(t *testing.T) {
//		kvtest.Run(t, kvtest.Backend{
//			Open:      func(testing.TB) driver.Driver { return memkv.New(nil) },
//			FakeClock: true,
//		})
//	}
//
// Each promise is a subtest. If it needs an ability that the driver does not declare, the suite checks instead that the ability is
// refused. If it needs a hook that the Backend lacks, it is skipped, naming the hook.
//
// On a real clock, promises that wait for TTLs run concurrently. They share a driver, and each has its own namespace.
//
// The promises under faults/ and storm/, and those that restart the engine, take minutes on a real clock. They are skipped, by name,
// unless the environment variable OS_TEST_LONG is on. With OS_TEST_LONG=short, only the storms run; they include every fault. With
// package folders, such as OS_TEST_LONG=state/kv/etcdkv, all promises run in those packages, and only the storms in the others. A record
// needs all promises.
package kvtest

import (
	"context"
	"crypto/rand"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/go-os/go-os/internal/tooling/suite"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/telemetry/telemetrytest"
)

// Backend is a driver under test, and the hooks that inject faults into its engine.
type Backend struct {
	// Open returns a driver on an empty key space. The suite closes it. Required.
	Open func(t testing.TB) driver.Driver
	// FakeClock means that the engine runs in this process and uses package time, so that the suite may run in a testing/synctest bubble,
	// where a minute passes at once.
	FakeClock bool

	// Restart kills the engine, starts it again on the same data, and returns a driver on it. It returns old if that still works, or else
	// a new driver, after which old is not used again.
	Restart func(t testing.TB, old driver.Driver) driver.Driver
	// Kill ends the engine, or its connections, until Revive. Stores stay open.
	Kill, Revive func(t testing.TB)
	// Pause stops the engine from answering until Resume. Its connections stay open.
	Pause, Resume func(t testing.TB)
	// KillLeader ends the leader of several engines until Revive.
	KillLeader func(t testing.TB)
	// Cut closes the connections between driver and engine and refuses new ones. Drop discards what is sent on them. Slow delays each
	// answer. Heal ends each of these faults.
	Cut, Drop, Heal func(t testing.TB)
	Slow            func(t testing.TB, latency, jitter time.Duration)
	// Beside returns a driver on the same key space as the most recently opened one, unaffected by these network faults. The suite closes
	// it.
	Beside func(t testing.TB) driver.Driver
	// Compact makes the engine discard its history of changes.
	Compact func(t testing.TB, s driver.Driver)
	// Leases returns the number of leases in the engine, of all clients.
	Leases func(t testing.TB) int
	// Requests returns the number of requests that the engine has received.
	Requests func() int64
	// KeepAlives is the number of requests per second that are allowed while idle.
	KeepAlives int64

	// EngineFuncs are functions, as goleak names them, whose goroutines belong to an engine in this process and not to the driver.
	// Default: none.
	EngineFuncs []string

	// Alone checks one promise at a time, each on a driver of its own. By default promises that mostly wait share one and run at the same
	// time, unless FakeClock is set.
	Alone bool
	// HistoryOps is the number of operations of the linearizability check. Default: 2,000.
	HistoryOps int

	// Defaults returns the capabilities of a driver without options, which docs/drivers.md shows. Default: those of Open's driver.
	Defaults func(t testing.TB) driver.Capabilities
	// Record is the file, relative to the test's package, that records the results of the suite for the driver. The run fails when its
	// result differs. It writes the file instead when the environment variable KVTEST_RECORD is "write". Default: no file.
	Record string

	patience time.Duration // limit of the wait for an expected event; default: patience
}

// Run checks every promise of package driver against b.
func Run(t *testing.T, b Backend) {
	var record Record
	record.took(contract(suite.Guarded(b), &record).Run(t))
	if b.Record == "" {
		return
	}
	if b.Defaults != nil {
		record.byDefault(b.Defaults(t))
	}
	record.settle(t, b.Record)
}

// contract returns the contract that b must keep. It stores the driver's declarations in record.
func contract(b Backend, record *Record) suite.Contract[*rig, driver.Ability] {
	var declare sync.Once
	open := func(t testing.TB) *rig {
		r := newRig(t, b)
		r.use(b.Open(t))
		declare.Do(func() { record.declare(r.caps) })
		return r
	}
	all := promises()
	for i := range all {
		all[i].Together = all[i].Together && !b.Alone
	}
	return suite.Contract[*rig, driver.Ability]{
		Promises:   all,
		Open:       open,
		Share:      func(t testing.TB) (func(testing.TB) *rig, func()) { return open(t).share() },
		FakeClock:  b.FakeClock,
		Bystanders: b.EngineFuncs,
	}
}

// promise is one check of the contract.
type promise = suite.Promise[*rig, driver.Ability]

func promises() []promise {
	var all []promise
	for _, part := range [][]promise{
		values(), keys(), conditions(), histories(), expiry(), listing(), watching(), resuming(), freshness(),
		mirrors(), batches(), leases(), abilities(), observed(), lifecycle(), faults(), network(), storms(),
	} {
		all = append(all, part...)
	}
	return all
}

// patience is how long the suite waits for an expected event.
const patience = 20 * time.Second

// rig is the environment of a check: the testing.TB that it reports to, and a store.
type rig struct {
	testing.TB
	Backend
	*telemetrytest.Recorder

	driver driver.Driver
	caps   driver.Capabilities
	store  *kv.Store
	others []io.Closer // closed along with the store
}

func newRig(t testing.TB, b Backend) *rig {
	if b.patience == 0 {
		b.patience = patience
	}
	return &rig{TB: t, Backend: b, Recorder: telemetrytest.New()}
}

// pageSize is small, so that a few items fill several pages.
const pageSize = 3

func (r *rig) use(d driver.Driver) {
	r.driver = d
	r.caps = d.Capabilities()
	r.patience = max(r.patience, 2*r.caps.TTL.Latest(r.short()))
	r.store = kv.New(d, &kv.Options{
		Name: "suite", Telemetry: r.Providers, PageSize: pageSize, Backoff: 10 * time.Millisecond, MaxBackoff: 100 * time.Millisecond,
	})
}

// share returns a function that opens rigs on the driver of r, each in its own namespace, and one that closes the driver.
func (r *rig) share() (open func(testing.TB) *rig, end func()) {
	return func(t testing.TB) *rig {
		shared := newRig(t, r.Backend)
		shared.use(r.driver)
		shared.store = shared.store.Namespace(rand.Text()) // closing it leaves the driver open
		return shared
	}, r.Close
}

// Has implements suite.Rig.
func (r *rig) Has(needs driver.Ability) bool { return r.caps.Has(needs) }

// Hooks implements suite.Rig.
func (r *rig) Hooks() suite.Hooks {
	hooks := suite.HooksOf(r.Backend)
	hooks["a fault"] = len(r.storms()) > 0
	return hooks
}

// Close implements suite.Rig.
func (r *rig) Close() {
	for _, other := range r.others {
		if err := other.Close(); err != nil {
			r.Errorf("Close: %v", err)
		}
	}
	if err := r.store.Close(); err != nil {
		r.Errorf("Close: %v", err)
	}
}

// context returns a context that ends after patience.
func (r *rig) context() context.Context {
	ctx, cancel := context.WithTimeout(r.Context(), r.patience)
	r.Cleanup(cancel)
	return ctx
}

// start calls run in a goroutine until stop is called. stop fails the test unless run returns nil.
func (r *rig) start(run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(r.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			r.Errorf("Run ended by its context returns %v", err)
		}
	}
}

// put writes a value, and fails the test if it cannot.
func (r *rig) put(key, value string, opts ...kv.PutOption) kv.Version {
	r.Helper()
	v, err := r.store.Put(r.context(), key, []byte(value), opts...)
	if err != nil {
		r.Fatalf("Put(%q): %v", key, err)
	}
	if v == 0 {
		r.Fatalf("Put(%q) returned no version", key)
	}
	return v
}

// holds returns the item, and fails the test unless key has this value.
func (r *rig) holds(key, value string) kv.Item {
	r.Helper()
	it, err := r.store.Get(r.context(), key)
	if err != nil {
		r.Fatalf("Get(%q): %v", key, err)
	}
	if it.Key != key || string(it.Value) != value || it.Version == 0 {
		r.Fatalf("Get(%q) = key %q, value %.60q, version %d; want value %.60q", key, it.Key, it.Value, it.Version, value)
	}
	return it
}

// absent fails the test if key exists.
func (r *rig) absent(key string) {
	r.Helper()
	it, err := r.store.Get(r.context(), key)
	r.is(err, kv.ErrNotFound, "Get(%q) = %.60q", key, it.Value)
}

// pass waits for d.
func (r *rig) pass(d time.Duration) {
	r.Helper()
	suite.Pass(r, d)
}
