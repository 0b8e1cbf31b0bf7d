package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/go-os/go-os/exporters"
	"github.com/go-os/go-os/telemetry"
	oslog "github.com/go-os/go-os/telemetry/log"
	"github.com/go-os/go-os/telemetry/metrics"
	"github.com/go-os/go-os/telemetry/trace"
)

//go:generate go run . -file ../../../docs/telemetry.md

// situations are the packages that emit, each with a function that runs it through the situations that its telemetry distinguishes.
var situations = []struct {
	pkg string
	run func(context.Context, *record) error
}{
	{"middleware/oshttp", runHTTP},
	{"middleware/osgrpc", runGRPC},
	{"telemetry/trace", runTrace},
	{"telemetry/log", runLog},
	{"telemetry/metrics", runMetrics},
	{"exporters", runExporters},
	{"state/kv", runKV},
	{"state/kv/near", runNear},
	{"state/sync", runSync},
	{"control/config", runConfig},
	{"control/config/versions", runVersions},
	{"control/discovery", runDiscovery},
	{"control/discovery/readnode", runReadNode},
	{"control/router/shed", runShed},
	{"control/router", runRouter},
}

// errDemo is the failure of the situations.
var errDemo = errors.New("out of stock")

// runTrace ends spans with success, with an error and with a panic. It also changes the sampler, and keeps a trace.
func runTrace(ctx context.Context, r *record) error {
	p := r.providers()
	tracer := trace.New("example.com/shop", p)
	well := func(context.Context) error { return nil }
	badly := func(context.Context) error { return errDemo }
	_ = tracer.Do(ctx, "application span", well, attribute.String("app.key", "value"))
	_ = tracer.Do(ctx, "application span", badly, attribute.String("app.key", "value"))
	func() {
		defer func() { _ = recover() }()
		_ = tracer.Do(ctx, "application span", func(context.Context) error { panic("bug") })
	}()

	sampler := trace.NewSampler(nil)
	sampler.Observe(p)
	if err := sampler.SetRatio(0.5, 0); err != nil {
		return err
	}

	keeper := trace.NewKeeper(spanTap{r}, &trace.KeepOptions{Telemetry: p})
	kept := p
	kept.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSampler(keeper.Sampler(sdktrace.NeverSample())), sdktrace.WithSpanProcessor(keeper))
	_ = trace.New("example.com/shop", kept).Do(ctx, "span of a kept trace", badly)
	if err := r.collect(ctx); err != nil { // while the keeper still reports
		return err
	}
	return keeper.Shutdown(ctx)
}

// runLog drops records in a sink and by sampling, and changes a level for a while and for good.
func runLog(ctx context.Context, r *record) error {
	p := r.providers()
	sink := oslog.Async(slog.NewTextHandler(io.Discard, nil), &oslog.AsyncOptions{Name: "file", Telemetry: p})
	if err := sink.Shutdown(ctx); err != nil {
		return err
	}
	levels := oslog.NewLevels(slog.LevelInfo)
	levels.Observe(p)
	sampling := &oslog.Sampling{First: 1, Thereafter: 1000}
	logger := oslog.New(&oslog.Options{Levels: levels, Sampling: sampling, Telemetry: p}, sink)
	for range 2 {
		logger.InfoContext(ctx, "too late")
	}
	return errors.Join(levels.Set("orders", slog.LevelDebug, time.Minute), levels.Set("orders", slog.LevelWarn, 0))
}

// runMetrics uses a name on the page that the program's own registry has too. The page's own metrics are not OpenTelemetry instruments:
// they are on the page only, under their Prometheus names.
func runMetrics(ctx context.Context, r *record) error {
	theirs := prometheus.NewRegistry()
	theirs.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "jobs_total"}))
	page, err := metrics.NewPrometheus(&metrics.PrometheusOptions{Existing: theirs, ErrorHandler: func(error) {}})
	if err != nil {
		return err
	}
	jobs, err := sdkmetric.NewMeterProvider(sdkmetric.WithReader(page.Reader())).Meter("teledoc").Int64Counter("jobs")
	if err != nil {
		return err
	}
	jobs.Add(ctx, 1)
	families, err := page.Gatherer().Gather()
	if err != nil {
		return err
	}
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), "goos_") {
			continue
		}
		for _, m := range family.GetMetric() {
			var set []attribute.KeyValue
			for _, label := range m.GetLabel() {
				set = append(set, attribute.String(label.GetName(), label.GetValue()))
			}
			r.note(r.metrics, row{family.GetName(), strings.ToLower(family.GetType().String()), "", family.GetHelp()}, set)
		}
	}
	return nil
}

// runExporters exports each signal through queues that overflow. The peer accepts the first requests and refuses the later ones.
func runExporters(ctx context.Context, r *record) error {
	var refusing atomic.Bool
	url, stop, err := serve(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		if refusing.Load() {
			w.WriteHeader(http.StatusBadRequest)
		}
	}))
	if err != nil {
		return err
	}
	defer stop()
	pipeline, err := exporters.Setup(ctx, &exporters.Options{
		ServiceName: "teledoc", Endpoint: url, LogWriter: io.Discard, Environ: []string{}, KeepGlobals: true,
		MetricReaders: []sdkmetric.Reader{r.reader}, QueueSize: 1,
	})
	if err != nil {
		return err
	}
	for range 2 {
		emit(ctx, pipeline.Providers())
		_ = pipeline.ForceFlush(ctx) // the second call reports the refusal, which is intended
		refusing.Store(true)
	}
	if err := r.collect(ctx); err != nil {
		return err
	}
	_ = pipeline.Shutdown(ctx)
	return nil
}

// emit emits more than a queue of one can hold during a request.
func emit(ctx context.Context, p telemetry.Providers) {
	for range 1000 {
		ctx, span := p.Tracer("teledoc").Start(ctx, "work")
		p.Slog().InfoContext(ctx, "working")
		span.End()
	}
}

// serve starts an HTTP server on a free loopback port.
func serve(h http.Handler) (url string, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	go func() { _ = server.Serve(listener) }()
	return "http://" + listener.Addr().String(), func() { _ = server.Close() }, nil
}

func post(ctx context.Context, client *http.Client, url, body string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return
	}
	if resp, err := client.Do(req); err == nil {
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
}
