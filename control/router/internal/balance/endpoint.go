package balance

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// DefaultDecay is the time constant of latency: a peak has lost 63 % of its excess after it. Finagle's peak EWMA uses the same.
	DefaultDecay = 10 * time.Second

	// failureDecay is the time constant with which an endpoint without requests is forgiven its failures.
	failureDecay = 30 * time.Second
	// failureShare is the share of the newest outcome in the failure score.
	failureShare = 0.25
	// failureMost keeps the penalty of an endpoint that only fails finite.
	failureMost = 0.99

	// rateWindow is the time constant of the request rate and of freshness.
	rateWindow = 5 * time.Second

	// probeRefusal is how long an endpoint that does not know the probe is left alone.
	probeRefusal = 10 * time.Minute
)

// none marks an absent point in time.
const none = math.MaxInt64

// An Endpoint is what a client has learnt about one server. It is safe for concurrent use. Times are monotonic, since an arbitrary start.
//
// Readers take no lock: a pick sees each value as it was at some recent moment, not all values of one moment.
type Endpoint struct {
	identity uint64 // place on a hash ring

	begun, ended atomic.Int64
	oldest       atomic.Int64  // start of the oldest unanswered request, or none
	latency      atomic.Uint64 // float64, nanoseconds; 0: no sample yet
	latencyAt    atomic.Int64
	failure      atomic.Uint64 // float64, 0 to 1
	failureAt    atomic.Int64
	lastBegin    atomic.Int64
	probed       atomic.Bool // Auto takes the signals of probes
	report       report
	decay        atomic.Int64
	probeRefused atomic.Int64 // until when

	mu   sync.Mutex
	open requests
	rate float64 // requests a second, at lastBegin

	waiting   float64 // requests without an answer: the average over time, up to waitingAt
	waitingAt time.Duration
}

// NewEndpoint returns an endpoint about which nothing is known.
func NewEndpoint(now time.Duration) *Endpoint {
	e := &Endpoint{open: noRequests(), waitingAt: now}
	e.oldest.Store(none)
	e.lastBegin.Store(int64(now))
	e.decay.Store(int64(DefaultDecay))
	e.probed.Store(true)
	e.report.at.Store(none)
	e.report.probedAt.Store(math.MinInt64)
	e.probeRefused.Store(math.MinInt64)
	return e
}

// Identify sets the place of e in consistent hashing: a hash of what names the server on every client, such as its instance id. Call it
// before e is in a Set. Endpoints without an identity share one place.
func (e *Endpoint) Identify(hash uint64) { e.identity = hash }

// InFlight returns the requests that have begun and are not done, streams included.
func (e *Endpoint) InFlight() int { return int(e.inFlight()) }

// inFlight reads what has ended first, so that it is never negative.
func (e *Endpoint) inFlight() int64 {
	ended := e.ended.Load()
	return e.begun.Load() - ended
}

// Oldest returns the age of the oldest request that has no answer yet. Streams do not count.
func (e *Endpoint) Oldest(now time.Duration) time.Duration {
	start := e.oldest.Load()
	if start == none {
		return 0
	}
	return max(now-time.Duration(start), 0)
}

// Latency returns the peak EWMA of latency. It rises at once to a longer sample, and decays while no samples come. It is zero if nothing is
// known.
func (e *Endpoint) Latency(now time.Duration) time.Duration {
	return time.Duration(e.latencyAbove(now, 0))
}

// Failures returns the recent share of failed requests, from 0 to 1.
func (e *Endpoint) Failures(now time.Duration) float64 {
	failure := math.Float64frombits(e.failure.Load())
	if failure == 0 {
		return 0
	}
	return failure * fade(now-time.Duration(e.failureAt.Load()), failureDecay)
}

// Rate returns the recent requests a second.
func (e *Endpoint) Rate(now time.Duration) float64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.rate * fade(now-time.Duration(e.lastBegin.Load()), rateWindow)
}

// Cost returns what the next request would cost, in nanoseconds: the estimated latency, times the requests that would share the server, times
// a penalty for failures. It is zero if nothing is known.
func (e *Endpoint) Cost(now time.Duration) float64 {
	return e.cost(now, 1, typical{})
}

