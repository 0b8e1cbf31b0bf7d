package oshttp

import (
	"cmp"
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/httpconv"

	"github.com/go-os/go-os/internal/bounded"
	"github.com/go-os/go-os/internal/sanitize"
)

// defaultMaxServers is an estimate between the dozens of servers that a service calls and the thousands that a crawler
// does.
const defaultMaxServers = 200

// clientMetrics are the instruments of a transport.
type clientMetrics struct {
	duration metric.Float64Histogram
	active   metric.Int64UpDownCounter

	servers *bounded.Cache[serverID, serverID]
	series  bounded.Cache[clientKey, []metric.RecordOption]
	actives bounded.Cache[clientKey, []metric.AddOption]
	names   bounded.Cache[nameKey, string]
}

// serverID identifies a server on a client's metrics, as the conventions require.
type serverID struct {
	address string
	port    int
}

type clientKey struct {
	method, template, scheme, protocol, fault string
	status                                    int
	server                                    serverID
}

func newClientMetrics(meter metric.Meter, chosen Metrics, maxServers int) *clientMetrics {
	m := &clientMetrics{
		duration: metricnoop.Float64Histogram{},
		active:   metricnoop.Int64UpDownCounter{},
		servers:  bounded.New[serverID, serverID](maxServers),
	}
	chosen = cmp.Or(chosen, DefaultClientMetrics)
	if chosen&MetricDuration != 0 {
		i, err := httpconv.NewClientRequestDuration(meter)
		m.duration = i.Inst()
		handle(err)
	}
	if chosen&MetricActiveRequests != 0 {
		i, err := httpconv.NewClientActiveRequests(meter)
		m.active = i.Inst()
		handle(err)
	}
	return m
}

func (m *clientMetrics) enabled(ctx context.Context) bool {
	return m.duration.Enabled(ctx) || m.active.Enabled(ctx)
}

func (m *clientMetrics) begin(ctx context.Context, c *call) { m.countActive(ctx, c, 1) }

func (m *clientMetrics) end(ctx context.Context, took time.Duration, c *call, fault string) {
	m.countActive(c.caller.Context(), c, -1)
	m.duration.Record(ctx, took.Seconds(), m.series.Get(clientKey{
		method:   c.method,
		template: c.template,
		protocol: c.proto,
		fault:    fault,
		status:   knownStatus(c.status),
		server:   m.known(c.server),
	}, clientOptions)...)
}

func (m *clientMetrics) countActive(ctx context.Context, c *call, n int64) {
	if m.active.Enabled(ctx) {
		m.active.Add(ctx, n, m.actives.Get(clientKey{
			method:   c.method,
			template: c.template,
			scheme:   c.caller.URL.Scheme,
			server:   m.known(c.server),
		}, activeClientOptions)...)
	}
}

// known returns the server for the metrics: the first MaxServers unchanged, all others as one.
func (m *clientMetrics) known(id serverID) serverID {
	if known, kept := m.servers.Admit(id, cleanServer); kept {
		return known
	}
	return serverID{address: faultOther}
}

func cleanServer(id serverID) serverID {
	id.address = sanitize.Text(id.address, maxAddress)
	return id
}

func clientOptions(k clientKey) []metric.RecordOption {
	return []metric.RecordOption{metric.WithAttributeSet(clientSet(k))}
}

func activeClientOptions(k clientKey) []metric.AddOption {
	return []metric.AddOption{metric.WithAttributeSet(clientSet(k))}
}

func clientSet(k clientKey) attribute.Set {
	attrs := []attribute.KeyValue{
		semconv.HTTPRequestMethodKey.String(k.method),
		semconv.ServerAddress(k.server.address),
		semconv.ServerPort(k.server.port),
	}
	if k.template != "" {
		attrs = append(attrs, semconv.URLTemplate(k.template))
	}
	if k.scheme != "" {
		attrs = append(attrs, semconv.URLScheme(k.scheme))
	}
	return attribute.NewSet(append(attrs, outcomeOf(k.status, k.protocol, k.fault)...)...)
}
