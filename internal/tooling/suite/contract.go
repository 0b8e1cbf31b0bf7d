// Package suite runs conformance suites. A suite has a Backend, a rig and promises; everything else is here: hooks, fake and real clocks,
// promises that run at the same time, leaked goroutines, records, and witnesses for the tests of a suite.
//
//	func Run(t *testing.T, b Backend) {
//		results := suite.Contract[*rig, driver.Ability]{
//			Promises:  promises(),
//			Open:      b.open,
//			FakeClock: b.FakeClock,
//		}.Run(t)
//		…
//	}
package suite

import (
	"strings"
	"testing"
)

// Promise is one part of a contract, and a subtest.
type Promise[R Rig[A], A any] struct {
	// Name is that of the subtest, such as "watch/current". On a real clock, a promise under faults/ or storm/ takes long, and so does one
	// with the hook Restart.
	Name string
	// Needs is what the driver must be able to do. The promise is refused if it is not.
	Needs A
	// Hook names what the Backend must have, such as "Cut and Beside". The promise is untried without it.
	Hook string
	// RealClock keeps the promise off the fake clock, which would not let its goroutines run at the same time.
	RealClock bool
	// Together lets other promises be checked at the same time, on a real clock. Such a promise mostly waits; it neither injects faults
	// nor counts what the engine does, and leaves alone what is not its own.
	Together bool
	// Check fails the rig if the promise is broken.
	Check func(R)
}

// skip ends a test that takes long, unless the environment asks for it. Under faults/, and with the hook Restart, an engine is killed,
// stopped or cut off for a while; under storm/ all of that happens, again and again.
func (p Promise[R, A]) skip(t testing.TB) {
	t.Helper()
	switch kind, _, _ := strings.Cut(p.Name, "/"); {
	case kind == "faults", p.Hook == "Restart":
		Long(t)
	case kind == "storm":
		Short(t)
	}
}

// Rig is what a promise is checked with: the test that it reports to, and a driver under test.
type Rig[A any] interface {
	testing.TB
	// Has reports whether the driver declares the abilities.
	Has(A) bool
	// Hooks returns the names of the hooks that there are.
	Hooks() Hooks
	// Close closes what the rig has opened.
	Close()
}

// NoAbility is the A of a contract without optional abilities.
type NoAbility struct{}

// Contract is the promises of a capability, and a Backend that must keep them.
type Contract[R Rig[A], A any] struct {
	Promises []Promise[R, A]
	// Open returns the rig for one promise.
	Open func(t testing.TB) R
	// Share prepares what the promises that are checked at the same time have in common. It returns their Open, and what ends it.
	// Default: they have nothing in common.
	Share func(t testing.TB) (open func(t testing.TB) R, end func())
	// FakeClock says that the engine may run in a testing/synctest bubble.
	FakeClock bool
	// Bystanders are functions whose goroutines may be left behind, because they are not the driver's, as goleak names them.
	Bystanders []string
	// OpensForTest says that what Open makes lasts until the test's Cleanup: leaked goroutines are looked for after it.
	OpensForTest bool
}
