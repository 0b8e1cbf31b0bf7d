package metrics_test

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/go-os/go-os/telemetry/metrics"
)

// meter creates a page's MeterProvider and returns its meter.
func meter(t *testing.T, page *metrics.Prometheus) metric.Meter {
	t.Helper()
	mp := sdkmetric.NewMeterProvider(sdkmetric.WithReader(page.Reader()),
		sdkmetric.WithResource(resource.NewSchemaless(attribute.String("service.name", "shop"))))
	t.Cleanup(func() {
		if err := mp.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return mp.Meter("example.com/shop")
}

func count(t *testing.T, m metric.Meter, name string, attrs ...attribute.KeyValue) {
	t.Helper()
	c, err := m.Int64Counter(name, metric.WithDescription("Ours."))
	if err != nil {
		t.Fatal(err)
	}
	c.Add(t.Context(), 7, metric.WithAttributes(attrs...))
}

func gauge(t *testing.T, m metric.Meter, name string) {
	t.Helper()
	g, err := m.Float64Gauge(name, metric.WithDescription("Ours."))
	if err != nil {
		t.Fatal(err)
	}
	g.Record(t.Context(), 7)
}

func histogram(t *testing.T, ctx context.Context, m metric.Meter, name string) {
	t.Helper()
	h, err := m.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription("Ours."))
	if err != nil {
		t.Fatal(err)
	}
	h.Record(ctx, 7)
}

// alone returns the handler that serves a registry without go-os.
func alone(registry prometheus.Gatherer) http.Handler {
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
}

// A program instrumented with client_golang adds go-os. All of its metrics are still there, on one page with the
// OpenTelemetry ones.
func TestExistingPrometheusSetup(t *testing.T) {
	registry := prometheus.NewRegistry()
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "requests_total", Help: "Theirs."}, []string{"code"})
	queue := prometheus.NewGauge(prometheus.GaugeOpts{Name: "queue_length", Help: "Theirs."})
	latency := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "latency_seconds", Help: "Theirs."})
	size := prometheus.NewSummary(prometheus.SummaryOpts{
		Name: "size_bytes", Help: "Theirs.", Objectives: map[float64]float64{.5: .05},
	})
	registry.MustRegister(requests, queue, latency, size,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	requests.WithLabelValues("200").Add(3)
	requests.WithLabelValues("500").Inc()
	queue.Set(5)
	latency.Observe(.2)
	size.Observe(100)

	var reported problems
	alone := alone(registry)
	page := newPage(t, metrics.PrometheusOptions{Existing: registry, OpenMetrics: true, ErrorHandler: reported.handle})
	m := meter(t, page)
	count(t, m, "orders.placed")
	histogram(t, t.Context(), m, "checkout.duration")
	count(t, m, "requests")              // requests_total, with other labels
	count(t, m, "queue.length")          // queue_length_total, which OpenMetrics calls queue_length
	gauge(t, m, "latency_seconds")       // another type
	histogram(t, t.Context(), m, "size") // size_seconds: no collision
	gauge(t, m, "size.bytes.sum")        // a part of their summary

	want := slices.Sorted(maps.Keys(series(t, body(t, alone, acceptText))))
	if len(want) < 60 {
		t.Fatalf("the existing page has %d series: the Go collector is missing", len(want))
	}
	for range 3 {
		got := series(t, body(t, page.Handler(), acceptText))
		for _, id := range want {
			if _, ok := got[id]; !ok {
				t.Errorf("the series %s is lost", id)
			}
		}
		const scope = `otel_scope_name="example.com/shop",otel_scope_schema_url="",otel_scope_version=""`
		for id, value := range map[string]string{
			`requests_total{code="200"}`:                   "3",
			`requests_total{code="500"}`:                   "1",
			`queue_length`:                                 "5",
			`latency_seconds_count`:                        "1",
			`size_bytes_sum`:                               "100",
			`orders_placed_total{` + scope + `}`:           "7",
			`checkout_duration_seconds_sum{` + scope + `}`: "7",
			`otel_requests_total{` + scope + `}`:           "7",
			`otel_queue_length_total{` + scope + `}`:       "7",
			`otel_latency_seconds{` + scope + `}`:          "7",
			`size_seconds_count{` + scope + `}`:            "1",
			`otel_size_bytes_sum{` + scope + `}`:           "7",
		} {
			if got[id] != value {
				t.Errorf("%s = %q, want %s", id, got[id], value)
			}
		}
		// The Go collector has names of its own that clash in OpenMetrics; the page adds none.
		equal(t, "clashes in OpenMetrics",
			openMetrics(t, body(t, page.Handler(), acceptOpenMetrics)), openMetrics(t, body(t, alone, acceptOpenMetrics)))
	}
	reported.want(t, `"latency_seconds"`, `"queue_length_total"`, `"requests_total"`, `"size_bytes_sum"`)
	if got := page.Stats(); got != (metrics.PrometheusStats{Conflicts: 4}) {
		t.Errorf("Stats() = %+v, want 4 conflicts", got)
	}
}

