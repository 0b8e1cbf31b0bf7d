package oshttp

import (
	"cmp"
	"hash/maphash"
	"net/http"
	"sync"
	"time"

	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/internal/admission"
	"github.com/go-os/go-os/internal/bounded"
	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/instrument"
	"github.com/go-os/go-os/internal/option"
	"github.com/go-os/go-os/telemetry"
)

// scope is the name of the instrumentation scope.
const scope = "github.com/go-os/go-os/middleware/oshttp"

// HandlerOptions configure NewHandler. The zero value traces, measures and recovers, and limits nothing. A negative option is reported
// to OpenTelemetry's error handler, and the default is used.
type HandlerOptions struct {
	// Telemetry receives spans, metrics, events and logs. A no-op provider turns its signal off.
	Telemetry telemetry.Providers
	// Filter reports whether a request passes through the middleware. Other requests get no span, no metrics, no deadline, no limit of
	// their body and no place under MaxConcurrent, and Public does not change them. Their panics are recovered and reported as events.
	// Nil means NotHealth. Everything excludes no request: a proxy that serves the health checks of others needs it.
	Filter func(r *http.Request) bool
	// Metrics chooses the instruments. Default: DefaultServerMetrics.
	Metrics Metrics

	// AccessLog writes one line for each request to Telemetry.Logger: Info, Warn for 4xx, Error for 5xx and other failures. Requests
	// that are refused for lack of places or time write ten lines a second at most, and none while another of them is being written: a
	// slow sink must not stall the requests that are served. The next line counts the others as unlogged_refusals.
	AccessLog bool
	// NoRecovery passes the panics of handlers on to the server. They are measured and reported nevertheless.
	NoRecovery bool

	// Timeout is the longest time for a handler, as the deadline of its request's context. A caller cannot exceed it. It does not apply
	// to an upgraded connection. Default: no limit.
	Timeout time.Duration
	// DefaultTimeout is the deadline of requests whose callers set none. It cannot exceed Timeout. Default: Timeout.
	DefaultTimeout time.Duration
	// DeadlineHeader is the request header with the milliseconds that a caller will wait, such as DefaultDeadlineHeader. They cannot
	// exceed Timeout. Set it only if all callers are trusted: after the deadline a request is answered with 504, and a response that
	// has begun is cut. Default: callers set no deadlines.
	DeadlineHeader string
	// MaxBodyBytes is the limit of a request body. Larger ones are answered with 413. Default: no limit.
	MaxBodyBytes int64
	// MaxConcurrent is the number of requests that are served at the same time. A request keeps its place until its log line is
	// written. Further requests are answered with 503 and Retry-After, and take no place. Default: no limit.
	MaxConcurrent int

	// Shedder refuses requests while the server is overloaded, the least important first: see package shed. They are answered with 503 and
	// Retry-After. The priority of a request is that of its context, or in the header shed.PriorityHeader of a trusted caller. Default: none.
	Shedder Shedder
	// ReportLoad counts the requests that this server has in flight, and reports them to clients with a router.Router, which avoid busy
	// servers. Each answer has the headers x-prequal-rif and x-prequal-latency-us, and GET /prequal/probe is answered with them. Requests
	// that Filter excludes, refused ones and probes are not counted. A Public server counts, but reports nothing. The HTTP handlers and
	// gRPC servers of a process share one Load. Default: no report.
	ReportLoad *Load

	// Services are the names of the services that this server provides. A request that a Services RoundTripper has sent for another
	// service, because the address was another one's before, is answered with 421 and sent elsewhere. No handler sees it, not even that
	// of a request that Filter excludes. Requests of other clients name no service, and are served. Default: all are served.
	Services []string
	// Instance is the ID of this instance. If it is set, and Services too, requests for other instances are refused in the same way.
	Instance string

	// Labels are the labels of a caller that its handler passes on, from the headers X-Micro-Label-* and the baggage: requests that the
	// handler makes with its context carry them to services, and a router.Router may choose endpoints by them. A Public server takes none.
	// Default: none.
	Labels *router.Allowlist

	// Route returns the route of a served request: a template of low cardinality, such as "/users/{id}", or "" if there is none. Nil
	// means the path of r.Pattern, which http.ServeMux sets. A handler may also call SetRoute.
	Route func(r *http.Request) string
	// Proxies describe the reverse proxies in front, whose headers are trusted. Nil means none: only the operator knows which header a
	// proxy writes, and whether it can be trusted.
	Proxies *Proxies
	// ClientAddress returns the address of the client. Nil means the address from Proxies, or else that of the connection.
	ClientAddress func(r *http.Request) string
	// KnownMethods are the methods that spans and metrics name; all others are _OTHER. They replace the default, the nine of HTTP and
	// QUERY. Use ParseMethods for OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS.
	KnownMethods []string
	// SampleByRequest passes the attributes of the request to the sampler. A sampler that decides by path or client needs them. By
	// default they are set once, when the span ends, which saves an eighth of the middleware's time.
	SampleByRequest bool
	// Public means that callers are not trusted. Their trace context becomes a link from a new trace. Their baggage and deadlines are
	// ignored, despite DeadlineHeader. The handler gets the request without these headers, so that a proxy does not forward them. This
	// also holds with telemetry off. Default: callers are trusted.
	Public bool
}

