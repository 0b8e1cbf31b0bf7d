package osgrpc

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"time"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/go-os/go-os/control/router/shed"
	"github.com/go-os/go-os/internal/sanitize"
	"github.com/go-os/go-os/internal/serverload"
)

// maxDetail bounds the bytes of a panic's value on its span, and of a foreign name in telemetry. The panic's event has all of it.
const maxDetail = 256

// serverCall is one call that a server handles.
type serverCall struct {
	server *server
	ctx    context.Context // the handler's context, and the context of the telemetry
	method *method         // nil if the call is not observed
	span   trace.Span      // nil if there are no spans
	start  time.Time
	name   string // as the client wrote it, if the method is not registered or the call is filtered

	filtered  bool // by Options.Filter: the call is not handled here
	work      serverload.Request
	admission *shed.Admission // of the shedder; nil if it was not asked
	admitted  bool            // holds a place under the limit
	refused   bool            // found no place under the limit, or was shed
	shed      bool
	stray     bool // is for another service, wanted
	wanted    string
	crashing  bool // a panic of the handler was not recovered
	failure   any  // the value of a recovered panic
}

// start opens a call, unless it is filtered out. end must follow.
func (s *server) start(ctx context.Context, fullMethod string, registered bool) serverCall {
	c := serverCall{server: s, ctx: ctx}
	c.wanted, c.stray = s.misdirected(ctx)
	if !s.filter(fullMethod) {
		c.filtered, c.name = true, foreignName(fullMethod)
		return c
	}
	if s.watching {
		c.start = time.Now()
		if registered {
			c.method = s.method(fullMethod)
		} else {
			c.method, c.name = s.other, foreignName(fullMethod)
		}
		c.open()
	}
	c.ctx = s.receive(c.ctx)
	if s.public {
		c.ctx = s.dropTraceHeaders(c.ctx)
	}
	if c.stray {
		return c
	}
	if !s.places.Acquire() {
		c.refused = true
		return c
	}
	if !c.admit() {
		s.places.Release()
		c.refused, c.shed = true, true
		return c
	}
	c.admitted = true
	c.work = s.load.Begin()
	return c
}

// refusal returns the error of a call that its handler must not see, or nil.
func (c *serverCall) refusal() error {
	switch {
	case c.stray:
		return errMisdirected(c.wanted)
	case c.shed:
		return c.shedError()
	case c.refused:
		return errBusy
	}
	return nil
}

// open starts the span of the call, in the trace of the caller if callers are trusted.
func (c *serverCall) open(more ...trace.SpanStartOption) {
	s, ctx := c.server, c.ctx
	start := append(c.method.start[:len(c.method.start):len(c.method.start)], more...)
	switch {
	case s.public && s.tracing:
		start = append(start, s.linkRemote(ctx)...)
	case !s.public && s.propagator != nil:
		ctx = s.propagator.Extract(ctx, incoming{ctx})
	}
	c.ctx, c.span = s.begin(ctx, c.method, start)
}

// linkRemote returns the options of a span that links to the trace of an untrusted caller instead of continuing it. The extracted
// context has no other use.
func (s *server) linkRemote(ctx context.Context) []trace.SpanStartOption {
	options := []trace.SpanStartOption{trace.WithNewRoot()}
	if s.propagator == nil {
		return options
	}
	remote := trace.SpanContextFromContext(s.propagator.Extract(ctx, incoming{ctx}))
	if remote.IsValid() && remote.IsRemote() {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: remote}))
	}
	return options
}

// dropTraceHeaders returns ctx without the metadata of an untrusted caller that propagates something. A proxy that forwards metadata would pass
// it on to the services behind this one.
func (s *server) dropTraceHeaders(ctx context.Context) context.Context {
	md, ok := metadata.FromIncomingContext(ctx)
	if !ok {
		return ctx
	}
	before := len(md)
	for _, key := range s.fields.Foreign() {
		delete(md, key)
	}
	maps.DeleteFunc(md, func(key string, _ []string) bool { return foreign(key) })
	if len(md) == before {
		return ctx
	}
	return metadata.NewIncomingContext(ctx, md)
}

// panicked records that the handler did not return, and returns the error for the caller. The value is nil if it was not
// recovered.
func (c *serverCall) panicked(value any) error {
	if value != nil {
		attrs := []attribute.KeyValue{semconv.RPCSystemNameGRPC, semconv.RPCMethod(c.methodName())}
		c.server.exception.EmitPanic(c.ctx, value, debug.Stack(), attrs...)
	}
	c.failure, c.crashing = value, value == nil
	return errPanicked
}

// methodName returns the name of the method for events and logs.
func (c *serverCall) methodName() string {
	if c.method != nil {
		return c.method.name
	}
	return c.name
}

// end closes the call, or leaves that to the stats handler, which sees the answer that the caller received.
func (c *serverCall) end(err error) {
	if c.method != nil && c.server.exact && c.postpone() {
		return
	}
	c.close(err)
}

// close reports the call and then releases its place. The order matters: calls that wait for a slow log sink still count as in
// progress, so that they do not pile up without limit.
func (c *serverCall) close(err error) {
	if c.admitted {
		defer c.server.places.Release()
	}
	if c.method != nil {
		c.report(err)
	}
}

// report writes the telemetry of the call.
func (c *serverCall) report(err error) {
	code, message := statusOf(err)
	c.server.record(c.ctx, c.method, code, c.start)
	if c.server.logs {
		c.log(code, err)
	}
	if c.span == nil {
		return
	}
	if !c.span.IsRecording() {
		c.span.End()
		return
	}
	buffer := c.server.buffer()
	attrs := buffer[:0]
	if p, ok := peer.FromContext(c.ctx); ok {
		attrs = c.server.hosts.peer(attrs, p.Addr)
		attrs = c.server.hosts.local(attrs, p.LocalAddr)
	}
	if c.name != "" {
		attrs = append(attrs, semconv.RPCMethodOriginal(c.name))
	}
	if c.failure != nil {
		message = sanitize.Text(fmt.Sprint("panic: ", c.failure), maxDetail)
	}
	c.server.finish(c.span, c.method, code, message, buffer, len(attrs))
}

// log writes the access log record of the call.
func (c *serverCall) log(code codes.Code, err error) {
	logger, level := c.server.telemetry.Slog(), slog.LevelInfo
	if serverFault(code) {
		level = slog.LevelError
	}
	if !logger.Enabled(c.ctx, level) {
		return
	}
	if c.refused {
		if !c.server.refusals.Begin(time.Now()) {
			return
		}
		defer c.server.refusals.End()
	}
	name := c.method.name
	if c.name != "" {
		name = c.name
	}
	attrs := [6]slog.Attr{
		slog.String(string(semconv.RPCMethodKey), name),
		slog.String(string(semconv.RPCResponseStatusCodeKey), codeNames[code]),
		slog.Duration("duration", time.Since(c.start)),
	}
	n := 3
	if p, ok := peer.FromContext(c.ctx); ok && p.Addr != nil {
		if from := c.server.hosts.name(p.Addr); from != "" {
			attrs[n] = slog.String(string(semconv.NetworkPeerAddressKey), from)
			n++
		}
	}
	if err != nil {
		attrs[n] = slog.Any("error", err)
		n++
	}
	if unlogged := c.server.refusals.TakeUnlogged(); unlogged > 0 {
		attrs[n] = slog.Int64("unlogged_refusals", unlogged)
		n++
	}
	logger.LogAttrs(c.ctx, level, "grpc call", attrs[:n]...)
}
