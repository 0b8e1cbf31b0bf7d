package oshttp

import (
	"cmp"
	"context"
	"net/http"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/instrument"
	"github.com/go-os/go-os/internal/option"
	"github.com/go-os/go-os/internal/sanitize"
	"github.com/go-os/go-os/telemetry"
)

// TransportOptions configure NewTransport. The zero value traces, measures and propagates trace context, and sends no deadline.
// A negative option is reported to OpenTelemetry's error handler, and the default is used.
type TransportOptions struct {
	// Telemetry receives spans, metrics and events. A no-op provider turns its signal off.
	Telemetry telemetry.Providers
	// Filter reports whether a request passes through the middleware. Other requests reach the base unchanged, with neither telemetry
	// nor propagation. Nil means NotHealth; Everything excludes no request.
	Filter func(r *http.Request) bool
	// Metrics chooses the instruments. Default: DefaultClientMetrics.
	Metrics Metrics

	// DeadlineHeader is the request header with the milliseconds until the deadline of the request's context, if it has one. It
	// replaces a value that the request already has, such as one that a proxy copied. Use it for servers that you trust and whose
	// HandlerOptions name the same header, such as DefaultDeadlineHeader. Default: no header.
	DeadlineHeader string

	// Template returns the template of a request's URL, such as "/users/{id}", of low cardinality, or "" if it has none. It names the
	// span and is an attribute of the metrics. Nil means none.
	Template func(r *http.Request) string
	// MaxServers is the number of servers that the metrics distinguish. Requests to further servers, such as those of a crawler, are
	// counted together under server.address "_OTHER" and server.port 0. Default: 200.
	MaxServers int
	// KnownMethods are the methods that spans and metrics name; all others are _OTHER. They replace the default, the nine of
	// HTTP and QUERY. Use ParseMethods for OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS.
	KnownMethods []string
	// SampleByRequest passes the attributes of the request to the sampler. By default they are set when the span ends.
	SampleByRequest bool
}

// Transport is an http.RoundTripper that observes the requests of a client. It is safe for concurrent use.
type Transport struct {
	base       http.RoundTripper
	services   *Services // base, if it is one
	opts       TransportOptions
	tracer     trace.Tracer
	tracing    bool
	propagator propagation.TextMapPropagator // nil if there is nothing to inject
	fields     *instrument.Fields            // of the propagator
	metrics    *clientMetrics
	methods    methods
	exception  *instrument.Event
	start      []trace.SpanStartOption // at its capacity, so that appending copies it
	buffers    sync.Pool               // of *attrBuffer
}

// NewTransport wraps base in the middleware. A nil base means http.DefaultTransport.
func NewTransport(base http.RoundTripper, opts *TransportOptions) *Transport {
	if base == nil {
		base = http.DefaultTransport
	}
	o := opts.withDefaults()
	p := propagator(o.Telemetry)
	services, _ := base.(*Services)
	return &Transport{
		base:       base,
		services:   services,
		opts:       o,
		tracer:     o.Telemetry.Tracer(scope),
		tracing:    o.Telemetry.Tracing(),
		propagator: p,
		fields:     instrument.NewFields(p, headerKey),
		metrics:    newClientMetrics(o.Telemetry.Meter(scope), o.Metrics, o.MaxServers),
		methods:    newMethods(o.KnownMethods),
		exception:  instrument.NewEvent(o.Telemetry.EventLogger(scope), "http.client.request.exception", log.SeverityWarn),
		start:      []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindClient)},
		buffers:    sync.Pool{New: newAttrBuffer},
	}
}

// withDefaults returns a copy of the options with their defaults. It reports negative ones.
func (o *TransportOptions) withDefaults() TransportOptions {
	opts := defaults.Copy(o)
	option.Default("oshttp.TransportOptions", "MaxServers", &opts.MaxServers)
	opts.MaxServers = cmp.Or(opts.MaxServers, defaultMaxServers)
	if opts.Filter == nil {
		opts.Filter = NotHealth
	}
	opts.DeadlineHeader = http.CanonicalHeaderKey(opts.DeadlineHeader)
	return opts
}