type handler struct {
	next       http.Handler
	opts       HandlerOptions
	tracer     trace.Tracer
	tracing    bool
	propagator propagation.TextMapPropagator // nil if there is nothing to extract
	fields     *instrument.Fields            // of the propagator
	metrics    *serverMetrics
	methods    methods
	exception  *instrument.Event
	names      bounded.Cache[nameKey, string]
	start      []trace.SpanStartOption // at its capacity, so that appending copies it
	buffers    sync.Pool               // of *attrBuffer

	places   *admission.Limit // nil if there is no limit
	refusals admission.Lines
	catchAll catchAll
}

// NewHandler wraps next in the middleware. It should be the outermost one, around the router, so that it sees every request and
// response. A nil next panics in every request, which is answered with 500: pass http.DefaultServeMux explicitly.
func NewHandler(next http.Handler, opts *HandlerOptions) http.Handler {
	o := opts.withDefaults()
	p := propagator(o.Telemetry)
	return &handler{
		next:       next,
		opts:       o,
		tracer:     o.Telemetry.Tracer(scope),
		tracing:    o.Telemetry.Tracing(),
		propagator: p,
		fields:     instrument.NewFields(p, headerKey, cmp.Or(o.DeadlineHeader, DefaultDeadlineHeader)),
		metrics:    shareMeter(o.Telemetry.Meter(scope)).choose(o.Metrics),
		methods:    newMethods(o.KnownMethods),
		exception:  instrument.NewEventOrLine(o.Telemetry, scope, "http.server.request.exception", log.SeverityError, "panic in HTTP handler"),
		start:      []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer)},
		buffers:    sync.Pool{New: newAttrBuffer},
		places:     admission.NewLimit(o.MaxConcurrent),
		catchAll:   catchAll{seed: maphash.MakeSeed()},
	}
}

// withDefaults returns a copy of the options with their defaults. It reports negative ones.
func (o *HandlerOptions) withDefaults() HandlerOptions {
	opts := defaults.Copy(o)
	const owner = "oshttp.HandlerOptions"
	option.Default(owner, "Timeout", &opts.Timeout)
	option.Default(owner, "DefaultTimeout", &opts.DefaultTimeout)
	option.Default(owner, "MaxBodyBytes", &opts.MaxBodyBytes)
	option.Default(owner, "MaxConcurrent", &opts.MaxConcurrent)
	if opts.Filter == nil {
		opts.Filter = NotHealth
	}
	opts.DeadlineHeader = http.CanonicalHeaderKey(opts.DeadlineHeader)
	return opts
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.probed(r) {
		h.serveProbe(w, r)
		return
	}
	if !h.opts.Filter(r) {
		if h.opts.misdirected(r) {
			refuseMisdirected(w, r)
			return
		}
		h.serveFiltered(w, r)
		return
	}
	x := h.exchange(w, r)
	x.begin()
	defer x.end()
	if x.admit() {
		h.next.ServeHTTP(x.writer(), x.req)
	}
	x.returned = true
}

// exchange returns the exchange of a request, which has not begun.
func (h *handler) exchange(w http.ResponseWriter, r *http.Request) *exchange {
	x := h.emptyExchange()
	x.h, x.rw, x.caller, x.req, x.method = h, w, r, r, h.methods.name(r.Method)
	if h.opts.Proxies != nil {
		x.origin = h.opts.Proxies.origin(r)
	}
	if x.scheme = x.origin.scheme; x.scheme == "" {
		x.scheme = scheme(r)
	}
	return x
}

// emptyExchange returns an empty exchange. If the request will get its own context, both share one allocation.
func (h *handler) emptyExchange() *exchange {
	if !h.tracing && h.propagator == nil {
		return new(exchange)
	}
	both := new(struct {
		exchange
		own http.Request
	})
	both.exchange.own = &both.own
	return &both.exchange
}