// cost is Cost with a weight relative to the other endpoints, and with what is typical among them.
func (e *Endpoint) cost(now time.Duration, weight float64, usual typical) float64 {
	latency := e.latencyAbove(now, usual.latency)
	if latency == 0 {
		latency = usual.latency // a new endpoint neither starves nor attracts a flood
	}
	latency = max(latency, float64(e.Oldest(now)))
	return latency * (1 + float64(e.inFlight())/weight) * e.penalty(now)
}

// load is the cost of a request if latency is left out.
func (e *Endpoint) load(now time.Duration, weight float64) float64 {
	return (1 + float64(e.inFlight())/weight) * e.penalty(now)
}

// penalty grows from 1, without failures, to 10,000. A server that fails fast has the shortest latency and the fewest requests in flight: the
// penalty keeps it from attracting all traffic.
func (e *Endpoint) penalty(now time.Duration) float64 {
	failures := e.Failures(now)
	if failures == 0 {
		return 1
	}
	success := 1 - min(failures, failureMost)
	return 1 / (success * success)
}

// latencyAbove returns the latency in nanoseconds. While no samples come, it decays to floor, if it is above floor, and stays otherwise. A
// slow endpoint is thus tried again in time, but never looks better than the usual one just because it was left alone.
func (e *Endpoint) latencyAbove(now time.Duration, floor float64) float64 {
	latency := math.Float64frombits(e.latency.Load())
	if latency <= floor {
		return latency
	}
	return floor + (latency-floor)*fade(now-time.Duration(e.latencyAt.Load()), time.Duration(e.decay.Load()))
}

// observeLatency adds a sample. The caller holds e.mu.
//
// The estimate is finagle's peak EWMA: a longer sample replaces it, a shorter one counts by the time since the last one.
func (e *Endpoint) observeLatency(now, sample time.Duration) {
	latest := max(float64(sample), 1)
	old := math.Float64frombits(e.latency.Load())
	if latest < old {
		keep := fade(now-time.Duration(e.latencyAt.Load()), time.Duration(e.decay.Load()))
		latest += (old - latest) * keep
	}
	e.latency.Store(math.Float64bits(latest))
	e.latencyAt.Store(int64(now))
}

// observeFailure adds an outcome to the failure score: 1 for a failure, 0 for a success. The caller holds e.mu.
func (e *Endpoint) observeFailure(now time.Duration, failed float64) {
	old := math.Float64frombits(e.failure.Load())
	if old == 0 && failed == 0 {
		return
	}
	old *= fade(now-time.Duration(e.failureAt.Load()), failureDecay)
	score := old + (failed-old)*failureShare
	if score < 0.001 {
		score = 0
	}
	e.failure.Store(math.Float64bits(score))
	e.failureAt.Store(int64(now))
}

// countRequest adds a request to the rate. The caller holds e.mu.
func (e *Endpoint) countRequest(now time.Duration) {
	last := e.lastBegin.Load()
	e.rate = e.rate*fade(now-time.Duration(last), rateWindow) + 1/(float64(rateWindow)/float64(time.Second))
	e.lastBegin.Store(max(int64(now), last))
}

// countWaiting extends the average of the requests without an answer to now. Call it before their number changes. The caller holds e.mu.
func (e *Endpoint) countWaiting(now time.Duration) {
	if now <= e.waitingAt {
		return
	}
	current := float64(e.open.waiting)
	e.waiting = current + (e.waiting-current)*fade(now-e.waitingAt, rateWindow)
	e.waitingAt = now
}

// fade returns what remains of 1 after a time.
func fade(elapsed, constant time.Duration) float64 {
	x := float64(elapsed) / float64(constant)
	switch {
	case x <= 0:
		return 1
	case x < 0.125: // the series is several times faster than math.Exp, and exact to 1e-6 here
		return 1 - x*(1-x/2*(1-x/3*(1-x/4)))
	case x > 40:
		return 0
	}
	return math.Exp(-x)
}