// CloseIdleConnections lets http.Client.CloseIdleConnections reach the base.
func (t *Transport) CloseIdleConnections() {
	if base, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}

// RoundTrip implements http.RoundTripper. It does not change its request. The call ends its span and records its duration when the
// response's body was read to its end, failed, or was closed, or when there was no response.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL == nil || !t.opts.Filter(r) { // without a URL the base has an error to return
		return t.base.RoundTrip(r)
	}
	c := &call{t: t, caller: r, method: t.methods.name(cmp.Or(r.Method, http.MethodGet)), server: serverOf(r)}
	returned := false
	defer func() {
		if !returned {
			c.end(errBasePanicked)
		}
	}()
	res, err := c.send(c.begin())
	returned = true
	if err != nil {
		c.end(err)
		return res, err
	}
	if res == nil { // against the contract, but not a reason to panic in a user's process
		return nil, c.end(errNoResponse)
	}
	c.answered(res)
	return res, nil
}

// call is one request of a client in flight.
type call struct {
	t        *Transport
	caller   *http.Request // as the caller made it
	sent     *http.Request // as it is sent: its context has the span
	server   serverID
	method   string
	template string
	reached  reached // if the request was for a service

	span   trace.Span // nil unless recording
	start  time.Time  // zero unless measuring
	status int        // zero until answered
	proto  string

	ended sync.Once
}

// send sends the request through the base.
func (c *call) send(r *http.Request) (res *http.Response, err error) {
	if c.t.services == nil {
		return c.t.base.RoundTrip(r)
	}
	how := sending{owned: r != c.caller, method: c.method}
	if c.template != "" {
		how.method = c.t.metrics.names.Get(nameKey{c.method, c.template}, spanName)
	}
	if key := c.t.opts.DeadlineHeader; key != "" && r.Header[key] != nil {
		how.deadline = key
	}
	res, c.reached, err = c.t.services.roundTrip(r, how)
	return res, err
}

// begin starts the telemetry and returns the request to send.
func (c *call) begin() *http.Request {
	t, ctx := c.t, c.caller.Context()
	if t.opts.Template != nil {
		c.template = sanitize.Text(t.opts.Template(c.caller), maxURL)
	}
	if t.metrics.enabled(ctx) {
		c.start = time.Now()
		t.metrics.begin(ctx, c)
	}
	if t.tracing {
		ctx = c.startSpan(ctx)
	}
	c.sent = t.prepare(ctx, c.caller)
	return c.sent
}

// prepare returns the request to send in place of r, under ctx. Its trace headers replace those of r: a proxy copies the headers of the
// request that it received, which belong to another call and perhaps to an untrusted caller. The name of its own service is for itself alone.
func (t *Transport) prepare(ctx context.Context, r *http.Request) *http.Request {
	key := t.opts.DeadlineHeader
	deadline := t.deadline(ctx, r)
	_, stale := r.Header[key]
	_, named := r.Header[serviceHeader]
	if ctx == r.Context() && t.propagator == nil && deadline == "" && !stale && !named {
		return r
	}
	// A shallow copy, not Clone: a caller may fill in r.Trailer until its body ends, and a clone would never see that.
	sent := r.WithContext(ctx)
	sent.Header = r.Header.Clone()
	if sent.Header == nil {
		sent.Header = make(http.Header)
	}
	if t.propagator != nil {
		for _, field := range t.fields.Keys() {
			delete(sent.Header, field)
		}
		t.propagator.Inject(ctx, carrier(sent.Header))
	}
	if named {
		delete(sent.Header, serviceHeader)
		delete(sent.Header, instanceHeader)
		delete(sent.Header, attemptHeader)
	}
	if deadline != "" {
		sent.Header[key] = []string{deadline}
	} else if stale {
		delete(sent.Header, key)
	}
	return sent
}

func (c *call) startSpan(ctx context.Context) context.Context {
	opts := c.t.start
	if c.t.opts.SampleByRequest {
		opts = append(opts, trace.WithAttributes(c.describe(nil)...))
	}
	name := spanMethod(c.method)
	if c.template != "" {
		name = c.t.metrics.names.Get(nameKey{c.method, c.template}, spanName)
	}
	ctx, span := c.t.tracer.Start(ctx, name, opts...)
	if span.IsRecording() {
		c.span = span
	}
	return ctx
}

