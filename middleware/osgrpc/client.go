package osgrpc

import (
	"context"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/rpcconv"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// errAbandoned is the outcome of a call that panicked in an interceptor or a codec, before there was an answer.
var errAbandoned = status.Error(codes.Unknown, "the call was not made: an interceptor or a codec panicked")

// client is the state that the client's interceptors share.
type client struct {
	observer
	deadlines deadlines
	dynamic   atomic.Int64 // number of methods without generated code
}

func newClient(opts Options) *client {
	c := &client{deadlines: newDeadlines(opts)}
	c.init(opts, func(m metric.Meter) (metric.Float64Histogram, error) {
		h, err := rpcconv.NewClientCallDuration(m)
		return h.Inst(), err
	})
	return c
}

// method returns the cached data of a method and a target. A program such as a proxy may pass on names from outside, so only
// a bounded number of names without generated code is distinguished.
func (c *client) method(cc *grpc.ClientConn, fullMethod string, opts []grpc.CallOption) *method {
	key := methodKey{target: cc.Target(), name: fullMethod, dynamic: !generated(opts)}
	return c.methods.Get(key, func(k methodKey) *method {
		name := methodName(k.name)
		if k.dynamic && c.dynamic.Add(1) > maxDynamic {
			name = otherMethod
		}
		return newMethod(trace.SpanKindClient, anyFault, name, targetAttrs(cc)...)
	})
}

// generated reports whether generated code makes the call. Such code marks its calls.
func generated(opts []grpc.CallOption) bool {
	for _, o := range opts {
		if _, ok := o.(grpc.StaticMethodCallOption); ok {
			return true
		}
	}
	return false
}

func (c *client) unary(ctx context.Context, fullMethod string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) (err error) {
	if !c.filter(fullMethod) {
		return invoker(ctx, fullMethod, req, reply, cc, opts...)
	}
	ctx, cancel := c.deadlines.bound(ctx)
	if cancel != nil {
		defer cancel()
	}
	call := c.start(ctx, fullMethod, cc, opts)
	var from *peer.Peer
	if call.recording() {
		from = new(peer.Peer)
		opts = append(opts[:len(opts):len(opts)], observedCall{grpc.PeerCallOption{PeerAddr: from}, call.span})
	}
	err = errAbandoned // unless the invoker returns
	defer func() { call.end(err, from) }()
	err = invoker(c.inject(call.ctx), fullMethod, req, reply, cc, opts...)
	return err
}

func (c *client) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, fullMethod string, streamer grpc.Streamer, opts ...grpc.CallOption) (cs grpc.ClientStream, err error) {
	if !c.filter(fullMethod) {
		return streamer(ctx, desc, cc, fullMethod, opts...)
	}
	s := &clientStream{call: c.start(ctx, fullMethod, cc, opts)}
	// gRPC reports the end of a stream once, for every cause: the last message, an error, the context, the closing of the
	// connection. An inner interceptor may fail without calling gRPC at all, which the deferred call sees.
	opts = append(opts[:len(opts):len(opts)], grpc.OnFinish(s.end))
	if s.call.recording() {
		opts = append(opts, observedCall{grpc.PeerCallOption{PeerAddr: &s.from}, s.call.span})
	}
	err = errAbandoned
	defer func() {
		if err != nil {
			s.end(err)
		}
	}()
	cs, err = streamer(c.inject(s.call.ctx), desc, cc, fullMethod, opts...)
	return cs, err
}

// observedCall is the option by which a call that is recorded gets its peer. WithDiscovery, which knows more of the call, finds its span there: the
// span of the context may be another one.
type observedCall struct {
	grpc.PeerCallOption
	span trace.Span
}

// spanOf returns the span of a call, or nil.
func spanOf(opts []grpc.CallOption) trace.Span {
	for _, o := range opts {
		if o, ok := o.(observedCall); ok {
			return o.span
		}
	}
	return nil
}

// clientStream ends the call of a stream once.
type clientStream struct {
	call  clientCall
	from  peer.Peer
	ended atomic.Bool
}

func (s *clientStream) end(err error) {
	if !s.ended.Swap(true) {
		s.call.end(err, &s.from)
	}
}

// inject returns ctx with the fields of the propagator. The caller's metadata is copied, never changed. Its values under the
// propagator's keys are replaced, or removed if there is nothing to send. Otherwise a proxy that forwards the metadata of the
// call it received would forward the trace context of that call, perhaps of an untrusted caller.
func (c *client) inject(ctx context.Context) context.Context {
	if c.propagator == nil {
		return ctx
	}
	md, ok := metadata.FromOutgoingContext(ctx)
	if !ok {
		md = make(metadata.MD, 2)
	}
	for _, field := range c.fields.Keys() {
		delete(md, field)
	}
	c.propagator.Inject(ctx, outgoing(md))
	if !ok && len(md) == 0 {
		return ctx
	}
	return metadata.NewOutgoingContext(ctx, md)
}

// clientCall is one call of a client.
type clientCall struct {
	client *client
	ctx    context.Context
	method *method
	span   trace.Span // nil if there are no spans
	start  time.Time
	name   string // as the caller wrote it, if it is not distinguished
}

// start opens a call. end must follow.
func (c *client) start(ctx context.Context, fullMethod string, cc *grpc.ClientConn, opts []grpc.CallOption) clientCall {
	call := clientCall{client: c, method: c.method(cc, fullMethod, opts), start: time.Now()}
	if call.method.name == otherMethod {
		call.name = foreignName(fullMethod)
	}
	call.ctx, call.span = c.begin(ctx, call.method, call.method.start)
	return call
}

func (c *clientCall) recording() bool { return c.span != nil && c.span.IsRecording() }

// end closes the call. It records the peer of the last attempt, if there was one.
func (c *clientCall) end(err error, from *peer.Peer) {
	code, message := statusOf(err)
	c.client.record(c.ctx, c.method, code, c.start)
	if c.span == nil {
		return
	}
	if !c.span.IsRecording() {
		c.span.End()
		return
	}
	buffer := c.client.buffer()
	attrs := buffer[:0]
	if from != nil {
		attrs = c.client.hosts.peer(attrs, from.Addr)
	}
	if c.name != "" {
		attrs = append(attrs, semconv.RPCMethodOriginal(c.name))
	}
	c.client.finish(c.span, c.method, code, message, buffer, len(attrs))
}
