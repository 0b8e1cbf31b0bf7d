// Package router chooses the endpoint of a service for each request, and decides on retries, hedges and rejections. Clients connect directly:
// there is no proxy.
//
//	router, err := router.New(resolver, nil) // of a discovery.Resolver
//	…
//	pick, err := router.Service("orders", "http").Pick(ctx, router.Request{Method: "/orders/{id}"})
//	…
//	res, err := send(pick.Address())
//	pick.Done(router.FromHTTP(res, err))
//
// HTTP and gRPC clients do this by themselves: pass the Router to oshttp.NewServices or osgrpc.WithDiscovery. [Do] adds retries and hedges to
// requests of another kind. The guide docs/guides/router.md shows a policy and its effects.
//
// # Choice
//
// The default balances by latency and requests in flight, as this process sees them, or, for endpoints that it calls seldom, as the servers
// report them to probes (Auto). The age of the oldest unanswered request counts as a latency, so that a silent endpoint loses its requests
// within seconds. Failed requests raise the cost of an endpoint: one that fails fast attracts no requests.
//
// These are left out of the choice, in this order: draining endpoints, those that the labels or the arm of the request do not match, ejected
// ones, those in other zones as far as the own zone can serve all requests, and those outside of the subset. If fewer than half of the endpoints
// are healthy, ejections are ignored (panic).
//
// What was learnt about an endpoint stays when the registry's answer, a connection or the policy changes, and for ten minutes of absence. A
// restarted process is a new endpoint.
//
// # Outcomes
//
// One table maps outcomes to what is learnt from them:
//
//	outcome       latency  ejection     breaker, throttle     retry
//	Success       sample   resets runs  success, accepted     no
//	Fault         none     statistics   failure, accepted     only if unsent
//	GatewayFault  none     at 5 in row  failure, accepted     yes
//	Overload      none     never        failure, refused      after the pushback
//	Timeout       sample   statistics   failure, accepted     yes
//	Neutral       none     never        counts for nothing    only if unsent
//
// Requests that are not idempotent are repeated only if no handler has seen them.
//
// # Errors
//
// Every error is an *Error that names the operation and the service, and wraps one of the sentinels below or the error of the context.
// Errors that the client itself decides, without a request, are an ErrRejected.
//
// # Telemetry
//
// The scope is github.com/go-os/go-os/control/router. Spans are those of the requests: oshttp and osgrpc add the instance and the arm to
// them. Metrics have goos.router.service and goos.router.protocol:
//
//   - goos.router.picks: endpoints that were picked, by goos.router.reason
//   - goos.router.attempts: attempts that ended, by goos.router.outcome
//   - goos.router.endpoints: endpoints by goos.router.state: available, ejected, unhealthy, refused, draining
//   - goos.router.ejections: by goos.router.enforced
//   - goos.router.rejections: requests that the client rejected, by goos.router.reason
//   - goos.router.retries: by goos.router.result, sent or over_budget
//   - goos.router.hedges: by goos.router.result, won or lost
//   - goos.router.fallbacks: requests that went to the fallback service
//   - goos.router.probes: by goos.router.result: answered, failed, refused
//   - goos.router.panic: 1 while ejections are ignored
//   - goos.router.zone.spill: share of the requests that leave the zone for want of capacity
//   - goos.router.breaker.state: 0 closed, 1 half-open, 2 open; if the policy has a breaker
//
// Events are written to the Logger if OTel events are not enabled. They have the attributes of the metrics, and those about an endpoint have
// goos.router.instance:
//
//   - goos.router.endpoint.ejected (warning): with goos.router.reason, goos.router.enforced and goos.router.ejection.duration, in seconds
//   - goos.router.endpoint.returned (info): an ejection has ended
//   - goos.router.breaker.changed (warning): with goos.router.state and goos.router.reason
//   - goos.router.panic.began (warning), goos.router.panic.ended (info)
//   - goos.router.policy.applied (info): the policy of a service has changed
package router

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router/statistics"
	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/fault"
	"github.com/go-os/go-os/internal/sanitize"
	"github.com/go-os/go-os/telemetry"
)

// The errors that callers distinguish.
var (
	// ErrNotFound: the registry has no record of the service.
	ErrNotFound = fault.NotFound
	// ErrInvalid: a retry cannot succeed: a policy with an impossible value, a negative option.
	ErrInvalid = fault.Invalid
	// ErrUnavailable: the service has no endpoint, or the registry does not answer.
	ErrUnavailable = fault.Unavailable
	// ErrClosed: the Router was closed.
	ErrClosed = fault.Closed
	// ErrRejected: the client itself rejected the request, and sent nothing. The errors below are also an ErrRejected.
	ErrRejected = errors.New("rejected by the client")
	// ErrOpen: the breaker of the service is open.
	ErrOpen = fault.New("breaker_open", "the breaker is open")
	// ErrThrottled: the adaptive throttle holds back requests to an overloaded service.
	ErrThrottled = fault.New("throttled", "throttled")
	// ErrLimited: a rate limit or a limit of concurrent requests is reached.
	ErrLimited = fault.New("limited", "over the limit")
)

