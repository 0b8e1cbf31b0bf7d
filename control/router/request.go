package router

import "time"

// Request is what the choice of an endpoint depends on. The Router does not change it.
type Request struct {
	// Method names the kind of request in statistics: a route such as "/orders/{id}", never a raw path. Default: none.
	Method string
	// Key keeps requests together: the same key goes to the same arm of a split, and with a consistent hash to the same endpoint. Default:
	// each request is on its own.
	Key string
	// Arm is the arm of a split that the request belongs to, if something else has decided that, such as a feature flag. Default: Policy.Split
	// decides.
	Arm string
	// Labels choose among the endpoints by their labels: Policy.Labels.
	Labels map[string]string
	// Idempotent is set if the request may be sent twice. Other requests are repeated only if nothing of them was sent.
	Idempotent bool
	// Hedgeable is set if the request may be sent to two endpoints at once. It has no effect unless the request is Idempotent.
	Hedgeable bool
	// Stream is set if the answer is a stream or a connection. It counts as in flight, but its age is no sign of a slow endpoint, and it is
	// never repeated.
	Stream bool
}

// Kind is how an attempt ended.
type Kind uint8

// The kinds of outcomes. The table is the only one: balancing, ejection, breakers, throttle, retries and statistics use it.
const (
	// Success: the endpoint answered. Errors that the request caused, such as 404, are successes of the endpoint.
	Success Kind = iota
	// Fault: the endpoint failed: a 500, INTERNAL, UNKNOWN.
	Fault
	// GatewayFault: the endpoint or the path to it failed: no connection, a broken one, 502, 503 or 504, UNAVAILABLE.
	GatewayFault
	// Overload: the endpoint refused the request to protect itself: 429, or 503 with Retry-After; RESOURCE_EXHAUSTED. It never ejects.
	Overload
	// Timeout: no answer in time. The time that passed is a sample of the latency.
	Timeout
	// Neutral: the outcome shows nothing about the endpoint: the caller cancelled, a hedge lost, the client itself rejected.
	Neutral
)

// String returns the name of the kind, as in telemetry.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

var kindNames = [...]string{
	Success: "success", Fault: "fault", GatewayFault: "gateway_fault", Overload: "overload", Timeout: "timeout", Neutral: "neutral",
}

// Outcome is how an attempt ended.
type Outcome struct {
	// Kind of the outcome.
	Kind Kind
	// Err is why there is no answer, if there is none.
	Err error
	// Unsent is set if provably no handler has seen the request. It is then repeated even if it is not idempotent.
	Unsent bool
	// Final is set if the request must not be repeated: its body was read and cannot be read again, or a part of the answer was passed on.
	Final bool
	// Open is set if an answer has begun that the caller reads. The caller ends the attempt by Pick.Done later.
	Open bool
	// Pushback is how long the server asks to wait before a retry. Negative: do not retry. Zero: it does not say.
	Pushback time.Duration
	// Load is what the server reports about itself.
	Load Load
}

// Load is the load that a server reports, as of the end of the request or a probe.
type Load struct {
	// Known is set if the server reported it.
	Known bool
	// InFlight is the number of requests in flight at the server.
	InFlight int
	// Latency is the server's estimate for a request that arrives now.
	Latency time.Duration
}