// describe appends the attributes known before the call, at most seven.
func (c *call) describe(attrs []attribute.KeyValue) []attribute.KeyValue {
	r := c.caller
	attrs = append(attrs,
		semconv.HTTPRequestMethodKey.String(c.method),
		semconv.ServerAddress(sanitize.Text(c.server.address, maxAddress)),
		semconv.ServerPort(c.server.port),
		semconv.URLFull(cleanURL(r.URL)),
	)
	if c.method == otherMethod {
		attrs = append(attrs, semconv.HTTPRequestMethodOriginal(sanitize.Text(r.Method, maxMethod)))
	}
	if c.template != "" {
		attrs = append(attrs, semconv.URLTemplate(c.template))
	}
	if n := c.resends(); n > 0 {
		attrs = append(attrs, semconv.HTTPRequestResendCount(n))
	}
	return attrs
}

// resends returns how often the request was sent before: by redirects, and by attempts through a Router.
func (c *call) resends() int { return redirects(c.caller) + max(c.reached.attempts-1, 0) }

// answered records the response and ties the end of the call to its body.
func (c *call) answered(res *http.Response) {
	c.status = res.StatusCode
	c.proto = protocolVersion(res.ProtoMajor, res.ProtoMinor)
	if c.span == nil && c.start.IsZero() {
		return
	}
	if res.Body == nil || res.Body == http.NoBody {
		c.end(nil)
		return
	}
	res.Body = watch(res.Body, c)
}

// end closes the call, once, and returns err.
func (c *call) end(err error) error {
	c.ended.Do(func() {
		fault := c.errorType(err)
		if !c.start.IsZero() {
			c.t.metrics.end(c.sent.Context(), time.Since(c.start), c, fault)
		}
		if err != nil && fault != "" {
			c.t.exception.EmitError(c.sent.Context(), err,
				semconv.HTTPRequestMethodKey.String(c.method),
				semconv.ServerAddress(sanitize.Text(c.server.address, maxAddress)),
				semconv.ServerPort(c.server.port),
				semconv.ErrorTypeKey.String(fault),
			)
		}
		if c.span != nil {
			c.endSpan(err, fault)
		}
	})
	return err
}

func (c *call) endSpan(err error, fault string) {
	buffer := c.t.buffers.Get().(*attrBuffer)
	attrs := buffer[:0]
	if !c.t.opts.SampleByRequest {
		attrs = c.describe(attrs)
	}
	if c.status != 0 {
		attrs = append(attrs, semconv.HTTPResponseStatusCode(c.status))
	}
	if c.proto != "" {
		attrs = append(attrs, semconv.NetworkProtocolVersion(c.proto))
	}
	if c.t.opts.SampleByRequest && c.reached.attempts > 1 {
		attrs = append(attrs, semconv.HTTPRequestResendCount(c.resends()))
	}
	if to := c.reached.instance; to != nil {
		attrs = append(attrs, to.peer...)
	}
	if c.reached.arm != "" {
		attrs = append(attrs, armAttr.String(sanitize.Text(c.reached.arm, maxName)))
	}
	if fault != "" {
		attrs = append(attrs, semconv.ErrorTypeKey.String(fault))
		detail := ""
		if err != nil {
			detail = sanitize.Text(err.Error(), maxDetail)
		}
		c.span.SetStatus(codes.Error, detail)
	}
	c.span.SetAttributes(attrs...)
	c.t.buffers.Put(buffer)
	c.span.End()
}

// maxRedirects bounds the walk along a chain of redirects.
const maxRedirects = 100

// redirects returns the number of requests that led to this one: http.Client links each request that follows a redirect to the response
// that caused it.
func redirects(r *http.Request) int {
	n := 0
	for r.Response != nil && r.Response.Request != nil && n < maxRedirects {
		r = r.Response.Request
		n++
	}
	return n
}
