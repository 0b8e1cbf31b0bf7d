package health_test

import (
	"testing"
	"time"

	"github.com/go-os/go-os/control/router/internal/health"
)

func TestConsecutiveGatewayFaultsEjectOneOfThree(t *testing.T) {
	f := newFleet(t, 3, health.Config{})
	if f.record(1, 4, health.GatewayFault) {
		t.Error("four faults have ejected the target")
	}
	f.want()
	if !f.record(1, 1, health.GatewayFault) {
		t.Error("the fifth fault has not reported an ejection")
	}
	f.want(1)
	if c := f.changes[0]; len(f.changes) != 1 || c.Target != f.targets[1] || c.Reason != health.ReasonConsecutive ||
		c.Until != f.now+health.DefaultBaseEjection || c.Ended || c.Unenforced != "" {
		t.Errorf("the changes are %+v", f.changes)
	}
	f.record(2, 50, health.GatewayFault)
	f.want(1) // 10 % of three is none, but for the first one
	f.pass(health.DefaultBaseEjection - time.Millisecond)
	f.want(1)
	f.pass(time.Millisecond)
	f.want()
	if last := f.changes[len(f.changes)-1]; last.Target != f.targets[1] || !last.Ended {
		t.Errorf("the last change is %+v, want the end of the ejection", last)
	}
}

// TestAnswersEndARun: only gateway faults in a row eject at once.
func TestAnswersEndARun(t *testing.T) {
	for name, c := range map[string]struct {
		between health.Result
		want    bool
	}{
		"success": {health.Success, false}, "fault": {health.Fault, false}, "overload": {health.Overload, false},
		"timeout": {health.Timeout, true}, "neutral": {health.Neutral, true}, // no answer, no evidence
	} {
		f := newFleet(t, 3, health.Config{})
		f.record(0, 4, health.GatewayFault)
		f.record(0, 1, c.between)
		if got := f.record(0, 1, health.GatewayFault); got != c.want {
			t.Errorf("four gateway faults, a %s, one more: ejected is %v, want %v", name, got, c.want)
		}
	}
}

func TestTheLastEndpointStays(t *testing.T) {
	f := newFleet(t, 1, health.Config{MaxPercent: 100})
	f.record(0, 100, health.GatewayFault)
	f.want()
	if f.Eject(f.now, f.targets[0], "breaker", f.now+time.Minute) {
		t.Error("a breaker has ejected the only endpoint")
	}
	f = newFleet(t, 2, health.Config{MaxPercent: 100})
	f.record(0, 100, health.GatewayFault)
	f.record(1, 100, health.GatewayFault)
	f.want(0)
	f.resize(1) // the other one leaves
	f.want()
	if w := f.targets[0].Weight(f.now); w != health.DefaultMinWeight {
		t.Errorf("the last endpoint returns with the weight %v", w)
	}
}

// TestEjectionsGrow: the n-th ejection takes n times as long, up to the longest.
func TestEjectionsGrow(t *testing.T) {
	f := newFleet(t, 3, health.Config{MaxEjection: 80 * time.Second})
	for _, want := range []time.Duration{30, 60, 80, 80} {
		f.record(0, 5, health.GatewayFault)
		if got := f.targets[0].Status(f.now).Until - f.now; got != want*time.Second {
			t.Fatalf("the ejection takes %v, want %ds", got, want)
		}
		f.pass(want * time.Second)
		f.want()
		f.record(0, 4, health.GatewayFault)
		f.record(0, 4, health.Fault)
		f.pass(time.Minute) // without a success: no evidence of health (envoyproxy/envoy#21142)
	}
	for range 2 { // envoyproxy/envoy#17147, #37602
		f.record(0, 1, health.Success)
		f.interval()
	}
	f.record(0, 5, health.GatewayFault)
	if got := f.targets[0].Status(f.now).Until - f.now; got != 60*time.Second {
		t.Errorf("after two good intervals the ejection takes %v, want 60s", got)
	}
}

// TestBreaker: an open breaker ejects under the same maximum, and for as long as it is open.
func TestBreaker(t *testing.T) {
	f := newFleet(t, 20, health.Config{})
	until := f.now + 90*time.Second
	for i, want := range []bool{true, true, false} {
		if got := f.Eject(f.now, f.targets[i], "breaker", until); got != want {
			t.Errorf("ejection %d is %v, want %v", i, got, want)
		}
	}
	f.Eject(f.now, f.targets[0], "breaker", f.now+time.Second) // no ejection becomes shorter
	f.Eject(f.now, f.targets[1], "breaker", until+time.Minute)
	f.pass(2 * time.Second)
	f.want(0, 1)
	f.pass(88 * time.Second)
	f.want(1)
	f.pass(time.Minute)
	f.want()
	if f.Eject(f.now, f.targets[3], "breaker", f.now) {
		t.Error("an ejection that has ended is carried out")
	}
}

