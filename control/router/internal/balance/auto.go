package balance

import "time"

// The freshness of an endpoint is the rate at which this client calls it, times its latency. By Little's law that is how many requests of the
// client wait there for an answer, on average, and so it is measured. At 1, one answer comes in the time of one request. Above fresh, the
// client's own requests show the load of the server. Below stale, the load is that of other clients, which only probes show. In between, an
// endpoint stays as it is.
const (
	stale = 0.5
	fresh = 2
)

// refreshed decides whether an endpoint needs probes.
func (e *Endpoint) refreshed(now time.Duration) (probed bool) {
	probed = e.probed.Load()
	freshness := e.Freshness(now)
	if probed && freshness > fresh || !probed && freshness < stale {
		probed = !probed
		e.probed.Store(probed)
	}
	return probed && e.probeable(now)
}

// Freshness returns how many answers of the endpoint this client gets in the time of one request.
func (e *Endpoint) Freshness(now time.Duration) float64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.countWaiting(now)
	return e.waiting
}

// Probed reports whether Auto relies on probes of the endpoint.
func (e *Endpoint) Probed(now time.Duration) bool { return e.probed.Load() && e.probeable(now) }

// pickAuto draws an endpoint, and follows the probes if it is one that needs them, and what this client has seen otherwise. If only some need
// probes, both kinds thus get their share.
func (b *Balancer) pickAuto(now time.Duration, s *Set, tried Tried) (int, Reason) {
	switch probed := s.typical(now, b.config.Decay).probed; {
	case probed == 0:
		return b.pickCheapest(now, s, tried)
	case probed < 1 && !s.endpoints[s.draw(b.config.Random())].Probed(now):
		return b.pickCheapest(now, s, tried)
	}
	return b.pickProbed(now, s, tried)
}
