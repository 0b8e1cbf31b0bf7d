// Package suite runs conformance suites. A suite supplies a Backend, a rig and promises. This package supplies the rest: hooks, fake and
// real clocks, concurrent promises, checks for leaked goroutines, records, and witnesses for the tests of a suite.
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
	// Name is the name of the subtest, such as "watch/current". On a real clock, a promise under faults/ or storm/ takes long, and so does
	// one with the hook Restart.
	Name string
	// Needs is the ability that the promise is about. If the driver does not declare it, the promise is refused.
	Needs A
	// Hook names what the Backend must have, such as "Cut and Beside". Without it, the promise is untried.
	Hook string
	// RealClock keeps the promise off the fake clock, which would not let its goroutines run at the same time.
	RealClock bool
	// Together allows a check at the same time as other promises, on a real clock. Such a promise mostly waits. It injects no faults, does
	// not count what the engine does, and touches only its own data.
	Together bool
	// Check fails the rig if the promise is broken.
	Check func(R)
}

// skip skips a promise that takes long, unless the environment asks for it. Under faults/, and with the hook Restart, an engine is killed,
// stopped or cut off for a while. Under storm/ all of that happens repeatedly.
func (p Promise[R, A]) skip(t testing.TB) {
	t.Helper()
	switch kind, _, _ := strings.Cut(p.Name, "/"); {
	case kind == "faults", p.Hook == "Restart":
		Long(t)
	case kind == "storm":
		Short(t)
	}
}

// Rig is the setting of a promise: the test that it reports to, and a driver under test.
type Rig[A any] interface {
	testing.TB
	// Has reports whether the driver declares the abilities.
	Has(A) bool
	// Hooks returns the names of the available hooks.
	Hooks() Hooks
	// Close closes everything that the rig has opened.
	Close()
}

// NoAbility is the A of a contract without optional abilities.
type NoAbility struct{}

// Contract is the promises of a capability, with a Backend that must keep them.
type Contract[R Rig[A], A any] struct {
	Promises []Promise[R, A]
	// Open returns the rig for one promise.
	Open func(t testing.TB) R
	// Share prepares what concurrent promises share. It returns their Open, and a function that ends it. Default: they share nothing.
	Share func(t testing.TB) (open func(t testing.TB) R, end func())
	// FakeClock says that the engine may run in a testing/synctest bubble.
	FakeClock bool
	// Bystanders are functions, as goleak names them, whose goroutines may be left behind because they are not the driver's.
	Bystanders []string
	// OpensForTest says that the rig of Open lasts until the test's Cleanup. The check for leaked goroutines follows it.
	OpensForTest bool
}