// TestAbsentEjection: an endpoint that is ejected while it is absent returns ejected, if the maximum permits.
func TestAbsentEjection(t *testing.T) {
	f := newFleet(t, 3, health.Config{})
	gone := f.targets[2]
	f.resize(2)
	f.Eject(f.now, gone, "breaker", f.now+time.Minute)
	f.pass(time.Second)
	f.resize(3)
	f.want(2)
	f.resize(2)
	f.record(0, 5, health.GatewayFault)
	f.want(0)
	f.resize(3) // two are ejected, one may be: the one that is next to its end returns
	f.want(2)
}

func TestObserve(t *testing.T) {
	f := newFleet(t, 20, health.Config{Observe: true})
	report := func(c health.Change) { f.changes = append(f.changes, c) }
	f.record(0, 500, health.GatewayFault)
	f.want()
	if s := f.targets[0].Status(f.now); !s.Observed || s.Ejected || s.Times != 1 || s.Weight != 1 {
		t.Errorf("the status is %+v, want an observed ejection", s)
	}
	if len(f.changes) != 1 || f.changes[0].Unenforced != health.CauseObserve {
		t.Errorf("the changes are %+v, want one that was observed", f.changes)
	}
	f.SetConfig(health.Config{Changed: report}) // from now on they count
	f.want(0)
	f.SetConfig(health.Config{Changed: report, Observe: true})
	f.want()
	f.pass(31 * time.Second)
	if s := f.targets[0].Status(f.now); s.Observed || s.Weight != 1 {
		t.Errorf("the observed ejection has no end: %+v", s)
	}
	if n := len(f.changes); n != 1 {
		t.Errorf("there are %d changes, want the first one only", n)
	}
}

// TestPolicyChangeKeepsEjections: a new configuration ends only those that are over its maximum.
func TestPolicyChangeKeepsEjections(t *testing.T) {
	f := newFleet(t, 10, health.Config{MaxPercent: 30})
	for i := range 3 {
		f.record(i, 5, health.GatewayFault)
		f.pass(time.Second)
	}
	f.record(5, 4, health.GatewayFault)
	f.SetConfig(health.Config{MaxPercent: 30, BaseEjection: time.Minute})
	f.pass(time.Second)
	f.want(0, 1, 2)
	f.SetConfig(health.Config{MaxPercent: 20})
	f.pass(time.Second)
	f.want(1, 2) // the one that is next to its end has returned
	f.SetConfig(health.Config{MaxPercent: 30})
	f.record(5, 1, health.GatewayFault) // the run has survived, too
	f.want(1, 2, 5)
}

// TestOutageReportsOnce: an outage of all endpoints reports the maximum once an interval, not for each endpoint.
func TestOutageReportsOnce(t *testing.T) {
	f := newFleet(t, 1000, health.Config{})
	for range 10 {
		for i := range f.targets {
			f.record(i, 10, health.GatewayFault)
		}
	}
	refused := 0
	for _, c := range f.changes {
		if c.Unenforced == health.CauseMaximum {
			refused++
		}
	}
	if n := len(f.ejected()); n != 100 || refused != 1 {
		t.Errorf("%d of 1000 are ejected and %d refusals reported, want 100 and 1", n, refused)
	}
}

// TestFreshStartAfterAnEjection: what a target does while it is ejected, in a panic, does not count when it returns.
func TestFreshStartAfterAnEjection(t *testing.T) {
	f := newFleet(t, 6, health.Config{})
	f.pass(health.DefaultInterval / 2)
	f.record(0, 5, health.GatewayFault)
	f.pass(health.DefaultBaseEjection - time.Second)
	f.record(0, 4, health.GatewayFault)
	f.record(0, 200, health.Timeout)
	f.pass(time.Second)
	f.record(0, 4, health.GatewayFault)
	f.want()
	if s := f.targets[0].Status(f.now); s.Run != 4 {
		t.Errorf("the run is %d, want 4", s.Run)
	}
	f.record(0, 96, health.Success)
	f.load(200, 1, 1, 1, 1, 1, 1)
	f.interval()
	f.want()
	if s := f.targets[0].Status(f.now); s.Requests != 300 {
		t.Errorf("%d requests count, want the 300 since the return", s.Requests)
	}
}

// TestLapsedEjection: an ejection that no Sweep has ended yet makes no difference.
func TestLapsedEjection(t *testing.T) {
	f := newFleet(t, 3, health.Config{})
	f.record(0, 5, health.GatewayFault)
	f.now += health.DefaultBaseEjection
	f.want()
	if !f.record(1, 5, health.GatewayFault) {
		t.Error("the ejection that is over counts for the maximum")
	}
	f.want(1)
	f.now += health.DefaultBaseEjection
	if !f.Eject(f.now, f.targets[2], "breaker", f.now+time.Second) {
		t.Error("the ejection that is over counts for the maximum")
	}
}