// collision is an existing metric and an OpenTelemetry one that cannot both have the name.
type collision struct {
	theirs []prometheus.Collector
	ours   func(*testing.T, metric.Meter)
	opts   metrics.PrometheusOptions
	as     string // the served name of the OpenTelemetry metric
}

func collisions() map[string]collision {
	theirCounter := func(name string) prometheus.Collector {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: "Ours."})
	}
	theirGauge := func(name string) prometheus.Collector {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: "Theirs."})
	}
	theirHistogram := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "jobs_seconds", Help: "Theirs."})
	theirHistogram.Observe(1)
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "jobs_total", Help: "Ours."}, []string{"theirs"})
	vec.WithLabelValues("x").Inc()
	jobs := func(t *testing.T, m metric.Meter) { count(t, m, "jobs") }
	duration := func(t *testing.T, m metric.Meter) { histogram(t, t.Context(), m, "jobs") }
	noScope := metrics.PrometheusOptions{OmitScopeLabels: true, OmitTargetInfo: true}
	type list = []prometheus.Collector
	return map[string]collision{
		"another type":           {list{theirGauge("jobs_total")}, jobs, metrics.PrometheusOptions{}, "otel_jobs_total"},
		"another help":           {list{prometheus.NewCounter(prometheus.CounterOpts{Name: "jobs_total", Help: "Theirs."})}, jobs, noScope, "otel_jobs_total"},
		"other labels":           {list{vec}, jobs, noScope, "otel_jobs_total"},
		"the very same series":   {list{theirCounter("jobs_total")}, jobs, noScope, "otel_jobs_total"},
		"our histogram's count":  {list{theirGauge("jobs_seconds_count")}, duration, noScope, "otel_jobs_seconds"},
		"our histogram's bucket": {list{theirGauge("jobs_seconds_bucket")}, duration, noScope, "otel_jobs_seconds"},
		"their histogram's sum": {list{theirHistogram}, func(t *testing.T, m metric.Meter) { gauge(t, m, "jobs.seconds.sum") },
			noScope, "otel_jobs_seconds_sum"},
		"the same in OpenMetrics": {list{theirGauge("jobs")}, jobs, noScope, "otel_jobs_total"},
		"theirs only in OpenMetrics": {list{theirCounter("jobs_total")}, func(t *testing.T, m metric.Meter) { gauge(t, m, "jobs") },
			noScope, "otel_jobs"},
		"the same without UTF-8": {list{theirGauge("jobs.total")}, jobs, noScope, "otel_jobs_total"},
		"the other name as well": {list{theirGauge("jobs_total"), theirGauge("otel_jobs_total")}, jobs, noScope, "otel_otel_jobs_total"},
		"their target_info": {list{theirGauge("target_info")}, func(*testing.T, metric.Meter) {}, metrics.PrometheusOptions{},
			"otel_target_info"},
	}
}

