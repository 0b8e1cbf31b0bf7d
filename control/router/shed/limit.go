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

	value    float64
	base     float64       // latency without queueing in seconds; 0 is unknown
	verified time.Duration // when the base was last measured by a probe

	probing bool
	begin   sample  // what the probe began with
	last    sample  // what its last step saw
	fell    float64 // the share of its latency that proves queueing
}

// sample is what a window has measured.
type sample struct {
	latency   float64 // in seconds; the geometric mean, on which a few very slow requests have little weight
	inFlight  float64 // the mean that arriving requests have seen
	peak      float64 // the most that one of them has seen
	contended bool    // requests were refused
}

const (
	// tolerance is how many times the base the latency may be at the limit. At 2, a probe at half the limit still saturates the server.
	tolerance = 2
	// excess is the latency, in multiples of the base, from which the limit is too high.
	excess = 1.25 * tolerance
	// near is the latency, in multiples of the base, up to which there is no queue.
	near = 1.2
	// verifyEvery is how often the base is verified while requests are refused.
	verifyEvery = 10 * time.Second
)

// update takes the measurements of a window. It reports whether the limit has been lowered: the latencies of the requests that are in
// flight now then say nothing about the new limit.
func (l *limit) update(now time.Duration, s sample) (lowered bool) {
	before := l.value
	switch steady := s.inFlight >= s.peak/2 && s.inFlight >= l.min; {
	case l.probing:
		l.step(now, s)
	case l.base == 0:
		l.base = s.latency
		if s.contended && steady && !l.observe {
			l.probe(s, 0.5)
		}
	case s.latency > excess*l.base && !steady:
		l.follow(s) // a burst, or too few requests for a queue
	case s.latency > excess*l.base && (l.observe || s.contended && now-l.verified < verifyEvery):
		l.shrink(s)
	case s.latency > excess*l.base:
		l.probe(s, 0.7)
	case s.contended && steady && now-l.verified >= verifyEvery && !l.observe:
		l.probe(s, 0.5)
	default:
		l.follow(s)
	}
	l.value = min(max(l.value, l.min), l.max)
	return l.value < before
}

// follow keeps room for more requests while the latency is good. It never lowers the limit.
func (l *limit) follow(s sample) {
	l.lowerBase(s)
	if s.contended {
		l.value = max(l.value, l.target(s))
		return
	}
	l.value = max(l.value, 2*s.peak)
}

// shrink lowers the limit at once, because the base is known.
func (l *limit) shrink(s sample) {
	l.value = min(l.value, max(l.target(s), l.value/2))
	if l.observe {
		l.base *= 1.01 // forgets a base that no probe corrects
	}
}

func (l *limit) lowerBase(s sample) {
	if s.latency < l.base {
		l.base += 0.2 * (s.latency - l.base)
	}
}

// target returns the limit for the throughput of a window.
func (l *limit) target(s sample) float64 { return tolerance*s.inFlight*l.base/s.latency + 1 }

// probe lowers the limit to a share of the requests in flight.
func (l *limit) probe(s sample, share float64) {
	l.probing, l.begin = true, s
	l.lower(s, share)
}

func (l *limit) lower(s sample, share float64) {
	l.last, l.fell = s, (1+share)/2
	l.value = s.inFlight * share
}

// step continues a probe for as long as the latency falls with the limit.
func (l *limit) step(now time.Duration, s sample) {
	switch falls := s.latency < l.fell*l.last.latency; {
	case s.latency <= near*l.base:
		l.lowerBase(s)
	case falls && s.inFlight > l.min:
		l.lower(s, 0.5)
		return
	case falls:
		l.base = min(l.base, s.latency) // as low as the limit may go
	default:
		l.base = s.latency
	}
	l.probing, l.verified = false, now
	l.value = l.target(l.begin)
}
