package balance

import (
	"math"
	"sync/atomic"
	"time"
)

// mostReported bounds the requests in flight that a server may claim.
const mostReported = math.MaxInt32

// A report is what a server has said about itself.
type report struct {
	at       atomic.Int64 // none: never
	probedAt atomic.Int64 // the last report that answered a probe
	inFlight atomic.Int64
	latency  atomic.Int64
	begun    atomic.Int64 // own requests before the report
}

// Report takes in what the server says of itself: its requests in flight, and the latency that requests have there at the moment. It comes
// with the answer to a probe, or with that to a request. Impossible values are brought into range.
func (e *Endpoint) Report(now time.Duration, inFlight int, latency time.Duration, probe bool) {
	e.report.inFlight.Store(int64(min(max(inFlight, 0), mostReported)))
	e.report.latency.Store(int64(max(latency, 0)))
	e.report.begun.Store(e.begun.Load())
	e.report.at.Store(int64(now))
	if probe {
		e.report.probedAt.Store(int64(now))
	}
}

// ProbeRefused records that the server does not know the probe. It is not probed for ten minutes.
func (e *Endpoint) ProbeRefused(now time.Duration) { e.probeRefused.Store(int64(now + probeRefusal)) }

// Reported returns the requests in flight and the latency of the last report, and its age. ok is false if there was none.
func (e *Endpoint) Reported(now time.Duration) (inFlight int, latency, age time.Duration, ok bool) {
	at := e.report.at.Load()
	if at == none {
		return 0, 0, 0, false
	}
	return int(e.report.inFlight.Load()), time.Duration(e.report.latency.Load()), max(now-time.Duration(at), 0), true
}

// probeable reports whether the server may be probed.
func (e *Endpoint) probeable(now time.Duration) bool { return int64(now) >= e.probeRefused.Load() }

// reportedLoad returns the requests in flight at the server: what it reported and what this client has sent since, and never less than this
// client's own. A server that claims to be idle thus cannot take all requests.
func (e *Endpoint) reportedLoad() float64 {
	claimed := e.report.inFlight.Load() + e.begun.Load() - e.report.begun.Load()
	return float64(max(claimed, e.inFlight()))
}

// reportedLatency returns the latency that the server reported, in nanoseconds, and never less than the age of the oldest request there. A
// server that has not finished a request yet reports none: the client's own estimate takes its place, or what is usual.
func (e *Endpoint) reportedLatency(now time.Duration, usual float64) float64 {
	latency := float64(e.report.latency.Load())
	if latency == 0 {
		latency = e.latencyAbove(now, usual)
	}
	if latency == 0 {
		latency = usual
	}
	return max(latency, float64(e.Oldest(now)))
}