func TestCollisions(t *testing.T) {
	for name, c := range collisions() {
		t.Run(name, func(t *testing.T) {
			registry := prometheus.NewRegistry()
			registry.MustRegister(c.theirs...)
			var reported problems
			c.opts.Existing, c.opts.OpenMetrics, c.opts.ErrorHandler = registry, true, reported.handle
			page := newPage(t, c.opts)
			c.ours(t, meter(t, page))
			alone := alone(registry)

			for range 3 {
				series(t, body(t, page.Handler(), acceptText))
				series(t, body(t, page.Handler(), acceptUTF8Text))
				equal(t, "clashes in OpenMetrics", openMetrics(t, body(t, page.Handler(), acceptOpenMetrics)), nil)
				c.check(t, families(t, body(t, page.Handler(), acceptProtobuf)), families(t, body(t, alone, acceptProtobuf)))
			}
			reported.want(t, `"`+c.as+`"`)
			if got := page.Stats(); got != (metrics.PrometheusStats{Conflicts: 1}) {
				t.Errorf("Stats() = %+v, want one conflict", got)
			}
		})
	}
}

// check compares a page with the existing registry served alone.
func (c collision) check(t *testing.T, page, alone map[string]string) {
	t.Helper()
	for name, family := range alone {
		if page[name] != family {
			t.Errorf("their family %s is\n%s\non the page, and alone\n%s", name, page[name], family)
		}
	}
	if page[c.as] == "" {
		t.Errorf("our metric is not there as %s, only %v", c.as, slices.Sorted(maps.Keys(page)))
	}
}

// An existing collector that fails intermittently must not lose its name to an OpenTelemetry metric in between.
func TestARenamedFamilyStaysRenamed(t *testing.T) {
	family := func() ([]*dto.MetricFamily, error) {
		name, value := "jobs_total", 1.0
		return []*dto.MetricFamily{{
			Name: &name, Type: dto.MetricType_COUNTER.Enum(),
			Metric: []*dto.Metric{{Counter: &dto.Counter{Value: &value}}},
		}}, nil
	}
	theirs := family
	page := newPage(t, metrics.PrometheusOptions{
		Existing:     prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return theirs() }),
		ErrorHandler: func(error) {},
	})
	count(t, meter(t, page), "jobs")
	for i, theirs2 := range []func() ([]*dto.MetricFamily, error){
		family,
		func() ([]*dto.MetricFamily, error) { return nil, errors.New("down") },
		family,
	} {
		theirs = theirs2
		got := families(t, body(t, page.Handler(), acceptProtobuf))
		if got["otel_jobs_total"] == "" || strings.Contains(got["jobs_total"], "otel_scope_name") {
			t.Errorf("scrape %d has %v", i, slices.Sorted(maps.Keys(got)))
		}
	}
}

// failing is a collector that fails: Describe promises a metric, Collect returns an error for it, or panics.
type failing struct{ panics bool }

func (failing) Describe(ch chan<- *prometheus.Desc) { ch <- brokenDesc() }
func (f failing) Collect(ch chan<- prometheus.Metric) {
	if f.panics {
		panic("collector is broken")
	}
	ch <- prometheus.NewInvalidMetric(brokenDesc(), errors.New("disk on fire"))
}

func brokenDesc() *prometheus.Desc { return prometheus.NewDesc("broken", "Theirs.", nil, nil) }

func TestFailuresLeaveTheRestOfThePage(t *testing.T) {
	registry := func(cs ...prometheus.Collector) prometheus.Gatherer {
		r := prometheus.NewRegistry()
		r.MustRegister(append(cs, prometheus.NewGauge(prometheus.GaugeOpts{Name: "theirs"}))...)
		return r
	}
	for name, test := range map[string]struct {
		existing prometheus.Gatherer
		theirs   bool  // can be gathered
		errors   int64 // of one scrape
		reported string
	}{
		"a collector fails":  {registry(failing{}), true, 1, "disk on fire"},
		"a collector panics": {registry(failing{panics: true}), true, 2, "collector is broken"},
		"the gatherer fails": {prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
			return nil, errors.New("no route to host")
		}), false, 1, "no route to host"},
		"the gatherer panics": {prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { panic("nil map") }), false, 1, "nil map"},
		"the registry is nil": {(*prometheus.Registry)(nil), false, 1, "nil pointer"},
	} {
		t.Run(name, func(t *testing.T) {
			var reported problems
			page := newPage(t, metrics.PrometheusOptions{Existing: test.existing, ErrorHandler: reported.handle})
			count(t, meter(t, page), "jobs")
			for range 3 {
				got := families(t, body(t, page.Handler(), acceptProtobuf))
				if got["jobs_total"] == "" {
					t.Error("our family is lost")
				}
				if (got["theirs"] != "") != test.theirs {
					t.Errorf("their good family is there: %v, want %v", got["theirs"] != "", test.theirs)
				}
			}
			reported.want(t, test.reported)
			if got := page.Stats(); got != (metrics.PrometheusStats{GatherErrors: 3 * test.errors}) {
				t.Errorf("Stats() = %+v, want %d gather errors a scrape", got, test.errors)
			}
			const counter = `goos_metrics_prometheus_problems_total{problem="gather"}`
			got, err := strconv.ParseInt(series(t, body(t, page.Handler(), acceptText))[counter], 10, 64)
			if err != nil || got < 3*test.errors || got > 4*test.errors { // with some of this scrape or without
				t.Errorf("%s = %d (%v), want %d a scrape", counter, got, err, test.errors)
			}
		})
	}
}

