// Package discoverytest is the conformance suite of control/discovery. [Run] checks the contract of package driver, equally for every driver.
//
//	func TestContract(t *testing.T) {
//		discoverytest.Run(t, discoverytest.Backend{
//			Begin: func(t testing.TB) discoverytest.Registry {
//				engine := memkv.New(nil)
//				return discoverytest.Registry{
//					Registrar: func(t testing.TB) driver.Registrar { return registry(t, engine) },
//					Reader:    func(t testing.TB) driver.Reader { return registry(t, engine) },
//				}
//			},
//			FakeClock: true,
//		})
//	}
//
// Each promise is a subtest. A promise about an ability that the Backend lacks counts as refused. If it needs a hook that the Backend lacks, it
// is skipped, naming the hook.
//
// On a real clock, promises that mostly wait run concurrently, each on services of its own.
//
// The promises under faults/ take minutes on an engine with a real clock. They are skipped, by name, unless the environment variable
// OS_TEST_LONG is on. With OS_TEST_LONG=short, promises that wait for long leases run too. With package folders, such as
// OS_TEST_LONG=control/discovery/kvdiscovery, all promises run in those packages. A record needs all promises.
package discoverytest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/internal/tooling/suite"
	"github.com/go-os/go-os/telemetry/telemetrytest"
)

// Ability is something that a registry may be unable to do.
type Ability uint

// The abilities. Run derives Writes and Reads from the Registry.
const (
	// Writes: there is a Registrar.
	Writes Ability = 1 << iota
	// Reads: there is a Reader.
	Reads
	// Goodbyes: readers see that an instance has deregistered, as a record in the state Gone.
	Goodbyes
	// Incarnations: a record carries its incarnation and epoch, which decide between two processes with one service and ID.
	Incarnations
	// Names: service names and IDs may hold every character that package discovery accepts, and 128 bytes.
	Names
)

var abilityNames = map[Ability]string{
	Writes: "writes", Reads: "reads", Goodbyes: "goodbyes", Incarnations: "incarnations", Names: "names",
}

// Registry is a registry under test, as one promise sees it. At least one of Registrar and Reader is set. The other functions are hooks
// that simulate tools of the registry or other programs. They bypass the drivers and the network faults of the Backend.
type Registry struct {
	// Registrar returns a driver as a process has it. The suite closes it.
	Registrar func(t testing.TB) driver.Registrar
	// Reader returns a driver as a process has it. The suite closes it.
	Reader func(t testing.TB) driver.Reader
	// Write writes a record that belongs to no lease, over the present one of the service and ID.
	Write func(t testing.TB, r driver.Record)
	// Remove removes the record of a service and ID without a goodbye.
	Remove func(t testing.TB, service, id string)
	// Spoil writes a record that cannot be decoded, in the place of the record of a service and ID. It returns the Instance.ID of the
	// EventInvalid.
	Spoil func(t testing.TB, service, id string) (place string)
	// Hold holds back the n-th request about a service that a Registrar sends from now on, counted from one, and those that follow it. It
	// closes held when it holds a request, and sends the request when release is called. [HoldTap] implements it on real connections.
	Hold func(t testing.TB, service string, n int) (held <-chan struct{}, release func())
	// End releases the resources of Begin, after all drivers are closed.
	End func(t testing.TB)
}

// Backend is a registry under test, and the hooks that inject faults into its engine.
type Backend struct {
	// Begin prepares the registry for one promise. Other promises may run concurrently, on other services. Required.
	Begin func(t testing.TB) Registry
	// FakeClock means that the engine runs in this process and uses package time. The suite may then run in a testing/synctest bubble,
	// where waiting takes no real time.
	FakeClock bool
	// TTL is the TTL of the leases. Default: one second, or the registry's minimum if that is larger.
	TTL time.Duration
	// Late is how long after its TTL the end of a lease may be seen. Default: one TTL and three seconds.
	Late time.Duration
	// Without are the abilities that the registry lacks.
	Without Ability
	// Shown returns a reader's view of a record. Default: the record as written.
	Shown func(r driver.Record) driver.Record

	// Kill ends the engine without warning, until Revive.
	Kill, Revive func(t testing.TB)
	// Pause stops the engine from answering until Resume. Its connections stay open.
	Pause, Resume func(t testing.TB)
	// KillLeader ends the leader of several engines until Revive.
	KillLeader func(t testing.TB)
	// Cut closes the connections between drivers and engine and refuses new ones. Drop discards data sent on them. Heal ends each of these
	// faults.
	Cut, Drop, Heal func(t testing.TB)
	// Compact makes the engine discard its history of changes.
	Compact func(t testing.TB)
	// Requests returns the number of requests that the engine has received.
	Requests func() int64
	// Polls is the number of requests per second that an idle watch may send. Default: none.
	Polls float64
	// DefaultPolls are the Polls of a driver without options, which docs/drivers.md shows. Default: Polls.
	DefaultPolls float64

	// EngineFuncs are functions, as goleak names them. Their goroutines belong to an engine in this process, not to a driver.
	EngineFuncs []string

	// Record is the file, relative to the test's package, that records the results of the suite for the driver. The run fails when its
	// result differs. It writes the file instead when the environment variable DISCOVERYTEST_RECORD is "write". Default: no file.
	Record string

	patience time.Duration // limit of the wait for an expected event; default: long, since test machines are busy
}

