package router

import (
	"time"

	"github.com/go-os/go-os/control/router/statistics"
	"github.com/go-os/go-os/internal/bounded"
)

// record counts the outcome of a pick.
func (p Pick) record(now time.Duration, kind Kind, latency time.Duration) {
	e := p.endpoint
	e.counts.picks[p.reason].Add(1)
	n := e.counts.outcomes[kind].Add(1)
	if latency > 0 && kind == Success && (n <= sampleAll || n%sampleEach == 0) {
		e.service.latency.Record(now, latency)
	}
	if e.stats != nil {
		if latency == 0 {
			latency = -1 // of a stream
		}
		e.stats.Record(p.method, kinds[kind].count, latency)
	}
}

// The latency of a service is sampled: all requests would contend for it.
const (
	sampleAll  = 1000 // successes of an endpoint of which all are taken
	sampleEach = 8    // of further ones, one in so many
)

// minSamples is how many requests of the last 10 to 20 seconds a quantile needs.
const minSamples = 100

// quantile returns a quantile of the latency of the service; zero while it is unknown.
func (s *Service) quantile(q float64) time.Duration {
	d := s.latency.Digest(s.router.now())
	if d.Count() < minSamples {
		return 0
	}
	return d.Quantile(q)
}

// unrouted counts a request that gets no endpoint, and returns its error.
func (s *Service) unrouted(req *Request, err error) error {
	if err != nil && s.stats != nil {
		s.stats.Unrouted(s.stats.Method(req.Method))
	}
	return err
}

// identity returns the identity of an endpoint in statistics.
func (e *Endpoint) identity() statistics.Identity {
	i := e.Instance()
	return statistics.Identity{ID: i.ID, Address: e.key.address, Zone: i.Zone, Version: i.Version}
}

type boundedPools = bounded.Cache[*pool, *pool]

func newBoundedPools() *boundedPools { return bounded.New[*pool, *pool](maxLabelPools) }
