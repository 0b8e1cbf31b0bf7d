// Package osgrpc observes and protects gRPC servers and clients: spans, metrics, access log, panic recovery, deadlines and
// a limit on concurrent calls, as options for grpc.NewServer and grpc.NewClient.
//
//	server := grpc.NewServer(osgrpc.ServerOptions(&osgrpc.Options{Telemetry: providers})...)
//	conn, err := grpc.NewClient(target, append(osgrpc.DialOptions(&osgrpc.Options{Telemetry: providers}), creds)...)
//
// Pass these options before any others: they are then the outermost interceptors, so that the time, the errors and the
// panics of the others are seen too, and a grpc.UnknownServiceHandler of the program's own comes last and wins.
//
// # Guarantees
//
//   - A call has one span and one point on the duration histogram, and the span ends exactly once, however the call ends:
//     answer, error, panic, end of stream, cancellation, a stream that its caller abandons (its context ends), a connection
//     or a ClientConn that is closed.
//   - No metric attribute comes from a caller. A method that is not registered is "_OTHER" on the server; a client keeps
//     the names of generated code, and of at most 500 methods that are called by other means.
//   - Trace context and baggage that cannot be parsed are ignored: the call begins a new trace. Metadata of the caller is
//     never changed, and what a propagator writes can never make a call fail: keys and values that gRPC would refuse are
//     left out. Binary metadata (keys ending in "-bin") takes no part in propagation.
//   - With telemetry.Off and the protections off, no option is returned at all: a call costs what it costs without this
//     package.
//
// # Interceptors, not a stats handler
//
// gRPC builds eight events a call for a stats.Handler, and copies the metadata: 17 allocations before the handler has done
// anything, against 2 for an interceptor. So the server is observed by interceptors, which also are the only place where a
// panic can be recovered. Calls of unregistered methods reach them through an UnknownServiceHandler, and a client's
// streams report their end through the OnFinish call option, so that neither needs a wrapper or a goroutine.
//
// What an interceptor cannot see is what happens around it: a unary request that is too large, cannot be decoded, or never
// arrives, and an answer that cannot be encoded or sent. The client sees these in any case; a server that wants to see them
// too sets [Options.Exact] and pays for the stats handler, 20 allocations more.
// gRPC shows nobody the requests that its transport refuses, such as a method name without a slash or malformed headers. It
// shows a method that streams both ways, of a service that was registered with a nil implementation, as one that is not
// registered: register such a service with any value.
//
// # Telemetry
//
// Names, units, buckets and attributes are those of the semantic conventions v1.43 for RPC.
//
// Server spans are named "package.Service/Method", of kind server, with rpc.system.name, rpc.method,
// rpc.response.status_code, network.peer.address, network.peer.port, network.transport, server.address and server.port (the
// local end of the connection), error.type where the call failed, and for an unregistered method, whose span is named "grpc",
// rpc.method_original.
// Client spans are of kind client, with the same attributes, where server.address and server.port are those of the target. A
// target that names several servers, or has a scheme other than dns, passthrough, unix, ipv4 and ipv6, is the address as a whole.
// Spans are given their attributes once, when they end; a sampler sees their name, which is the method, and their kind.
//
//   - rpc.server.call.duration (histogram, seconds): rpc.system.name, rpc.method, rpc.response.status_code, error.type.
//   - rpc.client.call.duration (histogram, seconds): the same, and server.address and server.port.
//   - rpc.server.call.exception (event, severity error): a handler panicked. rpc.system.name, rpc.method, exception.type,
//     exception.message, exception.stacktrace. Where nobody takes events it is a line of Telemetry.Logger instead.
//
// error.type is the name of the status code. A client counts every code but OK as an error. A server counts UNKNOWN,
// DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE and DATA_LOSS: the others are the caller's. The same codes set
// the status of the span to Error. A code that gRPC does not define is reported as UNKNOWN.
//
// The access log is one slog record a call, "grpc call", at level Info, or Error for the codes above, with rpc.method,
// rpc.response.status_code, duration, network.peer.address, and the error.
package osgrpc

