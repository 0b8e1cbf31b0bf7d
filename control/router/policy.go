package router

import (
	"maps"
	"slices"
	"time"
)

// Policy is how the requests to a service are routed: one document for HTTP and gRPC. In each field zero means the default. Validate checks a
// policy as a whole, and package config calls it: the keys of the fields are their names in snake case.
//
//	routes:
//	  payments:
//	    retry: {attempts: 2}
//	    hedge: {quantile: 0.95}
//	    breaker: {ratio: 0.5}
type Policy struct {
	// Balance chooses among the eligible endpoints.
	Balance Balance
	// Ejection takes failing endpoints out for a while.
	Ejection Ejection
	// SlowStart gives new endpoints few requests at first.
	SlowStart SlowStart
	// Zones keeps requests in the zone of this process: Options.Zone.
	Zones Zones
	// Subset is how many endpoints this process uses. Processes use different ones. It saves connections in large fleets. Default: all.
	Subset int
	// Labels chooses endpoints by the labels of a request.
	Labels Labels
	// Split divides the requests between versions.
	Split Split
	// Breaker rejects requests while the service fails. Default: off.
	Breaker Breaker
	// EndpointBreaker ejects an endpoint that fails or is slow. Default: off; Ejection is on.
	EndpointBreaker Breaker
	// Throttle rejects requests while the service refuses most of them. Default: off.
	Throttle Throttle
	// Limits bound the requests of this process.
	Limits Limits
	// Timeout limits a request with all its attempts, streams aside. Default: no limit but the context's.
	Timeout time.Duration
	// Retry repeats failed attempts.
	Retry Retry
	// Hedge sends a second attempt if the first one is slow. Default: off.
	Hedge Hedge
	// Fallback is the name of a service that gets a request after this one has failed or has rejected it. Only requests that may be repeated
	// go there. Default: none.
	Fallback string
}

// clone returns a copy that shares nothing with the policy.
func (p Policy) clone() Policy {
	p.Labels.Allow, p.Labels.Default = slices.Clone(p.Labels.Allow), maps.Clone(p.Labels.Default)
	p.Split.Arms = slices.Clone(p.Split.Arms)
	for i := range p.Split.Arms {
		p.Split.Arms[i].Labels = maps.Clone(p.Split.Arms[i].Labels)
	}
	return p
}

// The algorithms of Balance.
const (
	// Auto is PeakEWMA for endpoints that this process calls often, and Prequal for others.
	Auto = "auto"
	// PeakEWMA takes the better of two random endpoints by latency and requests in flight, as this process sees them.
	PeakEWMA = "peak_ewma"
	// Prequal takes the best of a pool of probed endpoints, by latency and requests in flight, as the servers see them (Wydrowski et al.,
	// NSDI 2024).
	Prequal = "prequal"
	// LeastRequest takes the better of two random endpoints by requests in flight.
	LeastRequest = "least_request"
	// Weighted spreads requests by weight.
	Weighted = "weighted"
	// RoundRobin takes one endpoint after the other.
	RoundRobin = "round_robin"
	// ConsistentHash sends requests with one key to one endpoint, unless that has far more requests in flight than others.
	ConsistentHash = "consistent_hash"
)

// Balance configures the choice of an endpoint.
type Balance struct {
	// Algorithm is one of the constants above. Default: Auto.
	Algorithm string
	// Choices is how many random endpoints are compared. Default: 2.
	Choices int
	// Decay is the time constant with which old latencies lose their influence. Default: 10 s.
	Decay time.Duration
	// ProbeRate is the number of probes for each request at most, for Prequal and Auto. Default: 3.
	ProbeRate float64
	// HotQuantile is the quantile of requests in flight above which an endpoint counts as hot, for Prequal. Default: 0.84.
	HotQuantile float64
	// LoadBound is how far the requests in flight of an endpoint may exceed the mean before a consistent hash takes the next one. Default:
	// 1.25.
	LoadBound float64
}

