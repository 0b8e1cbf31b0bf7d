// Package osgrpc observes and protects gRPC servers and clients: spans, metrics, access log, panic recovery, deadlines and
// a limit on concurrent calls, as options for grpc.NewServer and grpc.NewClient.
//
//	server := grpc.NewServer(osgrpc.ServerOptions(&osgrpc.Options{Telemetry: providers})...)
//	conn, err := grpc.NewClient(target, append(osgrpc.DialOptions(&osgrpc.Options{Telemetry: providers}), creds)...)
//
// Pass these options before any others. They are then the outermost interceptors, and also see the time, the errors and the panics of
// the others. A grpc.UnknownServiceHandler of the program's own comes last and wins.
//
// # Guarantees
//
//   - A call has one span and one point on the duration histogram. The span ends exactly once, however the call ends: answer, error,
//     panic, end of stream, cancellation, a stream that its caller abandons (its context ends), a connection or a ClientConn that is
//     closed.
//   - No metric attribute comes from a caller. A method that is not registered is "_OTHER" on the server. A client keeps the names of
//     generated code, and of at most 500 methods that are called by other means.
//   - Trace context and baggage that cannot be parsed are ignored: the call begins a new trace. The caller's metadata is never changed.
//     A propagator can never make a call fail: keys and values that gRPC would refuse are left out. Binary metadata (keys ending in
//     "-bin") takes no part in propagation.
//   - With telemetry.Off and the protections off, no option is returned at all, so a call costs nothing extra.
//
// # Interceptors, not a stats handler
//
// For a stats.Handler gRPC builds eight events a call and copies the metadata: 17 allocations before the handler does anything, against
// 2 for an interceptor. So interceptors observe the server, and only they can recover a panic. Calls of unregistered methods reach them
// through an UnknownServiceHandler. A client's streams report their end through the OnFinish call option. Neither needs a wrapper or a
// goroutine.
//
// An interceptor cannot see failures around it: a unary request that is too large, cannot be decoded, or never arrives, and an answer
// that cannot be encoded or sent. The client sees these in any case. A server sees them too with [Options.Exact], at the cost of the
// stats handler, 20 allocations more. gRPC reports to nobody the requests that its transport refuses, such as a method name without a
// slash or malformed headers. It reports a bidirectional method of a service that was registered with a nil implementation as
// unregistered: register such a service with any value.
//
// # Services
//
// [WithDiscovery] resolves targets such as "os:///orders" to the instances of the service that a discovery.Resolver knows:
//
//	options := append(osgrpc.DialOptions(nil), osgrpc.WithDiscovery(resolver, nil)...)
//	conn, err := grpc.NewClient("os:///orders", append(options, credentials)...)
//
// Addresses are reused. A call for an instance that died may reach another service that was started at its address. So each call names its
// service, and a server with Options.Services refuses calls for other services. The refusal is FAILED_PRECONDITION with a
// google.rpc.ErrorInfo: reason MISDIRECTED, domain goos, and the service under goos-service. Calls are then made at another instance.
//
// # Routing
//
// With DiscoveryOptions.Router a router.Router chooses the instance of each call by its policies, the same as for HTTP, and repeats or hedges
// calls. It learns from every call: codes, latency, and the load that servers with Options.ReportLoad report in trailers and to probes
// (ProbeMethod). ORCA reports are not read: they hold utilizations, which are neither of the signals that the balancing needs. What was learnt
// survives the loss of connections. Servers refuse calls by priority with Options.Shedder.
//
// UNAVAILABLE and RESOURCE_EXHAUSTED are repeated if the call is idempotent, and any call that was not sent. A server may ask for a wait by
// google.rpc.RetryInfo or grpc-retry-pushback-ms. Retries carry the metadata goos-attempt, and a server that sees it repeats no calls of its
// own. Retries of a gRPC service config are off. Streams are repeated only if they could not be opened or were misdirected.
//
// # Telemetry
//
// Names, units, buckets and attributes follow the semantic conventions v1.43 for RPC.
//
// Server spans are named "package.Service/Method", of kind server, with rpc.system.name, rpc.method, rpc.response.status_code,
// network.peer.address, network.peer.port, network.transport, server.address and server.port (the local end of the connection), and
// error.type if the call failed. The span of an unregistered method is named "grpc" and has rpc.method_original.
//
// Client spans are of kind client, with the same attributes; server.address and server.port describe the target. A target that names
// several servers, or has a scheme other than os, dns, passthrough, unix, ipv4 and ipv6, is the address as a whole. For the scheme os,
// server.address is the service and network.peer.address is the instance. Spans get their attributes once, when they end; a sampler sees
// their name, which is the method, and their kind.
//
// With DiscoveryOptions.Router, client spans also have goos.discovery.instance, goos.router.attempt (the number of attempts that were made), and
// goos.router.arm if a split applies. Pass WithDiscovery after DialOptions for that.
//
//   - rpc.server.call.duration (histogram, seconds): rpc.system.name, rpc.method, rpc.response.status_code, error.type.
//   - rpc.client.call.duration (histogram, seconds): the same, and server.address and server.port.
//   - rpc.server.call.exception (event, severity error): a handler panicked. rpc.system.name, rpc.method, exception.type,
//     exception.message, exception.stacktrace. If events are not enabled, it is a line of Telemetry.Logger instead.
//   - goos.rpc.client.instance.misdirected (event, severity warn): an instance refused a call for another service, and gets no calls for a
//     while. goos.discovery.service, goos.discovery.instance. Without events it is a line, too.
//
// error.type is the name of the status code. A client counts every code but OK as an error. A server counts UNKNOWN, DEADLINE_EXCEEDED,
// UNIMPLEMENTED, INTERNAL, UNAVAILABLE and DATA_LOSS: the others are the caller's. The same codes set the status of the span to Error.
// A code that gRPC does not define is reported as UNKNOWN.
//
// The access log is one slog record a call, "grpc call", at level Info, or Error for the codes above, with rpc.method,
// rpc.response.status_code, duration, network.peer.address, and the error.
package osgrpc

