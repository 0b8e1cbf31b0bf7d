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
		f.pass(time.Minute) // without a request: no evidence of health (envoyproxy/envoy#21142)
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