// Ejection configures how failing endpoints are taken out: gRFC A50, and consecutive faults.
type Ejection struct {
	// Off turns ejection off.
	Off bool
	// Observe records ejections without their effect.
	Observe bool
	// Interval is the time between two checks of the statistics. Default: 10 s.
	Interval time.Duration
	// Base is the time of the first ejection. The n-th one in short order lasts n times as long. Default: 30 s.
	Base time.Duration
	// Longest is the longest time of an ejection. Default: 5 min.
	Longest time.Duration
	// MaxShare is the share of the endpoints that may be ejected at once. One may go in any case, and the last one never does. Default: 0.1.
	MaxShare float64
	// Consecutive faults of the path to an endpoint (GatewayFault) eject it. Default: 5.
	Consecutive int
	// FailureShare is the share of failed requests in an interval that ejects an endpoint, with at least 5 endpoints of 50 requests.
	// Default: 0.85.
	FailureShare float64
	// StdevFactor sets how far the share of successes of an endpoint may lie below the mean of all, in standard deviations, with at least 5
	// endpoints of 100 requests. Default: 1.9.
	StdevFactor float64
	// Panic is the share of healthy endpoints below which ejections are ignored. Default: 0.5.
	Panic float64
	// NoPanic keeps ejections in force at any share of healthy endpoints. If no healthy one is left, all are used nevertheless.
	NoPanic bool
}

// SlowStart configures the first requests of an endpoint that is new, or returns from an ejection.
type SlowStart struct {
	// Window is how long the weight of the endpoint grows. Default: 10 s.
	Window time.Duration
	// MinWeight is the share of its weight with which it starts. Default: 0.1.
	MinWeight float64
	// Aggression bends the growth: 1 is linear, more is faster at first. Default: 1.
	Aggression float64
	// Off gives new endpoints their whole weight at once.
	Off bool
	// WarmUp opens a connection to an endpoint that appears while the service is in use, by a probe, before its first request. gRPC always
	// connects before.
	WarmUp bool
}

// Zones configures the preference for the own zone.
type Zones struct {
	// Off treats all zones alike.
	Off bool
	// MinEndpoints is how many endpoints a service needs for zones to matter. Default: 6.
	MinEndpoints int
	// Overprovisioning is how much more than its share a zone can serve. At 1.4, requests leave a zone in which less than 72 % of the endpoints
	// are healthy. Default: 1.4.
	Overprovisioning float64
}

// The modes of Labels.Match and Labels.Fallback.
const (
	// MatchAll accepts endpoints that have all labels of the request. It is the default.
	MatchAll = "all"
	// MatchAny accepts endpoints that have one of them.
	MatchAny = "any"
	// MatchNone accepts endpoints that have none of them.
	MatchNone = "none"
	// FallbackAny sends a request that no endpoint matches to any endpoint. It is the default.
	FallbackAny = "any"
	// FallbackNone rejects it with ErrUnavailable.
	FallbackNone = "none"
	// FallbackDefault sends it to the endpoints that match Labels.Default.
	FallbackDefault = "default"
)

// Labels configures the choice by labels.
type Labels struct {
	// Allow are the labels of a request that matter. Others are ignored. Default: none.
	Allow []string
	// Match is MatchAll, MatchAny or MatchNone. Default: MatchAll.
	Match string
	// Fallback is FallbackAny, FallbackNone or FallbackDefault. Default: FallbackAny.
	Fallback string
	// Default are the labels of the endpoints for FallbackDefault.
	Default map[string]string
}

// Split divides the requests of a service between arms, such as a canary. Requests with one key (Request.Key) stay in one arm, and an arm that
// grows keeps its keys.
type Split struct {
	// Salt makes two splits independent of each other. Default: the name of the service.
	Salt string
	// Arms of the split. Requests outside of all arms go to the endpoints that no arm selects; if there is none, to all.
	Arms []Arm
}

// Arm is a part of the requests, and the endpoints that get it.
type Arm struct {
	// Name of the arm, for telemetry.
	Name string
	// Percent of the requests, from 0 to 100, with two decimals. All arms together have at most 100.
	Percent float64
	// Labels of the endpoints: all must match. "version" and "zone" match these fields of an instance.
	Labels map[string]string
}

