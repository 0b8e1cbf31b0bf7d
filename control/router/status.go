package router

import (
	"cmp"
	"slices"
	"time"

	"github.com/go-os/go-os/control/router/internal/breaker"
)

// Status is the state of a service in a Router, for people and for /debug/os.
type Status struct {
	// Service and Protocol name it.
	Service, Protocol string
	// Policy in force.
	Policy Policy
	// Endpoints that the Router knows, ordered by ID.
	Endpoints []EndpointStatus
	// Panic is set while ejections are ignored, because too few endpoints are healthy.
	Panic bool
	// Zones says how requests are divided between zones: "local", "spill", or why zones do not matter.
	Zones string
	// Spilled is the share of the requests that leaves the zone for want of capacity.
	Spilled float64
	// Arms are the arms of the split, and how many endpoints each has.
	Arms map[string]int
	// Breaker of the service; nil if there is none.
	Breaker *BreakerStatus
	// ThrottleProbability is the probability with which the throttle rejects a request.
	ThrottleProbability float64
	// InFlight is how many attempts are in flight.
	InFlight int
	// RetryBudget is how many retries the budget still allows at this moment.
	RetryBudget float64
	// Median and P99 are the latency of the service over the last 10 to 20 seconds; zero if it is unknown.
	Median, P99 time.Duration
}

// EndpointStatus is the state of an endpoint.
type EndpointStatus struct {
	// ID, Address, Zone and Version of the instance.
	ID, Address, Zone, Version string
	// State is "available", "ejected", "unhealthy", "refused" or "draining".
	State string
	// Reason of the present or last ejection.
	Reason string
	// Returns is when an ejection ends, from now.
	Returns time.Duration
	// Weight relative to the others, after slow start, zones and subset. Zero gets no requests.
	Weight float64
	// Latency is the estimate that the balancing uses; zero if it is unknown.
	Latency time.Duration
	// InFlight is how many attempts are in flight, and Oldest how long the oldest one has waited for its answer.
	InFlight int
	Oldest   time.Duration
	// Rate is the recent number of requests per second, and Failures the recent share of failed ones.
	Rate, Failures float64
	// Breaker of the endpoint; nil if there is none.
	Breaker *BreakerStatus
}

// BreakerStatus is the state of a breaker.
type BreakerStatus struct {
	// State is "closed", "open" or "half_open".
	State string
	// Total, Failed and Slow requests in the window.
	Total, Failed, Slow int64
	// Remaining is how long it stays open.
	Remaining time.Duration
}

// Status returns the state of the services that were used, ordered by name and protocol.
func (r *Router) Status() []Status {
	var all []Status
	r.services.Range(func(_, s any) bool {
		all = append(all, s.(*Service).Status())
		return true
	})
	slices.SortFunc(all, func(a, b Status) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Protocol, b.Protocol))
	})
	return all
}

// Status returns the state of the service.
func (s *Service) Status() Status {
	now := s.router.now()
	out := Status{
		Service: s.key.name, Protocol: s.key.protocol, Policy: s.policy().clone(),
		RetryBudget: s.allowance(now), InFlight: s.inFlight(),
		Median: s.quantile(0.5), P99: s.quantile(0.99),
		Breaker: breakerStatus(now, s.guards.breaker.Load()),
	}
	if t := s.guards.throttle.Load(); t != nil {
		out.ThrottleProbability = t.Counts(now).Probability
	}
	if t := s.table(now); t != nil {
		t.describe(now, &out)
	}
	return out
}

// inFlight returns how many attempts are in flight, including those at endpoints that have left.
func (s *Service) inFlight() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.endpoints {
		n += e.state.InFlight()
	}
	return n
}

func (s *Service) allowance(now time.Duration) float64 {
	counts := s.budget().Counts(now)
	return max(counts.Allowance-float64(counts.Withdrawn), 0)
}

// describe adds the endpoints of a table to a status.
func (t *table) describe(now time.Duration, out *Status) {
	placed := t.all.table
	out.Panic, out.Zones, out.Spilled = placed.Panic, string(placed.Zoning.Reason), placed.Zoning.Spilled
	for _, p := range t.arms {
		if out.Arms == nil {
			out.Arms = map[string]int{}
		}
		out.Arms[p.arm] = len(p.endpoints)
	}
	weights := map[*Endpoint]float64{}
	for _, p := range append([]*pool{t.all}, t.arms...) {
		for n, e := range p.endpoints {
			weights[e] = max(weights[e], p.weights[n])
		}
	}
	for _, e := range t.known {
		out.Endpoints = append(out.Endpoints, e.describe(now, weights[e]))
	}
}

// describe returns the status of an endpoint.
func (e *Endpoint) describe(now time.Duration, weight float64) EndpointStatus {
	i, verdict := e.Instance(), e.target.Status(now)
	out := EndpointStatus{
		ID: i.ID, Address: e.key.address, Zone: i.Zone, Version: i.Version,
		State: endpointStates[e.status(now)], Reason: verdict.Reason, Weight: weight,
		Latency: e.state.Latency(now), InFlight: e.state.InFlight(), Oldest: e.state.Oldest(now),
		Rate: e.state.Rate(now), Failures: e.state.Failures(now),
		Breaker: breakerStatus(now, e.breaker.Load()),
	}
	if verdict.Ejected {
		out.Returns = max(verdict.Until-now, 0)
	}
	return out
}

func breakerStatus(now time.Duration, b *breaker.Breaker) *BreakerStatus {
	if b == nil {
		return nil
	}
	c := b.Counts(now)
	return &BreakerStatus{State: b.State(now).String(), Total: c.Total, Failed: c.Failed, Slow: c.Slow, Remaining: c.Remaining}
}
