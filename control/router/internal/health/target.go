package health

import (
	"math"
	"sync/atomic"
	"time"
)

// Result is how a request to a target ended. The values are those of router.Kind.
type Result uint8

// The results.
const (
	// Success: the target answered.
	Success Result = iota
	// Fault: the target failed to serve the request. It is a failure in the statistics.
	Fault
	// GatewayFault: no connection, a broken one, or a 502, 503 or 504 without pushback. It is a failure, and counts for Consecutive.
	GatewayFault
	// Overload: the target asked to back off. It never ejects.
	Overload
	// Timeout: no answer in time. It is a failure in the statistics, where the other targets are the measure of the caller's deadline.
	Timeout
	// Neutral: the request shows nothing about the target: it was cancelled, lost as a hedge, or rejected by the client itself.
	Neutral
)

// Key identifies an endpoint across its absence.
type Key struct{ ID, Address string }

// Target is the learnt health of an endpoint. It is safe for concurrent use.
type Target struct {
	monitor     *Monitor
	key         Key
	incarnation string

	// Read by each pick.
	barred atomic.Int64 // ejected until this time
	ramp   atomic.Int64 // start of the slow start, or ramped

	_ [64]byte // apart from what each request writes

	counts atomic.Uint64 // of the interval: requests, and failures times failure
	run    atomic.Int64  // consecutive gateway faults

	// Guarded by monitor.mu.
	round      uint64        // the last Retain that had the target
	fresh      bool          // no Retain has had it yet
	seen       time.Duration // when it was last present, if it is absent
	ejection   ejection
	multiplier int           // of the length of the next ejection, less one
	times      int           // ejections so far
	warned     time.Duration // when the last unenforced ejection was reported
	requests   uint64        // in the last interval
	rate       float64       // of successes in the last interval with a request
}

const (
	request = 1
	failure = 1 << 32

	// ramped is the start of the slow start of a target that needs none.
	ramped = math.MinInt64
)

// Key returns the key of the target.
func (t *Target) Key() Key { return t.key }

// Record counts a result. It reports whether it has ejected the target.
func (t *Target) Record(now time.Duration, r Result) (changed bool) {
	switch r {
	case Success:
		t.counts.Add(request)
		t.answered()
	case Fault:
		t.counts.Add(request + failure)
		t.answered()
	case Timeout:
		t.counts.Add(request + failure)
	case Overload:
		t.answered()
	case GatewayFault:
		t.counts.Add(request + failure)
		// Not ==: a reset may be on its way (envoyproxy/envoy#18950).
		if t.run.Add(1) >= t.monitor.consecutive.Load() {
			return t.monitor.ejectConsecutive(now, t)
		}
	}
	return false
}

// answered ends a run of gateway faults.
func (t *Target) answered() {
	if t.run.Load() != 0 {
		t.run.Store(0)
	}
}

// Ejected reports whether the target is out of service.
func (t *Target) Ejected(now time.Duration) bool { return time.Duration(t.barred.Load()) > now }

// Weight returns the factor of the slow start, above 0 and at most 1. An ejected target that is used all the same, in a panic, has the weight 1.
func (t *Target) Weight(now time.Duration) float64 {
	start := t.ramp.Load()
	if start == ramped || now < time.Duration(start) {
		return 1
	}
	return t.monitor.config.Load().SlowStart.weight(now - time.Duration(start))
}

// ramping reports whether the weight of the target is changing.
func (t *Target) ramping(now time.Duration) bool {
	return t.Weight(now) < 1
}

// Status is the state of a target.
type Status struct {
	// Ejected is set if the target is out of service.
	Ejected bool
	// Observed is set if the target would be ejected, but for Config.Observe.
	Observed bool
	// Reason of the last ejection, since when it lasted, and its end.
	Reason       string
	Since, Until time.Duration
	// Times is the number of ejections so far.
	Times int
	// Run is the number of consecutive gateway faults.
	Run int
	// Requests is the number of requests that count in the last interval.
	Requests uint64
	// SuccessRate of the last interval with a request. 1 before.
	SuccessRate float64
	// Weight is the factor of the slow start.
	Weight float64
}

// Status returns the state of the target.
func (t *Target) Status(now time.Duration) Status {
	t.monitor.mu.Lock()
	defer t.monitor.mu.Unlock()
	out := t.Ejected(now)
	return Status{
		Ejected: out, Observed: !out && t.ejection.until > now,
		Reason: t.ejection.reason, Since: t.ejection.since, Until: t.ejection.until, Times: t.times,
		Run: int(t.run.Load()), Requests: t.requests, SuccessRate: t.rate, Weight: t.Weight(now),
	}
}