// Run checks every promise of package driver against b.
func Run(t *testing.T, b Backend) {
	var record Record
	record.took(contract(suite.Guarded(b), &record).Run(t))
	if b.Record != "" {
		record.settle(t, b.Record)
	}
}

// contract returns the contract that b must keep. It stores the driver's declarations in record.
func contract(b Backend, record *Record) suite.Contract[*rig, Ability] {
	var declare sync.Once
	return suite.Contract[*rig, Ability]{
		Promises: promises(),
		Open: func(t testing.TB) *rig {
			r := newRig(t, b)
			declare.Do(func() { record.declare(r) })
			return r
		},
		FakeClock:  b.FakeClock,
		Bystanders: b.EngineFuncs,
	}
}

// promise is one check of the contract.
type promise = suite.Promise[*rig, Ability]

func promises() []promise {
	var all []promise
	for _, part := range [][]promise{records(), leases(), owners(), goodbyes(), watching(), calls(), fleets(), observed(), faults()} {
		all = append(all, part...)
	}
	return all
}

// rig is the environment of a check.
type rig struct {
	testing.TB
	Backend
	Registry
	*telemetrytest.Recorder

	caps      driver.Capabilities
	abilities Ability
	ttl       time.Duration
	run       string // makes the names of this run unique

	mu     sync.Mutex
	epoch  uint64
	writer *process // of put; nil before the first
	closes []func()
}

// newRig prepares the registry for one promise.
func newRig(t testing.TB, b Backend) *rig {
	r := &rig{
		TB: t, Backend: b, Registry: suite.Guarded(b.Begin(t)), Recorder: telemetrytest.New(),
		run: strings.ToLower(rand.Text()[:10]), epoch: uint64(time.Now().UnixMilli()),
	}
	if r.Shown == nil {
		r.Shown = func(r driver.Record) driver.Record { return r }
	}
	r.abilities = (Goodbyes | Incarnations | Names) &^ b.Without
	if r.Registry.Registrar != nil {
		probe := r.Registry.Registrar(t)
		r.abilities |= Writes
		r.caps = probe.Capabilities()
		r.close("Registrar", probe.Close)
	}
	if r.Registry.Reader != nil {
		probe := r.Registry.Reader(t)
		r.abilities |= Reads
		r.caps.System = probe.System()
		r.close("Reader", probe.Close)
	}
	r.ttl = max(time.Second, r.caps.MinTTL)
	if b.TTL != 0 {
		r.ttl = b.TTL
	}
	return r
}

// Has implements suite.Rig.
func (r *rig) Has(needs Ability) bool { return r.abilities&needs == needs }

// Hooks implements suite.Rig.
func (r *rig) Hooks() suite.Hooks {
	hooks := suite.HooksOf(r.Backend)
	for name, ok := range suite.HooksOf(r.Registry) {
		hooks[name] = hooks[name] || ok
	}
	hooks["Put"] = hooks["Registrar"] || hooks["Write"]
	hooks["a record limit"] = r.caps.MaxRecord > 0 && r.caps.MaxRecord <= maxRecord
	return hooks
}

// Close implements suite.Rig.
func (r *rig) Close() {
	r.mu.Lock()
	closes := r.closes
	r.closes = nil
	r.mu.Unlock()
	for i := len(closes) - 1; i >= 0; i-- {
		closes[i]()
	}
	if r.End != nil {
		r.End(r)
	}
}

func (r *rig) close(what string, do func() error) {
	r.Helper()
	if err := do(); err != nil {
		r.Errorf("%s: Close: %v", what, err)
	}
}

// later calls do when the rig closes.
func (r *rig) later(do func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closes = append(r.closes, do)
}

// patience is how long the suite waits for an expected event.
func (r *rig) patience() time.Duration {
	if r.Backend.patience > 0 {
		return r.Backend.patience
	}
	return 20*time.Second + r.ttl + r.late()
}

// late is how long after its TTL the end of a lease may be seen.
func (r *rig) late() time.Duration {
	if r.Late > 0 {
		return r.Late
	}
	return r.ttl + 3*time.Second
}

// context returns a context that ends after patience.
func (r *rig) context() context.Context {
	ctx, cancel := context.WithTimeout(r.Context(), r.patience())
	r.Cleanup(cancel)
	return ctx
}

// maxRecord is the largest limit of a record that the suite goes over.
const maxRecord = 8 << 20

// service returns a service name that no other run uses.
func (r *rig) service(s string) string { return r.run + "-" + s }

// pass waits for d.
func (r *rig) pass(d time.Duration) {
	r.Helper()
	suite.Pass(r, d)
}

// long skips a promise that waits for d on a real clock, unless the environment enables it.
func (r *rig) long(d time.Duration) {
	r.Helper()
	if !r.FakeClock && d > 12*time.Second {
		suite.Short(r)
	}
}

// is fails the test unless err is want, which may be nil.
func (r *rig) is(err, want error, format string, args ...any) {
	r.Helper()
	if !errors.Is(err, want) {
		r.Errorf("%s: %v; want %v", fmt.Sprintf(format, args...), err, want)
	}
}

// eventually repeats check until it returns nil.
func (r *rig) eventually(what string, check func() error) {
	r.Helper()
	r.within(r.patience(), what, check)
}

// within repeats check until it returns nil, and fails the test if it does not within d.
func (r *rig) within(d time.Duration, what string, check func() error) {
	r.Helper()
	var err error
	for began := time.Now(); time.Since(began) < d; r.pass(20 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	r.Fatalf("waited %s for %s: %v", d, what, err)
}