// A family that cannot be written affects no other.
func TestAFamilyThatCanNotBeWritten(t *testing.T) {
	var reported problems
	page := newPage(t, metrics.PrometheusOptions{ErrorHandler: reported.handle,
		Existing: prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
			return []*dto.MetricFamily{
				{Name: ptr("broken"), Type: dto.MetricType_COUNTER.Enum(), Metric: []*dto.Metric{{Gauge: &dto.Gauge{}}}},
				{Name: ptr("theirs"), Type: dto.MetricType_GAUGE.Enum(), Metric: []*dto.Metric{{Gauge: &dto.Gauge{Value: ptr(1.)}}}},
			}, nil
		})})
	count(t, meter(t, page), "jobs")
	for range 2 {
		got, _ := samples(t, body(t, page.Handler(), acceptText), "")
		if got["theirs"] != "1" || len(got) < 3 {
			t.Errorf("the rest of the page is %v", got)
		}
	}
	reported.want(t, "broken")
	if got := page.Stats(); got != (metrics.PrometheusStats{EncodeErrors: 2}) {
		t.Errorf("Stats() = %+v, want 2 encode errors", got)
	}
}

// Reported problems are remembered, which must not become a leak when each scrape fails in another way.
func TestReportsAreBounded(t *testing.T) {
	var reported problems
	text := "down"
	page := newPage(t, metrics.PrometheusOptions{ErrorHandler: reported.handle,
		Existing: prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
			text += "!"
			return nil, errors.New(text)
		})})
	meter(t, page)
	for range 200 {
		if _, err := page.Gatherer().Gather(); err == nil {
			t.Fatal("the error is lost")
		}
	}
	if got := len(reported.errs); got != 100 {
		t.Errorf("%d problems were told, want 100", got)
	}
	if got := page.Stats().GatherErrors; got != 200 {
		t.Errorf("%d problems were counted, want 200", got)
	}
}

// Without scope labels, two packages with metrics of the same name have the same series. The second is lost, and the loss
// is reported.
func TestOurOwnDuplicatesAreReported(t *testing.T) {
	var reported problems
	page := newPage(t, metrics.PrometheusOptions{OmitScopeLabels: true, ErrorHandler: reported.handle})
	mp := sdkmetric.NewMeterProvider(sdkmetric.WithReader(page.Reader()))
	count(t, mp.Meter("a"), "jobs")
	count(t, mp.Meter("b"), "jobs")
	for range 2 {
		if got := series(t, body(t, page.Handler(), acceptText))["jobs_total"]; got != "7" {
			t.Errorf("jobs_total = %q, want 7", got)
		}
	}
	reported.want(t, "collected before with the same name")

	page = newPage(t, metrics.PrometheusOptions{ErrorHandler: reported.handle})
	mp = sdkmetric.NewMeterProvider(sdkmetric.WithReader(page.Reader()))
	count(t, mp.Meter("a"), "jobs")
	count(t, mp.Meter("b"), "jobs")
	got := series(t, body(t, page.Handler(), acceptText))
	for _, scope := range []string{"a", "b"} {
		id := `jobs_total{otel_scope_name="` + scope + `",otel_scope_schema_url="",otel_scope_version=""}`
		if got[id] != "7" {
			t.Errorf("%s = %q, want 7: with scope labels nothing is lost", id, got[id])
		}
	}
}

