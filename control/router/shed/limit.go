package shed

import "time"

// limit is the adaptive limit of requests in flight. It is a pure function of what it is given, with no clock and no lock.
//
// By Little's law, a server that is saturated at a throughput X and has a latency B without queueing does useful work on X*B requests; more
// only wait. The limit is tolerance*X*B + 1. X is measured all the time, as in-flight / latency. B, the base, is hard to measure while the
// server is saturated. BBR has the same problem (Cardwell et al., ACM Queue 14(5), 2016) and the same solution: lower the limit for a moment
// and look. A gradient against a moving average of latency, as in Netflix's Gradient2, follows a queue that lasts, and with it grows the
// limit.
//
// So the base falls freely, and rises only after a probe: the limit is lowered, and if the latency does not fall with it, the latency is not
// due to queueing but to the work itself, such as a slow dependency. The limit then returns to where it was.
type limit struct {
	min, max float64
	observe  bool // nothing is refused, so a probe would show nothing

	value     float64
	tolerance float64       // lower than maxTolerance if requests are dropped at the limit
	base      float64       // latency without queueing in seconds; 0 is unknown
	verified  time.Duration // when the base was last measured by a probe; at first long ago
	full      time.Duration // when requests were last refused; at first long ago

	probing bool
	begin   sample // what the probe began with
	saved   float64
	last    sample // what its last step saw
	unsure  int    // steps in which the requests in flight did not fall
}

// sample is what a window has measured. The latency and the requests in flight belong to the same requests: a request that was admitted as
// one of that many took that long.
type sample struct {
	latency   float64 // in seconds
	inFlight  float64
	most      float64 // the highest of those numbers in flight
	peak      float64 // the most requests that were admitted at a time by now; some are still in flight
	dropped   float64 // the share of the requests that missed their deadlines
	contended bool    // requests were refused
}

const (
	// maxTolerance is how many times the base the latency may be at the limit. At 2, a probe at half the limit still saturates the server.
	maxTolerance = 2
	// minTolerance is for servers whose callers do not wait for so long.
	minTolerance = 1.1
	// good is the latency, in multiples of the base, up to which the server has room for more.
	good = 1.5
	// excess is the latency, in multiples of the base, from which the limit is too high or the base too low.
	excess = 3
	// tooLate is the share of dropped requests from which the limit is too high for the deadlines.
	tooLate = 0.1
	// verifyEvery is how often the base is verified while requests are refused.
	verifyEvery = 10 * time.Second
	// forget is by how much the base rises with each window of a Shedder that observes: tenfold in about a minute.
	forget = 0.005
	// maxUnsure is how many steps of a probe in a row may show nothing.
	maxUnsure = 3
)

// update takes the measurements of a window. It reports whether the limit has been lowered: the latencies of the requests that are in
// flight now then say nothing about the new limit.
func (l *limit) update(now time.Duration, s sample) (lowered bool) {
	before := l.value
	steady := s.inFlight >= s.most/2 && s.inFlight > l.min // neither a burst nor too few for a queue
	if s.contended {
		l.full = now
	}
	slow := l.base > 0 && s.latency > excess*l.base
	switch {
	case l.probing:
		l.step(now, s)
	case l.observe && steady && s.latency > good*l.base && l.base > 0:
		l.estimate(s)
	case slow && steady:
		l.probe(s, 0.7)
	case s.contended && steady && !l.observe && (l.base == 0 || now-l.verified >= verifyEvery):
		l.probe(s, 0.5)
	default:
		l.follow(now, s)
	}
	l.value = min(max(l.value, l.min), l.max)
	return l.value < before
}

// follow raises the limit with the throughput while requests are refused, and keeps room for twice the requests while none has been refused
// for some time. It lowers the limit only if requests at the limit come too late.
func (l *limit) follow(now time.Duration, s sample) {
	l.lowerBase(s)
	switch {
	case s.contended && s.dropped > tooLate:
		l.tolerance = max(0.9*l.tolerance, minTolerance)
		l.value = min(l.value, max(l.target(s), 0.9*l.value))
	case s.contended:
		l.tolerance = min(1.01*l.tolerance, maxTolerance)
		l.value = max(l.value, l.target(s))
	case s.latency <= good*l.base && now-l.full >= verifyEvery:
		l.value = max(l.value, 2*s.peak)
	}
}

// estimate adapts the limit of a Shedder that observes, and slowly forgets a base that no probe corrects.
func (l *limit) estimate(s sample) {
	l.base *= 1 + forget
	if target := l.target(s); s.latency > excess*l.base {
		l.value = min(l.value, max(target, l.value/2))
	} else {
		l.value = max(l.value, target)
	}
}

func (l *limit) lowerBase(s sample) {
	switch {
	case l.base == 0:
		l.base = s.latency
	case s.latency < l.base:
		l.base += 0.2 * (s.latency - l.base)
	}
}

// target returns the limit for the throughput of a window.
func (l *limit) target(s sample) float64 { return l.tolerance*s.inFlight*l.base/s.latency + 1 }

// probe lowers the limit to a share of the requests in flight.
func (l *limit) probe(s sample, share float64) {
	if l.base == 0 {
		l.base = s.latency
	}
	l.probing, l.begin, l.saved, l.unsure = true, s, l.value, 0
	l.lower(s, share)
}

func (l *limit) lower(s sample, share float64) {
	l.last = s
	l.value = s.inFlight * share
}

// abandon ends a probe that learns nothing.
func (l *limit) abandon() {
	if l.probing {
		l.probing, l.value = false, l.saved
	}
}

// step continues a probe for as long as the latency falls with the requests in flight, at least half as much.
func (l *limit) step(now time.Duration, s sample) {
	fewer := s.inFlight / l.last.inFlight
	falls := s.latency < (1+fewer)/2*l.last.latency
	if fewer > 0.9 && l.unsure < maxUnsure {
		l.unsure++
		return
	}
	if falls && s.inFlight > l.min && fewer <= 0.9 {
		l.unsure = 0
		l.lower(s, 0.5)
		return
	}
	l.probing, l.verified = false, now
	switch {
	case fewer > 0.9: // nothing is learnt: the load has gone, or all of it has more room than the limit
		l.value = l.saved
	case falls: // as low as the limit may go
		l.base = min(l.base, s.latency)
		l.value = l.target(l.begin)
	case s.latency > 0.75*l.begin.latency: // there was no queue
		l.base = s.latency
		l.value = max(l.target(l.begin), l.saved)
	default:
		l.base = s.latency
		l.value = l.target(l.begin)
	}
}