import (
	"time"

	"google.golang.org/grpc"

	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/option"
	"github.com/go-os/go-os/telemetry"
)

const scope = "github.com/go-os/go-os/middleware/osgrpc"

// Options configure a server or a client. Nil and the zero value work: spans, metrics and, on a server, panic recovery are on; the
// access log, deadlines and the limit are off. Fields for one side have no effect on the other. A negative option is reported to
// OpenTelemetry's error handler, and the default is used.
type Options struct {
	// Telemetry receives spans, metrics, events and logs. A no-op provider turns its signal off. Trace context is propagated even with
	// spans off.
	Telemetry telemetry.Providers
	// Filter reports whether a call passes through the middleware, by its full method, "/package.Service/Method". Other calls get no
	// telemetry, no deadline and no place under MaxConcurrent, and Public does not change them. Their panics are recovered
	// nevertheless. Nil means NotHealth. Everything excludes no call: a proxy that serves the health checks of others needs it.
	Filter func(fullMethod string) bool

	// Timeout is the longest time for a unary call: on a server for the handler's context, on a client for the call. It shortens a
	// later deadline, and sets one if there is none. It does not apply to streams, which may last by design. Default: no limit.
	Timeout time.Duration
	// DefaultTimeout is the deadline of unary calls that have none: those that arrive without one at a server, and those that a client
	// makes without one. It cannot exceed Timeout. Default: Timeout.
	DefaultTimeout time.Duration

	// Public means that callers are not trusted. Their trace context becomes a link from a new trace, and their baggage is ignored. The
	// handler gets the metadata without these keys, and without priorities, labels and the mark of a retry, so that a proxy does not forward
	// them. This also holds with telemetry off. Their
	// deadlines still hold: gRPC itself enforces them on both sides, and a stream that is cut ends with an error. Timeout limits them.
	// Default: callers are trusted. Server only.
	Public bool
	// AccessLog writes one record for each call to Telemetry.Logger. Calls that MaxConcurrent refuses write ten records a second at
	// most, and none while another of them is being written: a slow sink must not stall the calls that are served. The next record
	// counts the others as unlogged_refusals. Default: false. Server only.
	AccessLog bool
	// NoRecovery lets a panic of a handler end the process. Its span and metric are recorded nevertheless. By default the call ends
	// with INTERNAL, which reveals nothing of the panic to the caller, and the exception event has the details. Server only.
	NoRecovery bool
	// MaxConcurrent is the number of calls, streams included, that run at the same time on all servers with the options of one
	// ServerOptions call. A call keeps its place until its access log record is written. Further calls are refused at once with
	// RESOURCE_EXHAUSTED, and take no place. With Exact the record is written after the answer, so a caller may have its answer a
	// moment before its place is free. The size of messages is limited by grpc.MaxRecvMsgSize. Default: no limit. Server only.
	MaxConcurrent int
	// Services are the names of the services that this server provides. A call that a client with WithDiscovery makes for another one,
	// because the address was another service's before, is refused with FAILED_PRECONDITION and made elsewhere. No handler sees it, not
	// even one of a method that Filter excludes. Calls of other clients name no service, and are served. Default: all are served. Server
	// only.
	Services []string
	// Shedder refuses calls with RESOURCE_EXHAUSTED while the server is overloaded, less important ones first. The answer has a
	// google.rpc.RetryInfo. Trusted callers state the priority of a call in the metadata goos-priority, and clients with WithDiscovery
	// pass it on. Streams are admitted like calls and then take no place. Use a *shed.Shedder. Default: none. Server only.
	Shedder Shedder
	// Labels are the labels of a call that the handler's context gets, so that the calls it makes have them (router.WithLabels). They come
	// from metadata such as x-micro-label-tenant, and from the caller's baggage. They are taken from untrusted callers, too. Default: none.
	// Server only.
	Labels *router.Allowlist
	// ReportLoad counts the calls that this server has in flight, reports the load in the trailer of each answer, and answers probes
	// (ProbeMethod), so that clients with a router.Router avoid busy instances. Servers of one process, also of oshttp, share one Load. Calls
	// that Filter excludes and refused ones are not counted. A Public server reports nothing. Default: none. Server only.
	ReportLoad *Load
	// Exact also observes calls that fail outside their handlers, as the package comment describes. It uses a stats handler, which costs
	// 20 allocations for each call. Default: false. Server only.
	Exact bool
}