func TestPageNegotiates(t *testing.T) {
	page := newPage(t, metrics.PrometheusOptions{})
	count(t, meter(t, page), "jobs")
	for accept, want := range map[string]string{
		"":                "text/plain; version=0.0.4",
		"*/*":             "text/plain; version=0.0.4",
		acceptText:        "text/plain; version=0.0.4",
		acceptUTF8Text:    "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8",
		acceptOpenMetrics: "application/openmetrics-text; version=1.0.0",
		acceptProtobuf:    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
	} {
		resp := fetch(t, page.Handler(), "Accept", accept)
		if got := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || !strings.HasPrefix(got, want) {
			t.Errorf("Accept %q gets %d %q, want 200 %q", accept, resp.StatusCode, got, want)
		}
	}
}

func TestPageCompresses(t *testing.T) {
	page := newPage(t, metrics.PrometheusOptions{})
	count(t, meter(t, page), "jobs")
	resp := fetch(t, page.Handler(), "Accept-Encoding", "gzip")
	if got := resp.Header.Get("Content-Encoding"); got != "gzip" {
		t.Fatalf("Content-Encoding = %q, want gzip", got)
	}
	r, err := gzip.NewReader(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil || len(series(t, string(text))) == 0 {
		t.Errorf("the page is %q (%v)", text, err)
	}
}

func TestPageHasExemplars(t *testing.T) {
	page := newPage(t, metrics.PrometheusOptions{})
	m := meter(t, page)
	ctx, span := sdktrace.NewTracerProvider().Tracer("test").Start(t.Context(), "span")
	histogram(t, ctx, m, "checkout")
	text := body(t, page.Handler(), acceptOpenMetrics)
	equal(t, "clashes in OpenMetrics", openMetrics(t, text), nil)
	exemplar := regexp.MustCompile(`checkout_seconds_bucket\{.*\} 1 # \{.*trace_id="` + span.SpanContext().TraceID().String() + `".*\} 7`)
	if !exemplar.MatchString(text) {
		t.Errorf("there is no exemplar of the trace on the page:\n%s", text)
	}
}

func TestPrometheusOptions(t *testing.T) {
	only := func(key attribute.Key) attribute.Filter { return attribute.NewAllowKeysFilter(key) }
	for name, test := range map[string]struct {
		opts metrics.PrometheusOptions
		want []string // besides the count of problems
	}{
		"default": {metrics.PrometheusOptions{}, []string{
			`jobs_done_total{otel_scope_name="example.com/shop",otel_scope_schema_url="",otel_scope_version=""}`,
			`target_info{service_name="shop"}`,
		}},
		"bare": {metrics.PrometheusOptions{OmitScopeLabels: true, OmitTargetInfo: true}, []string{`jobs_done_total`}},
		"namespace and resource": {metrics.PrometheusOptions{
			OmitScopeLabels: true, OmitTargetInfo: true, Namespace: "acme", ResourceLabels: only("service.name"),
		}, []string{`acme_jobs_done_total{service_name="shop"}`}},
		"translation": {metrics.PrometheusOptions{
			OmitScopeLabels: true, OmitTargetInfo: true, Translation: otlptranslator.NoTranslation,
		}, []string{`{"jobs.done"}`}},
	} {
		t.Run(name, func(t *testing.T) {
			page := newPage(t, test.opts)
			count(t, meter(t, page), "jobs.done")
			var got []string
			for id := range series(t, body(t, page.Handler(), acceptUTF8Text)) {
				if !strings.HasPrefix(id, "goos_") {
					got = append(got, id)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, test.want) {
				t.Errorf("the page has %q, want %q", got, test.want)
			}
		})
	}
}

func TestGathererTellsOfErrors(t *testing.T) {
	page := newPage(t, metrics.PrometheusOptions{
		Existing:     prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return nil, errors.New("down") }),
		ErrorHandler: func(error) {},
	})
	count(t, meter(t, page), "jobs")
	got, err := page.Gatherer().Gather()
	if err == nil || len(got) == 0 {
		t.Errorf("Gather() = %d families, %v; want ours and the error", len(got), err)
	}
}
