package health_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/go-os/go-os/control/router/internal/health"
)

// fleet is a Monitor with its targets and a clock.
type fleet struct {
	*health.Monitor
	t       *testing.T
	now     time.Duration
	targets []*health.Target
	changes []health.Change
}

// newFleet returns n targets that are the first ones of their service.
func newFleet(t *testing.T, n int, c health.Config) *fleet {
	f := &fleet{t: t, now: time.Hour}
	c.Changed = func(c health.Change) { f.changes = append(f.changes, c) }
	f.Monitor = health.New(c)
	f.resize(n)
	return f
}

func key(i int) health.Key {
	return health.Key{ID: fmt.Sprint("i", i), Address: fmt.Sprintf("10.0.0.%d:80", i)}
}

// resize makes the targets with the numbers below n present.
func (f *fleet) resize(n int) {
	f.targets = f.targets[:0]
	for i := range n {
		f.targets = append(f.targets, f.Track(f.now, key(i), "a"))
	}
	f.Retain(f.now, f.targets)
}

// record records the same result several times.
func (f *fleet) record(i, times int, r health.Result) (changed bool) {
	for range times {
		changed = f.targets[i].Record(f.now, r) || changed
	}
	return changed
}

// pass lets time pass, and sweeps when it is due, as the picks of a busy client do.
func (f *fleet) pass(d time.Duration) {
	const step = 100 * time.Millisecond
	for end := f.now + d; f.now < end; {
		f.now += min(step, end-f.now)
		if f.Due(f.now) {
			f.Sweep(f.now)
		}
	}
}

// interval lets an interval pass.
func (f *fleet) interval() { f.pass(health.DefaultInterval) }

func (f *fleet) ejected() (numbers []int) {
	for i, t := range f.targets {
		if t.Ejected(f.now) {
			numbers = append(numbers, i)
		}
	}
	return numbers
}

// want checks which targets are ejected.
func (f *fleet) want(numbers ...int) {
	f.t.Helper()
	if got := f.ejected(); fmt.Sprint(got) != fmt.Sprint(numbers) {
		f.t.Fatalf("at %v the targets %v are ejected, want %v", f.now, got, numbers)
	}
}

// load records requests of a rate of success at each target.
func (f *fleet) load(requests int, rates ...float64) {
	for i, rate := range rates {
		good := int(float64(requests)*rate + 0.5)
		f.record(i, requests-good, health.Fault)
		f.record(i, good, health.Success)
	}
}