// NotHealth is the default Filter: all calls but Check, List and Watch of grpc.health.v1.Health. Probes and balancers call these every
// few seconds and do not show how the service is used. If MaxConcurrent refused a probe, a healthy process would be killed.
func NotHealth(fullMethod string) bool {
	switch fullMethod {
	case "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/List", "/grpc.health.v1.Health/Watch":
		return false
	}
	return true
}

// Everything is the Filter that excludes no call.
func Everything(string) bool { return true }

// ServerOptions returns the options for grpc.NewServer that observe and protect the server. Pass them first.
func ServerOptions(opts *Options) []grpc.ServerOption {
	o := opts.withDefaults()
	s := newServer(o)
	if !s.watching && !s.protecting() {
		return nil
	}
	options := []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(s.unary),
		grpc.ChainStreamInterceptor(s.stream),
	}
	if s.watching || s.load != nil {
		options = append(options, grpc.UnknownServiceHandler(unknownMethod))
	}
	if s.watching && o.Exact {
		s.exact = true
		options = append(options, grpc.StatsHandler(&exactHandler{s}))
	}
	return options
}

// DialOptions returns the options for grpc.NewClient that observe the client and limit its calls. Pass them first.
func DialOptions(opts *Options) []grpc.DialOption {
	c := newClient(opts.withDefaults())
	if !c.observing() && c.deadlines == (deadlines{}) {
		return nil
	}
	return []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(c.unary),
		grpc.WithChainStreamInterceptor(c.stream),
	}
}

// withDefaults returns a copy of the options with their defaults. It reports negative ones.
func (o *Options) withDefaults() Options {
	opts := defaults.Copy(o)
	const owner = "osgrpc.Options"
	option.Default(owner, "Timeout", &opts.Timeout)
	option.Default(owner, "DefaultTimeout", &opts.DefaultTimeout)
	option.Default(owner, "MaxConcurrent", &opts.MaxConcurrent)
	if opts.Filter == nil {
		opts.Filter = NotHealth
	}
	return opts
}
