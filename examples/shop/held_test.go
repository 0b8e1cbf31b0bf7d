package main

import (
	"encoding/hex"
	"strings"
	"testing"

	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/go-os/go-os/internal/tooling/testenv"
)

// hop is one span in the trace of an order.
type hop struct {
	service string
	kind    tracepb.Span_SpanKind
	name    string
}

// way has the spans of every order that reaches the bank, callers first.
var way = []hop{
	{"storefront", tracepb.Span_SPAN_KIND_SERVER, "POST /orders"},
	{"storefront", tracepb.Span_SPAN_KIND_CLIENT, "shop.orders.v1.Orders/Place"},
	{"orders", tracepb.Span_SPAN_KIND_SERVER, "shop.orders.v1.Orders/Place"},
	{"orders", tracepb.Span_SPAN_KIND_CLIENT, "POST"},
	{"payments", tracepb.Span_SPAN_KIND_SERVER, "POST /charges"},
	{"payments", tracepb.Span_SPAN_KIND_INTERNAL, "authorize"},
}

// checkWay checks the spans from every authorization up to the root of its trace.
func checkWay(t *testing.T, spans []testenv.Span) {
	t.Helper()
	byID := make(map[string]testenv.Span, len(spans))
	for _, s := range spans {
		byID[s.ID()] = s
	}
	crossings := 0
	for _, s := range spans {
		if s.Name != "authorize" {
			continue
		}
		crossings++
		for i := len(way) - 1; ; i-- {
			got := hop{s.Service(), s.Kind, s.Name}
			if i == 0 && got.name == "POST /carts/{customer}/order" { // the other way to order
				got.name = way[i].name
			}
			if got != way[i] {
				t.Fatalf("trace %s: hop %d is %v, want %v", s.Trace(), i, got, way[i])
			}
			if i == 0 {
				break
			}
			parent, ok := byID[s.Parent()]
			if !ok || parent.Trace() != s.Trace() {
				t.Fatalf("trace %s: the parent of %v is not in it", s.Trace(), way[i])
			}
			s = parent
		}
		if s.Parent() != "" {
			t.Fatalf("trace %s: its root has the parent %s", s.Trace(), s.Parent())
		}
	}
	if crossings == 0 {
		t.Fatal("no trace crosses the three services")
	}
}

// checkLogs checks that every log line of a request is on a span of the same service. Each placed order must have one line of each service
// on the server span of that service.
func checkLogs(t *testing.T, spans []testenv.Span, records []testenv.LogRecord) {
	t.Helper()
	owner := make(map[string]testenv.Span, len(spans))
	for _, s := range spans {
		owner[s.Trace()+s.ID()] = s
	}
	lines := make(map[string]int) // by trace and text
	for _, r := range records {
		if r.Trace() == "" {
			continue
		}
		s, ok := owner[r.Trace()+r.Span()]
		if !ok || s.Service() != r.Service() {
			t.Fatalf("%s logged %q on span %s of trace %s, which it does not have", r.Service(), r.Text(), r.Span(), r.Trace())
		}
		if s.Kind == tracepb.Span_SPAN_KIND_SERVER {
			lines[r.Trace()+r.Text()]++
		}
	}
	placed := 0
	for key := range lines {
		trace, ok := strings.CutSuffix(key, "order placed")
		if !ok {
			continue
		}
		placed++
		if lines[trace+"order taken"] != 1 || lines[trace+"stock reserved"] != 1 || lines[trace+"card charged"] != 1 {
			t.Errorf("trace %s: the order was placed, but its other lines are missing", trace)
		}
	}
	if placed == 0 {
		t.Fatal("no order was logged as placed")
	}
}

// checkMetrics checks the metrics of each service. Their exemplars must point to spans in the collector.
func checkMetrics(t *testing.T, c *testenv.CollectorHandle) {
	t.Helper()
	held := make(map[string]bool)
	for _, s := range c.Spans() {
		held[s.Service()+s.Trace()+s.ID()] = true
	}
	for service, name := range map[string]string{
		"storefront": "http.server.request.duration", "orders": "rpc.server.call.duration", "payments": "http.server.request.duration",
	} {
		exemplars := 0
		for _, m := range c.MetricsNamed(name) {
			if m.Service() != service {
				continue
			}
			for _, p := range m.GetHistogram().GetDataPoints() {
				for _, e := range p.GetExemplars() {
					exemplars++
					if id := hex.EncodeToString(e.GetTraceId()) + hex.EncodeToString(e.GetSpanId()); !held[service+id] {
						t.Errorf("%s %s: an exemplar points to %s, which the collector does not hold", service, name, id)
					}
				}
			}
		}
		if exemplars == 0 {
			t.Errorf("%s %s: no exemplars", service, name)
		}
	}
	checkOrders(t, c)
}

// checkOrders checks that the metric shop.orders counts as many placed orders as the log shows.
func checkOrders(t *testing.T, c *testenv.CollectorHandle) {
	t.Helper()
	logged := int64(0)
	for _, r := range c.LogRecords() {
		if r.Text() == "order placed" {
			logged++
		}
	}
	counted := int64(0)
	for _, m := range c.MetricsNamed("shop.orders") { // the last export counts
		for _, p := range m.GetSum().GetDataPoints() {
			if testenv.Attribute(p.GetAttributes(), "result") == "placed" {
				counted = p.GetAsInt()
			}
		}
	}
	if counted != logged || counted == 0 {
		t.Errorf("%d orders are counted as placed, %d are logged", counted, logged)
	}
}

// count returns how many of the items come from a service.
func count[T interface{ Service() string }](all []T, service string) (n int) {
	for _, one := range all {
		if one.Service() == service {
			n++
		}
	}
	return n
}

func countPoints(all []*metricspb.ResourceMetrics, service string) (n int) {
	for _, rm := range all {
		if testenv.Attribute(rm.GetResource().GetAttributes(), "service.name") != service {
			continue
		}
		for _, sm := range rm.GetScopeMetrics() {
			for _, m := range sm.GetMetrics() {
				n += len(m.GetGauge().GetDataPoints()) + len(m.GetSum().GetDataPoints()) + len(m.GetHistogram().GetDataPoints()) +
					len(m.GetExponentialHistogram().GetDataPoints()) + len(m.GetSummary().GetDataPoints())
			}
		}
	}
	return n
}

// roots counts the traces that begin with a customer's request. The storefront's check of its engine at start-up is a trace of its own.
func roots(spans []testenv.Span) (n int) {
	for _, s := range spans {
		if s.Parent() == "" && s.Kind == tracepb.Span_SPAN_KIND_SERVER {
			n++
		}
	}
	return n
}