// Error is the error of every operation of this package.
type Error struct {
	// Op is the operation: "pick", "attempt", "policy", "labels".
	Op string
	// Service is the name of the service.
	Service string
	// Err is the cause.
	Err error
	// RetryAfter is when a request over a rate limit is within it again. Zero: unknown.
	RetryAfter time.Duration
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("router: %s %q: %v", e.Op, sanitize.Text(e.Service, maxName), e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// maxName bounds the bytes of names in errors and telemetry.
const maxName = 256

// The defaults of Options.
const (
	DefaultWait = 5 * time.Second
)

// Options configure New.
type Options struct {
	// Policies are the policies of services by name. The name "*" is the policy of all services without one. SetPolicies replaces them at run
	// time. Default: the zero Policy.
	Policies map[string]Policy
	// Zone is where this process runs. Requests stay in it as far as its endpoints can serve them: Policy.Zones. Default: all zones are equal.
	Zone string
	// Client is the name of this process. Processes with different names use different subsets: Policy.Subset. Default: random.
	Client string
	// Wait is how long the first Pick of a service waits for the registry's answer. Default: DefaultWait.
	Wait time.Duration
	// Filters choose among the instances of every service, such as discovery.WithVersion("2"). Default: all.
	Filters []discovery.Filter
	// Statistics counts the requests by endpoint and method, and publishes the counts. The caller shuts it down. Default: nothing is counted by
	// method.
	Statistics *statistics.Collector
	// Telemetry receives metrics and events. A no-op provider turns its signal off.
	Telemetry telemetry.Providers
}

func (o *Options) withDefaults() (Options, error) {
	all := defaults.Copy(o)
	all.Client = cmp.Or(all.Client, rand.Text())
	return all, defaults.Fill("router.Options.Wait", &all.Wait, DefaultWait)
}

// Router chooses the endpoints of services. It is safe for concurrent use. A process needs one.
type Router struct {
	resolver   *discovery.Resolver
	opts       Options
	start      time.Time
	over       atomic.Bool // closed
	background context.Context
	cancel     context.CancelFunc
	obs        observer

	services sync.Map // of *Service by serviceKey

	mu       sync.Mutex // held while services are added, or policies replaced
	policies map[string]*policy
}

type serviceKey struct{ name, protocol string }

// New returns a Router for the services of a resolver, which remains the caller's to close. It does no I/O and starts no goroutine. It returns
// ErrInvalid without a resolver, or if an option or a policy is invalid.
func New(resolver *discovery.Resolver, opts *Options) (*Router, error) {
	o, err := opts.withDefaults()
	if err := cmp.Or(defaults.Given("router: New", "resolver", resolver), err); err != nil {
		return nil, err
	}
	r := &Router{resolver: resolver, opts: o, start: time.Now()}
	if r.policies, err = r.compileAll(o.Policies); err != nil {
		return nil, err
	}
	r.background, r.cancel = context.WithCancel(context.Background())
	r.observe(o.Telemetry)
	return r, nil
}

// now returns the time of the router's monotonic clock.
func (r *Router) now() time.Duration { return time.Since(r.start) }

// Service returns the endpoints of a service that have an address of a protocol, such as "http" or "grpc". Do not pass names from untrusted
// input: the Router keeps each service until Close.
func (r *Router) Service(name, protocol string) *Service {
	key := serviceKey{name, protocol}
	if s, ok := r.services.Load(key); ok {
		return s.(*Service)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s, ok := r.services.Load(key); ok {
		return s.(*Service)
	}
	s := newService(r, key)
	s.compiled.Store(r.policyOf(name))
	r.services.Store(key, s)
	return s
}

// SetPolicies replaces the policies of all services: see Options.Policies. What was learnt about endpoints stays, and so do ejections, breakers
// and budgets. If one policy is invalid, it returns ErrInvalid with all mistakes, and no policy changes.
func (r *Router) SetPolicies(policies map[string]Policy) error {
	compiled, err := r.compileAll(policies)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.policies
	for name, p := range compiled {
		if old := before[name]; old != nil && reflect.DeepEqual(old.Policy, p.Policy) {
			compiled[name] = old
		}
	}
	r.policies = compiled
	r.services.Range(func(_, value any) bool {
		s := value.(*Service)
		if p := r.policyOf(s.key.name); p != s.compiled.Swap(p) {
			s.emit(r.obs.policy)
		}
		return true
	})
	return nil
}

// Policy returns the policy in force for a service.
func (r *Router) Policy(service string) Policy {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.policyOf(service).Policy.clone()
}

// compileAll returns the policies by name, with one for all services without one.
func (r *Router) compileAll(policies map[string]Policy) (map[string]*policy, error) {
	all := make(map[string]*policy, len(policies)+1)
	var mistakes []error
	for _, name := range slices.Sorted(maps.Keys(policies)) {
		p, err := r.compile(name, policies[name])
		mistakes = append(mistakes, err)
		all[name] = p
	}
	if all[anyService] == nil {
		p, err := r.compile(anyService, Policy{})
		mistakes = append(mistakes, err)
		all[anyService] = p
	}
	return all, join(mistakes)
}

// policyOf returns the policy of a service. r.mu is held.
func (r *Router) policyOf(service string) *policy {
	if p := r.policies[service]; p != nil {
		return p
	}
	return r.policies[anyService]
}

// closeTime limits Close: handlers of events may be slow.
const closeTime = time.Second

// Close ends the Router's work in the background. Later picks return ErrClosed, and requests in flight end as usual. A second Close does
// nothing.
func (r *Router) Close() error {
	if r.over.Swap(true) {
		return nil
	}
	r.cancel()
	r.obs.stop()
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	r.obs.events.Shutdown(ctx)
	return nil
}

func (r *Router) closed() bool { return r.over.Load() }
