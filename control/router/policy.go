package router

import "time"

// Policy is how the requests to a service are routed. HTTP and gRPC obey the same one. In a field, zero means the default. The type suits
// package config: the keys of its fields are their names in snake case.
type Policy struct {
	// Balance chooses among the eligible endpoints.
	Balance Balance
	// Retry repeats failed attempts.
	Retry Retry
	// Hedge sends a second attempt if the first one is slow.
	Hedge Hedge
}

// Balance configures the choice of an endpoint.
type Balance struct {
	// Algorithm is "auto", "peak_ewma", "prequal", "least_request", "weighted", "round_robin" or "consistent_hash". Default: "auto".
	Algorithm string
}

// The defaults of Retry.
const (
	DefaultAttempts     = 3
	DefaultRetryRatio   = 0.2
	DefaultRetryMin     = 10
	DefaultRetryWait    = 25 * time.Millisecond
	DefaultRetryLongest = time.Second
)

// Retry configures retries. The budget covers retries that wait, and hedges.
type Retry struct {
	// Attempts is the largest number of attempts, the first one included: 1 turns retries and hedges off, 3 is the most. Default:
	// DefaultAttempts.
	Attempts int
	// Ratio of retries to requests that the budget allows. Default: DefaultRetryRatio.
	Ratio float64
	// MinPerSecond is how many retries a second the budget allows in any case. Default: DefaultRetryMin.
	MinPerSecond float64
	// Wait is the wait before the first retry. It doubles up to Longest, and half of it is random. A request that was not sent does not
	// wait. Default: DefaultRetryWait.
	Wait time.Duration
	// Longest is the longest such wait. Default: DefaultRetryLongest.
	Longest time.Duration
	// Timeout limits one attempt. Default: no limit but the request's.
	Timeout time.Duration
}

// Hedge configures hedges: second attempts for idempotent requests whose first one is slow. The first answer wins.
type Hedge struct {
	// After is the wait before the second attempt. Zero turns hedges off, unless Quantile is set.
	After time.Duration
	// Quantile sets the wait to a quantile of the latency of the service, such as 0.95, but at least After. Default: off.
	Quantile float64
}