// Breaker configures a circuit breaker. It opens when too many requests of a window fail or are slow, and lets single ones pass after a while.
// It is off if no field is set.
type Breaker struct {
	// Ratio of failed requests that opens the breaker. Default: 0.5.
	Ratio float64
	// Slow is the duration from which a request counts as slow. Default: none is slow.
	Slow time.Duration
	// SlowRatio is the ratio of slow requests that opens the breaker. Default: 0.5.
	SlowRatio float64
	// MinRequests is how many requests a window needs. Default: 20.
	MinRequests int
	// Window is the time over which requests are counted. Default: 10 s.
	Window time.Duration
	// Open is how long the breaker stays open. It doubles each time the trials fail, up to a minute. Default: 5 s.
	Open time.Duration
	// Trials is how many requests pass while the breaker is half-open. Their results close or open it. Default: 5.
	Trials int
	// Observe records what the breaker would do, and lets all requests pass.
	Observe bool
}

// on reports whether the breaker can open.
func (b Breaker) on() bool { return b != Breaker{} }

// Throttle configures the adaptive throttle of clients (Site Reliability Engineering, chapter 21). It is off if no field is set.
type Throttle struct {
	// K is how many requests are sent for each one that is accepted. Default: 2.
	K float64
	// Window is the time over which requests are counted. Default: 2 min.
	Window time.Duration
	// MinRequests is how many requests the window needs. Default: 20.
	MinRequests int
}

// Limits bound the requests of this process. Zero means no limit.
type Limits struct {
	// Concurrent is how many requests to the service are in flight at most.
	Concurrent int
	// EndpointConcurrent is how many requests to one endpoint are in flight at most. A full endpoint is passed over, and never ejected for it.
	EndpointConcurrent int
	// Rate is the number of requests to the service per second, and Burst how many may come at once.
	Rate  float64
	Burst int
	// EndpointRate and EndpointBurst are the same for each endpoint. An endpoint over its limit is passed over.
	EndpointRate  float64
	EndpointBurst int
	// KeyRate and KeyBurst are the same for each Request.Key.
	KeyRate  float64
	KeyBurst int
}

// The defaults and limits of Retry.
const (
	DefaultAttempts     = 3
	MaxAttempts         = 3
	DefaultRetryRatio   = 0.2
	DefaultRetryMin     = 10
	DefaultRetryWait    = 25 * time.Millisecond
	DefaultRetryLongest = time.Second
)

// Retry configures retries. The budget covers retries that wait, and hedges.
type Retry struct {
	// Attempts is the largest number of attempts, the first one included: 1 turns retries and hedges off, MaxAttempts is the most. Default:
	// DefaultAttempts.
	Attempts int
	// Ratio of retries to requests that the budget allows, over ten seconds. Default: DefaultRetryRatio.
	Ratio float64
	// MinPerSecond is how many retries a second the budget allows in any case. Default: DefaultRetryMin.
	MinPerSecond float64
	// Wait is the wait before the first retry. It doubles up to Longest, and half of it is random. A request that was not sent does not
	// wait. Default: DefaultRetryWait.
	Wait time.Duration
	// Longest is the longest such wait. Default: DefaultRetryLongest.
	Longest time.Duration
	// Timeout limits one attempt up to the beginning of its answer. Default: no limit but the request's.
	Timeout time.Duration
}

// Hedge configures hedges: second attempts for requests that are slow and Hedgeable. The first answer wins.
type Hedge struct {
	// After is the wait before the second attempt. Zero turns hedges off, unless Quantile is set.
	After time.Duration
	// Quantile sets the wait to a quantile of the service's latency, such as 0.95, but at least After. There is none before 100 requests
	// were measured.
	Quantile float64
}

// on reports whether there are hedges.
func (h *Hedge) on() bool { return h.After > 0 || h.Quantile > 0 }
