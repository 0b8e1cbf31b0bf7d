package oshttp

import (
	"context"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// exchange is one request in flight, and the ResponseWriter of its handler. Each request gets a new one: a handler may keep its
// writer after it returns, so the writer must never belong to another request.
type exchange struct {
	h      *handler
	rw     http.ResponseWriter // of the server
	caller *http.Request       // as the server gave it
	req    *http.Request       // as the handler sees it
	own    *http.Request       // space for req, if a context will be derived
	method string              // known, or _OTHER
	scheme string
	origin origin // the request as a trusted proxy received it

	span      trace.Span // nil unless recording
	start     time.Time  // zero unless something needs the duration
	cancel    context.CancelFunc
	handshake *handshake   // the context of a request for an upgrade that has a deadline
	body      *requestBody // nil unless counted or limited
	measured  bool         // a histogram is enabled
	active    *activity    // where the request is counted, nil if nowhere
	admitted  bool         // holds a place under MaxConcurrent
	work      *work        // counted under ReportLoad and Shedder; nil if neither is set
	shed      bool         // refused because no place was free or no time was left

	returned bool // the handler returned, rather than panicked
	hijacked bool
	failed   bool // a write failed
	late     bool // the response began after the context had ended
	status   int  // zero until a final header is written
	written  int64
	route    string
	chosen   bool   // the route, by SetRoute
	fault    string // error.type, "" if it follows from the status
	detail   string // description of the span's status
}

// begin starts the telemetry and derives the handler's context.
func (x *exchange) begin() {
	h, ctx := x.h, x.caller.Context()
	x.measured = h.metrics.enabled(ctx)
	if x.measured || h.opts.AccessLog {
		x.start = time.Now()
	}
	if h.propagator != nil && !h.opts.Public {
		ctx = h.propagator.Extract(ctx, carrier(x.caller.Header))
	}
	if h.tracing {
		ctx = x.startSpan(ctx)
	}
	if h.metrics.active != nil {
		x.active = h.metrics.active.of(x.method, x.scheme)
		x.active.begun.Add(1)
	}
	ctx = h.join(ctx, x.caller.Header)
	if d, ok := x.allowance(); ok {
		ctx = x.limit(ctx, d)
	}
	if ctx != x.caller.Context() {
		x.setContext(ctx)
	}
	if h.opts.Public {
		x.dropTraceHeaders()
	}
	x.watchBody()
}

// setContext gives the handler a request with its own context. If x.own is allocated already, the copy that WithContext makes does
// not escape to the heap.
func (x *exchange) setContext(ctx context.Context) {
	if x.own == nil {
		x.req = x.caller.WithContext(ctx)
		return
	}
	*x.own = *x.caller.WithContext(ctx)
	x.req = x.own
}

func (x *exchange) startSpan(ctx context.Context) context.Context {
	h := x.h
	opts := h.start
	if h.opts.Public {
		opts = append(opts, x.linkRemote(ctx)...)
	}
	if h.opts.SampleByRequest {
		opts = append(opts, trace.WithAttributes(x.describe(nil)...))
	}
	ctx, span := h.tracer.Start(ctx, spanMethod(x.method), opts...)
	if span.IsRecording() {
		x.span = span
	}
	return ctx
}

// linkRemote returns the options of a span that links to the trace of an untrusted caller instead of continuing it. The extracted
// context has no other use.
func (x *exchange) linkRemote(ctx context.Context) []trace.SpanStartOption {
	if x.h.propagator == nil {
		return nil
	}
	remote := trace.SpanContextFromContext(x.h.propagator.Extract(ctx, carrier(x.caller.Header)))
	if !remote.IsValid() || !remote.IsRemote() {
		return nil
	}
	return []trace.SpanStartOption{trace.WithNewRoot(), trace.WithLinks(trace.Link{SpanContext: remote})}
}

// dropTraceHeaders removes the trace context and the deadline of an untrusted caller from the request that the handler sees.
// Otherwise a proxy would pass them on.
func (x *exchange) dropTraceHeaders() {
	var kept http.Header
	for _, key := range x.h.fields.Foreign() {
		if _, there := x.caller.Header[key]; !there {
			continue
		}
		if kept == nil {
			kept = x.caller.Header.Clone()
		}
		delete(kept, key)
	}
	if kept == nil {
		return
	}
	if x.req == x.caller {
		x.setContext(x.caller.Context())
	}
	x.req.Header = kept
}

// end closes the exchange, whether the handler returned or panicked. It must be deferred directly, because it recovers.
func (x *exchange) end() {
	defer x.release() // also if an observer panics, such as a log handler
	var repanic any
	if x.returned {
		repanic = x.finish()
	} else {
		repanic = x.finishPanic(recover())
	}
	x.observe()
	if repanic != nil {
		panic(repanic)
	}
}

// observe records the outcome of the request.
func (x *exchange) observe() {
	if x.span == nil && !x.measured && !x.h.opts.AccessLog {
		return
	}
	ctx := x.req.Context()
	x.route = x.findRoute()
	fault := x.errorType()
	reported := fault
	if fault == faultCanceled {
		reported = "" // the conventions leave intentional cancellation unset; the access log has it
	}
	var took time.Duration
	if !x.start.IsZero() {
		took = time.Since(x.start)
	}
	if x.measured {
		x.h.metrics.end(ctx, took, x, reported)
	}
	if x.h.opts.AccessLog {
		x.logAccess(ctx, took, fault)
	}
	if x.span != nil {
		x.endSpan(reported)
	}
	if x.span != nil || x.measured {
		x.reportCatchAll(ctx)
	}
}

func (x *exchange) endSpan(fault string) {
	buffer := x.h.buffers.Get().(*attrBuffer)
	attrs := buffer[:0]
	if !x.h.opts.SampleByRequest {
		attrs = x.describe(attrs)
	}
	if x.status != 0 {
		attrs = append(attrs, semconv.HTTPResponseStatusCode(x.status))
	}
	if x.route != "" {
		attrs = append(attrs, semconv.HTTPRoute(x.route))
		x.span.SetName(x.name())
	}
	if fault != "" {
		attrs = append(attrs, semconv.ErrorTypeKey.String(fault))
	}
	x.span.SetAttributes(attrs...)
	x.h.buffers.Put(buffer)
	if x.isError(fault) {
		x.span.SetStatus(codes.Error, x.detail)
	}
	x.span.End()
}

// release releases the place and the context of the request.
func (x *exchange) release() {
	if x.active != nil {
		x.active.ended.Add(1)
	}
	if x.cancel != nil {
		x.cancel()
	}
	x.releasePlace()
	x.endWork()
	if x.req != x.caller {
		// The server removes the temporary files of the form it finds on its own request, and outer middleware reads the pattern
		// there.
		x.caller.MultipartForm = x.req.MultipartForm
		x.caller.Pattern = x.req.Pattern
	}
}

// releasePlace gives back the place under MaxConcurrent, if the request has one.
func (x *exchange) releasePlace() {
	if x.admitted {
		x.admitted = false
		x.h.places.Release()
	}
}
