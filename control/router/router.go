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
// HTTP and gRPC clients do this by themselves: pass the Router to oshttp.NewServices or osgrpc.WithDiscovery. [Do] adds retries and hedges
// to requests of another kind.
package router

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/fault"
	"github.com/go-os/go-os/internal/life"
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
	// Op is the operation: "pick", "policy".
	Op string
	// Service is the name of the service.
	Service string
	// Err is the cause.
	Err error
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
	// Policies are the policies of services by name. The name "*" is the policy of all services without one. They can be replaced at run
	// time: Router.SetPolicies. Default: the zero Policy.
	Policies map[string]Policy
	// Zone is where this process runs. Endpoints in the same zone are preferred (Policy.Zones). Default: all zones are equal.
	Zone string
	// Wait is how long the first Pick of a service waits for the registry's answer. Default: DefaultWait.
	Wait time.Duration
	// Telemetry receives spans, metrics and events. A no-op provider turns its signal off.
	Telemetry telemetry.Providers
}

func (o *Options) withDefaults() (Options, error) {
	all := defaults.Copy(o)
	return all, defaults.Fill("router.Options.Wait", &all.Wait, DefaultWait)
}

// Router chooses the endpoints of services. It is safe for concurrent use. A process needs one.
type Router struct {
	resolver *discovery.Resolver
	opts     Options
	start    time.Time
	life     life.Life
	services sync.Map // of *Service by serviceKey
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
	s, _ := r.services.LoadOrStore(key, newService(r, key))
	return s.(*Service)
}

// Close ends the Router's work in the background. Later picks return ErrClosed. A second Close does nothing.
func (r *Router) Close() error {
	r.life.End()
	return nil
}

// Ready waits until the registry has answered about a service, or ctx or Options.Wait ends. It returns the errors of discovery's Lookup.
func (s *Service) Ready(ctx context.Context) error {
	if s.view.Load() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.router.opts.Wait)
	defer cancel()
	view, err := s.router.resolver.View(ctx, s.key.name, discovery.WithProtocol(s.key.protocol))
	if err != nil {
		return &Error{Op: "pick", Service: s.key.name, Err: err}
	}
	s.view.CompareAndSwap(nil, view)
	return nil
}
