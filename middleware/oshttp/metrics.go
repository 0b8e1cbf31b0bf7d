package oshttp

import (
	"context"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/httpconv"

	"github.com/go-os/go-os/internal/bounded"
)

// Metrics is a set of instruments. A no-op MeterProvider turns all of them off.
type Metrics uint8

// The instruments. Those of body sizes apply to servers only: counting costs a wrapped body.
const (
	// MetricDuration is http.server.request.duration or http.client.request.duration.
	MetricDuration Metrics = 1 << iota
	// MetricActiveRequests is http.server.active_requests or http.client.active_requests.
	MetricActiveRequests
	// MetricRequestBodySize is http.server.request.body.size.
	MetricRequestBodySize
	// MetricResponseBodySize is http.server.response.body.size.
	MetricResponseBodySize
)

const (
	// DefaultServerMetrics are the instruments of NewHandler.
	DefaultServerMetrics = MetricDuration | MetricActiveRequests
	// DefaultClientMetrics are the instruments of NewTransport.
	DefaultClientMetrics = MetricDuration
)

// serverMetrics are the instruments of a handler. An instrument that was not chosen, or that the provider refuses, is a
// no-op one; a refusal goes to the OpenTelemetry error handler.
type serverMetrics struct {
	duration metric.Float64Histogram
	received metric.Int64Histogram
	sent     metric.Int64Histogram
	series   bounded.Cache[serverKey, []metric.RecordOption]
	active   *activities // nil if not chosen
}

// serverKey identifies a series of a server's histograms. It holds no text of a client: with a Host header on a metric, any client
// could create series.
type serverKey struct {
	method, scheme, route, protocol, fault string
	status                                 int
}

func newServerMetrics(meter metric.Meter, chosen Metrics) *serverMetrics {
	m := &serverMetrics{
		duration: metricnoop.Float64Histogram{},
		received: metricnoop.Int64Histogram{},
		sent:     metricnoop.Int64Histogram{},
	}
	if chosen&MetricDuration != 0 {
		i, err := httpconv.NewServerRequestDuration(meter)
		m.duration = i.Inst()
		handle(err)
	}
	if chosen&MetricRequestBodySize != 0 {
		i, err := httpconv.NewServerRequestBodySize(meter)
		m.received = i.Inst()
		handle(err)
	}
	if chosen&MetricResponseBodySize != 0 {
		i, err := httpconv.NewServerResponseBodySize(meter)
		m.sent = i.Inst()
		handle(err)
	}
	return m
}

func handle(err error) {
	if err != nil {
		otel.Handle(err)
	}
}

// enabled reports whether any histogram is enabled.
func (m *serverMetrics) enabled(ctx context.Context) bool {
	return m.duration.Enabled(ctx) || m.received.Enabled(ctx) || m.sent.Enabled(ctx)
}

func (m *serverMetrics) end(ctx context.Context, took time.Duration, x *exchange, fault string) {
	opts := m.series.Get(serverKey{
		method:   x.method,
		scheme:   x.scheme,
		route:    x.route,
		protocol: protocolVersion(x.req.ProtoMajor, x.req.ProtoMinor),
		fault:    fault,
		status:   knownStatus(x.status),
	}, serverOptions)
	m.duration.Record(ctx, took.Seconds(), opts...)
	if m.received.Enabled(ctx) {
		m.received.Record(ctx, x.body.size(x.req), opts...)
	}
	if m.sent.Enabled(ctx) {
		m.sent.Record(ctx, x.written, opts...)
	}
}

func serverOptions(k serverKey) []metric.RecordOption {
	attrs := notesOf(k.method, k.route, k.scheme)
	attrs = append(attrs, outcomeOf(k.status, k.protocol, k.fault)...)
	return []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(attrs...))}
}

// notesOf returns the attributes that identify a kind of request.
func notesOf(method, route, scheme string) []attribute.KeyValue {
	attrs := make([]attribute.KeyValue, 0, 6)
	attrs = append(attrs, semconv.HTTPRequestMethodKey.String(method), semconv.URLScheme(scheme))
	if route != "" {
		attrs = append(attrs, semconv.HTTPRoute(route))
	}
	return attrs
}

// outcomeOf returns the attributes of the outcome of a request.
func outcomeOf(status int, protocol, fault string) []attribute.KeyValue {
	var attrs []attribute.KeyValue
	if status != 0 {
		attrs = append(attrs, semconv.HTTPResponseStatusCode(status))
	}
	if protocol != "" {
		attrs = append(attrs, semconv.NetworkProtocolVersion(protocol))
	}
	if fault != "" {
		attrs = append(attrs, semconv.ErrorTypeKey.String(fault))
	}
	return attrs
}

// knownStatus returns the code, or 0 if HTTP has no such class of codes.
func knownStatus(code int) int {
	if code < 100 || code > 599 {
		return 0
	}
	return code
}
