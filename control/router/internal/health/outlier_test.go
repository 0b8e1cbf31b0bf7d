package health_test

import (
	"testing"
	"time"

	"github.com/go-os/go-os/control/router/internal/health"
)

// TestPublishedCases recomputes the cases of grpc-go 1.85 (internal/xds/balancer/outlierdetection: TestEjectUnejectSuccessRate,
// TestEjectFailureRate, the end-to-end tests), and of gRFC A50. One case differs on purpose: with a maximum of zero percent A50 ejects
// nobody, and we have no such maximum.
func TestPublishedCases(t *testing.T) {
	rate := func(factor float64, hosts, requests int) health.SuccessRate {
		return health.SuccessRate{StdevFactor: factor, MinHosts: hosts, MinRequests: requests}
	}
	percentage := func(threshold, hosts, requests int) health.FailurePercentage {
		return health.FailurePercentage{Threshold: threshold, MinHosts: hosts, MinRequests: requests}
	}
	for _, c := range []struct {
		name       string
		rate       health.SuccessRate
		percentage health.FailurePercentage
		maximum    int
		rates      []float64
		requests   int
		want       []int
	}{
		{"stdev 0.5, one of three fails", rate(.5, 3, 3), percentage(50, 9, 9), 10, []float64{1, 1, 0}, 5, []int{2}},
		{"stdev 0.05, one of three fails", rate(.05, 3, 5), percentage(50, 9, 9), 33, []float64{1, 1, 0}, 5, []int{2}},
		{"percentage 50, one of three fails", rate(9, 9, 9), percentage(50, 3, 3), 10, []float64{1, 1, 0}, 5, []int{2}},
		{"percentage 50, two of three fail, 10 % at most", rate(9, 9, 9), percentage(50, 3, 3), 10, []float64{1, 0, 0}, 5, []int{1}},
		{"percentage 50, three of four fail, 50 % at most", rate(9, 9, 9), percentage(50, 3, 3), 50, []float64{1, 0, 0, 0}, 5, []int{1, 2}},
		{"all succeed", rate(.5, 3, 3), percentage(50, 3, 3), 10, []float64{1, 1, 1}, 5, nil},
		{"too few requests", rate(.5, 3, 6), percentage(50, 3, 6), 10, []float64{1, 1, 0}, 5, nil},
		{"too few hosts", rate(.5, 4, 3), percentage(50, 4, 3), 10, []float64{1, 1, 0}, 5, nil},
		{"percentage at the threshold", rate(9, 9, 9), percentage(40, 3, 3), 10, []float64{1, 1, .6}, 5, nil},
		{"percentage above it", rate(9, 9, 9), percentage(39, 3, 3), 10, []float64{1, 1, .6}, 5, []int{2}},
		// mean 0.9, stdev 0.2: required are 0.52 with 1.9, and 0.48 with 2.1.
		{"one of five at 0.5, stdev 1.9", rate(1.9, 5, 100), percentage(85, 5, 50), 20, []float64{1, 1, 1, 1, .5}, 100, []int{4}},
		{"one of five at 0.5, stdev 2.1", rate(2.1, 5, 100), percentage(85, 5, 50), 20, []float64{1, 1, 1, 1, .5}, 100, nil},
		// Half of them fail: nobody is an outlier.
		{"three of six fail", rate(1.9, 5, 100), percentage(100, 5, 50), 50, []float64{1, 1, 1, .2, .2, .2}, 100, nil},
	} {
		f := newFleet(t, len(c.rates), health.Config{MaxPercent: c.maximum, SuccessRate: c.rate, FailurePercentage: c.percentage})
		f.load(c.requests, c.rates...)
		f.interval()
		if got := f.ejected(); len(got) != len(c.want) || len(got) > 0 && got[0] != c.want[0] {
			t.Errorf("%s: ejected %v, want %v", c.name, got, c.want)
		}
		f.pass(health.DefaultBaseEjection)
		f.want()
	}
}

// TestDefaultsOfA50: 5 hosts and 100 requests are needed, or 50 for the percentage.
func TestDefaultsOfA50(t *testing.T) {
	f := newFleet(t, 3, health.Config{})
	f.load(1000, 1, 1, 0)
	f.interval()
	f.want() // statistics never eject one of three
	for _, c := range []struct {
		requests int
		bad      float64
		want     int
	}{{99, .5, 0}, {100, .5, 1}, {49, 0, 0}, {50, 0, 1}} {
		f := newFleet(t, 5, health.Config{})
		f.load(c.requests, 1, 1, 1, 1, c.bad)
		f.interval()
		if got := len(f.ejected()); got != c.want {
			t.Errorf("%d requests with a success rate of %v: %d ejected, want %d", c.requests, c.bad, got, c.want)
		}
	}
}

// TestFewFailuresAreNoOutlier: among twenty endpoints without a failure, A50 alone ejects the one with a single failure (envoyproxy/envoy#18752).
func TestFewFailuresAreNoOutlier(t *testing.T) {
	for _, c := range []struct {
		gap  float64
		want int
	}{{0, 0}, {1e-6, 1}} {
		f := newFleet(t, 20, health.Config{SuccessRate: health.SuccessRate{Gap: c.gap}})
		rates := make([]float64, 20)
		for i := range rates {
			rates[i] = 1
		}
		rates[7] = .995
		f.load(200, rates...)
		f.interval()
		if got := len(f.ejected()); got != c.want {
			t.Errorf("with a gap of %v, %d are ejected, want %d", c.gap, got, c.want)
		}
	}
}

