package metrics_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/go-os/go-os/telemetry"
	"github.com/go-os/go-os/telemetry/metrics"
)

// Order holds the labels of order metrics.
type Order struct {
	Country string `metric:"shop.country"`
	Express bool   `metric:"shop.express"`
	Error   string `metric:"error.type,omitempty"`
}

// scope is the import path of the package that measures.
const scope = "example.com/shop"

func ExampleNewCounter() {
	p, reader := provider()
	orders, err := metrics.NewCounter[Order](scope, p, "shop.orders", &metrics.InstrumentOptions{
		Unit:        "{order}",
		Description: "Orders placed.",
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	ctx := context.Background()
	orders.Add(ctx, 2, Order{Country: "PT"})
	orders.Add(ctx, 1, Order{Country: "PT", Express: true, Error: "timeout"})

	var collected metricdata.ResourceMetrics
	_ = reader.Collect(ctx, &collected)
	for _, point := range collected.ScopeMetrics[0].Metrics[0].Data.(metricdata.Sum[int64]).DataPoints {
		fmt.Println(point.Value, point.Attributes.Encoded(attribute.DefaultEncoder()))
	}
	// Unordered output:
	// 2 shop.country=PT,shop.express=false
	// 1 error.type=timeout,shop.country=PT,shop.express=true
}

// An invalid label is found when the instrument is created, not when it measures.
func ExampleNewCounter_wrongLabels() {
	type badOrder struct {
		Country string `metric:"shop.country"`
		Price   float64
	}
	_, err := metrics.NewCounter[badOrder](scope, telemetry.Off(), "shop.orders", nil)
	fmt.Println(err)
	// Output:
	// telemetry/metrics: counter "shop.orders": label metrics_test.badOrder.Price has no `metric:"key"` tag
}

func ExampleNewUpDownCounter() {
	p, reader := provider()
	running, err := metrics.NewUpDownCounter[struct{}](scope, p, "shop.checkouts.running", nil)
	if err != nil {
		fmt.Println(err)
		return
	}

	ctx := context.Background()
	running.Add(ctx, 1, struct{}{})
	running.Add(ctx, 1, struct{}{})
	running.Add(ctx, -1, struct{}{})

	var collected metricdata.ResourceMetrics
	_ = reader.Collect(ctx, &collected)
	fmt.Println(collected.ScopeMetrics[0].Metrics[0].Data.(metricdata.Sum[int64]).DataPoints[0].Value)
	// Output: 1
}

func ExampleNewGauge() {
	p, reader := provider()
	type cooler struct {
		Room string `metric:"room"`
	}
	temperature, err := metrics.NewGauge[cooler](scope, p, "shop.cooler.temperature", &metrics.InstrumentOptions{Unit: "Cel"})
	if err != nil {
		fmt.Println(err)
		return
	}

	ctx := context.Background()
	temperature.Record(ctx, 4.5, cooler{Room: "north"})
	temperature.Record(ctx, 5.0, cooler{Room: "north"})

	var collected metricdata.ResourceMetrics
	_ = reader.Collect(ctx, &collected)
	fmt.Println(collected.ScopeMetrics[0].Metrics[0].Data.(metricdata.Gauge[float64]).DataPoints[0].Value)
	// Output: 5
}

func ExampleNewHistogram() {
	p, reader := provider()
	duration, err := metrics.NewHistogram[Order](scope, p, "shop.checkout.duration", &metrics.InstrumentOptions{
		Unit:    "s",
		Buckets: []float64{0.1, 1, 10},
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	ctx := context.Background()
	duration.Record(ctx, 0.05, Order{Country: "PT"})
	duration.Record(ctx, 0.5, Order{Country: "PT"})

	var collected metricdata.ResourceMetrics
	_ = reader.Collect(ctx, &collected)
	point := collected.ScopeMetrics[0].Metrics[0].Data.(metricdata.Histogram[float64]).DataPoints[0]
	fmt.Println(point.Count, point.BucketCounts)
	// Output: 2 [1 1 0 0]
}

// A program with a Prometheus registry adds OpenTelemetry. Both are on one page, although a name collides.
func ExampleNewPrometheus() {
	registry := prometheus.NewRegistry()
	jobs := prometheus.NewGauge(prometheus.GaugeOpts{Name: "jobs_total", Help: "Jobs in the queue."})
	registry.MustRegister(jobs)
	jobs.Set(12)

	page, err := metrics.NewPrometheus(&metrics.PrometheusOptions{
		Existing:        registry,
		OmitScopeLabels: true,
		OmitTargetInfo:  true,
		ErrorHandler:    func(err error) { fmt.Println(err) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	p := telemetry.Providers{MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(page.Reader()))}
	done, err := metrics.NewCounter[struct{}](scope, p, "jobs", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	done.Add(context.Background(), 3, struct{}{})

	w := httptest.NewRecorder()
	page.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for lines := bufio.NewScanner(w.Body); lines.Scan(); {
		if line := lines.Text(); strings.Contains(line, "jobs_total") && !strings.HasPrefix(line, "#") {
			fmt.Println(line)
		}
	}
	// Output:
	// telemetry/metrics: the name of "jobs_total" is taken on the page, it is served as "otel_jobs_total": rename the instrument, with a view if it is not yours
	// jobs_total 12
	// otel_jobs_total 3
}

// The same registry goes to an OpenTelemetry collector. The reader stands in for that of an OTLP exporter.
func ExampleNewBridge() {
	registry := prometheus.NewRegistry()
	jobs := prometheus.NewCounter(prometheus.CounterOpts{Name: "jobs_total", Help: "Jobs done."})
	registry.MustRegister(jobs)
	jobs.Add(12)

	reader := sdkmetric.NewManualReader(sdkmetric.WithProducer(metrics.NewBridge(registry, nil)))
	sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))

	var collected metricdata.ResourceMetrics
	_ = reader.Collect(context.Background(), &collected)
	for _, m := range collected.ScopeMetrics[0].Metrics {
		fmt.Println(m.Name, m.Data.(metricdata.Sum[float64]).DataPoints[0].Value)
	}
	// Output: jobs_total 12
}