import (
	"time"

	"google.golang.org/grpc"

	"github.com/go-os/go-os/internal/option"
	"github.com/go-os/go-os/telemetry"
)

const scope = "github.com/go-os/go-os/middleware/osgrpc"

// Options of a server or a client. Nil and the zero value work: spans, metrics and, on a server, panic recovery are on; the
// access log, deadlines and the limit are off. Fields that speak of one side only have no effect on the other. A negative option is
// reported to OpenTelemetry's error handler, and the default is used.
type Options struct {
	// Telemetry is where spans, metrics, events and logs go. A no-op provider turns its signal off; trace context is propagated with spans
	// off, too.
	Telemetry telemetry.Providers
	// Filter returns whether a call passes through the middleware, by its full method, "/package.Service/Method". Other calls get no
	// telemetry, no deadline and no place under MaxConcurrent, and Public does not change them. Their panics are recovered nevertheless.
	// Nil means NotHealth; Everything excludes no call: a proxy that serves the health checks of others needs it.
	Filter func(fullMethod string) bool

	// Timeout is the longest time for a unary call. It replaces a later deadline, or none: on a server that of the handler's context, on a
	// client that of the call. It does not apply to streams, which may last by design. Default: no limit.
	Timeout time.Duration
	// DefaultTimeout is the deadline of unary calls that have none: those that arrive without one at a server, and those that are made
	// without one by a client. It cannot exceed Timeout. Default: Timeout.
	DefaultTimeout time.Duration

	// Public means that callers are not trusted. Their trace context becomes a link from a new trace, and their baggage is ignored. The
	// handler gets the metadata without these keys, so that a proxy does not forward them. This also holds with telemetry off. Their
	// deadlines still hold: gRPC itself enforces them on both sides, and a stream that is cut ends with an error. Timeout limits them.
	// Default: callers are trusted. Server only.
	Public bool
	// AccessLog writes one record for each call to Telemetry.Logger. Calls that MaxConcurrent refuses have ten records a second at most,
	// and none while another of them is being written: a slow sink must not stall the calls that are served. The next record counts the
	// others as unlogged_refusals. Default: false. Server only.
	AccessLog bool
	// NoRecovery lets a panic of a handler end the process. Its span and metric are recorded nevertheless. By default the call ends with
	// INTERNAL, which shows the caller nothing of the panic, and the exception event has the details. Server only.
	NoRecovery bool
	// MaxConcurrent is how many calls, streams included, run at the same time on all servers with the options of one ServerOptions call. A
	// call keeps its place until its access log record is written. Further calls are refused at once with RESOURCE_EXHAUSTED, and take
	// no place. With Exact the record is written after the answer, so a caller may have its answer a moment before its place is free.
	// The size of messages is limited by grpc.MaxRecvMsgSize. Default: no limit. Server only.
	MaxConcurrent int
	// Exact also observes calls that fail outside their handlers, as the package comment describes. It uses a stats handler, which costs
	// 20 allocations for each call. Default: false. Server only.
	Exact bool
}

// NotHealth is the default Filter: all calls but Check, List and Watch of grpc.health.v1.Health. Probes and balancers call these every few seconds and do
// not show how the service is used. A probe that MaxConcurrent refused would get a healthy process killed.
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
	if s.watching {
		options = append(options, grpc.UnknownServiceHandler(unknownMethod))
		if o.Exact {
			s.exact = true
			options = append(options, grpc.StatsHandler(&exactHandler{s}))
		}
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
	var opts Options
	if o != nil {
		opts = *o
	}
	const owner = "osgrpc.Options"
	option.Default(owner, "Timeout", &opts.Timeout)
	option.Default(owner, "DefaultTimeout", &opts.DefaultTimeout)
	option.Default(owner, "MaxConcurrent", &opts.MaxConcurrent)
	if opts.Filter == nil {
		opts.Filter = NotHealth
	}
	return opts
}