// TestTheWorstAreEjected: if the maximum spares some outliers, it spares the better ones.
func TestTheWorstAreEjected(t *testing.T) {
	f := newFleet(t, 20, health.Config{SuccessRate: health.SuccessRate{Off: true}})
	rates := make([]float64, 20)
	for i := range rates {
		rates[i] = 1
	}
	rates[3], rates[9], rates[15], rates[16] = .1, .02, .05, 0
	f.load(100, rates...)
	f.interval()
	f.want(9, 16)
}

// TestOverloadIsNoFailure: a server that asks to back off is healthy, and a client that cancels or rejects says nothing.
func TestOverloadIsNoFailure(t *testing.T) {
	for _, r := range []health.Result{health.Overload, health.Neutral} {
		f := newFleet(t, 6, health.Config{})
		f.load(200, 1, 1, 1, 1, 1)
		f.record(5, 1000, r)
		f.interval()
		f.want()
		if s := f.targets[5].Status(f.now); s.Requests != 0 || s.SuccessRate != 1 {
			t.Errorf("result %d counts: %d requests with a success rate of %v", r, s.Requests, s.SuccessRate)
		}
	}
}

// TestTimeoutsAreComparedWithTheOthers: a deadline that is too short for all ejects nobody by success rate.
func TestTimeoutsAreComparedWithTheOthers(t *testing.T) {
	f := newFleet(t, 6, health.Config{FailurePercentage: health.FailurePercentage{Off: true}})
	for i := range 6 {
		f.record(i, 200, health.Timeout)
	}
	f.interval()
	f.want()
	f.load(200, 1, 1, 1, 1, 1)
	f.record(5, 200, health.Timeout)
	f.interval()
	f.want(5)
}

func TestEnforcement(t *testing.T) {
	draw := uint64(59)
	c := health.Config{Random: func() uint64 { return draw }, FailurePercentage: health.FailurePercentage{Off: true}}
	c.SuccessRate.Enforcement = 60
	f := newFleet(t, 6, c)
	f.load(200, 1, 1, 1, 1, 1, 0)
	f.interval()
	f.want(5)
	draw = 160
	f = newFleet(t, 6, c)
	f.load(200, 1, 1, 1, 1, 1, 0)
	f.interval()
	f.want()
	if len(f.changes) != 1 || f.changes[0].Unenforced != health.CauseEnforcement {
		t.Errorf("the changes are %+v, want one that was not enforced", f.changes)
	}
}

// TestLateSweep: without requests nobody sweeps. The sweep that follows judges as of the time it was due.
func TestLateSweep(t *testing.T) {
	for _, c := range []struct {
		late time.Duration
		want int
	}{{0, 1}, {25 * time.Second, 1}, {health.DefaultBaseEjection, 0}, {time.Hour, 0}} {
		f := newFleet(t, 6, health.Config{})
		f.load(200, 1, 1, 1, 1, 1, 0)
		due := f.now + health.DefaultInterval
		f.now = due + c.late
		f.Sweep(f.now)
		if got := len(f.ejected()); got != c.want {
			t.Errorf("%v late: %d are ejected, want %d", c.late, got, c.want)
		}
		if s := f.targets[5].Status(f.now); c.want == 1 && s.Until != due+health.DefaultBaseEjection {
			t.Errorf("%v late: the ejection lasts until %v, want %v", c.late, s.Until, due+health.DefaultBaseEjection)
		}
		f.pass(health.DefaultBaseEjection)
		f.want()
		f.load(200, 1, 1, 1, 1, 1, 0)
		f.interval()
		f.want(5) // the next interval is a normal one
	}
}

// TestIntervalIsNotPostponed: neither ejections nor a flapping registry delay the end of the interval. A shorter interval holds at once.
func TestIntervalIsNotPostponed(t *testing.T) {
	f := newFleet(t, 6, health.Config{})
	f.load(200, 1, 1, 1, 1, 1, 0)
	for range 10 {
		f.Eject(f.now, f.targets[0], "breaker", f.now+time.Second/2)
		f.resize(6)
		f.pass(time.Second)
	}
	f.want(5)
	f = newFleet(t, 6, health.Config{Interval: time.Hour})
	f.load(200, 1, 1, 1, 1, 1, 0)
	f.SetConfig(health.Config{})
	f.pass(time.Second)
	f.want()
	f.interval()
	f.want(5)
}

// TestClockStandsStill: nothing is due, and nothing changes, however often the clock is read.
func TestClockStandsStill(t *testing.T) {
	f := newFleet(t, 6, health.Config{})
	f.record(0, 5, health.GatewayFault)
	for range 1000 {
		if f.Due(f.now) || f.Sweep(f.now) {
			t.Fatal("a sweep is due")
		}
	}
	f.want(0)
}

func TestOff(t *testing.T) {
	f := newFleet(t, 6, health.Config{Off: true})
	f.load(200, 1, 1, 1, 1, 1, 0)
	f.record(5, 200, health.GatewayFault)
	f.interval()
	f.want()
	if !f.Eject(f.now, f.targets[5], "breaker", f.now+time.Minute) {
		t.Error("a breaker cannot eject")
	}
	f.want(5)
}
