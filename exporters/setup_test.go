package exporters

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	otellog "go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/go-os/go-os/internal/instrument"
	"github.com/go-os/go-os/telemetry/log"
	gotrace "github.com/go-os/go-os/telemetry/trace"
)

// TestDefaults runs a program without configuration: a readable log with trace ids, a page, and no network.
func TestDefaults(t *testing.T) {
	var dialed []string
	stop := watchDials(t, &dialed)
	defer stop()
	p, logged := setup(t, Options{})
	ctx, span := p.Providers().Tracer("shop").Start(t.Context(), "buy")
	p.Logger().InfoContext(ctx, "bought", "what", "tea")
	event := instrument.NewEventOrLine(p.Providers(), "shop/breaker", "shop.breaker.opened", otellog.SeverityWarn, "breaker opened")
	event.Emit(ctx, attribute.String("reason", "slow"))
	span.End()
	id := span.SpanContext().TraceID().String()
	if lines := logged.lines("bought", "what=tea", "trace_id="+id); len(lines) != 1 {
		t.Errorf("the log has no line with the trace: %s", logged)
	}
	if lines := logged.lines(`msg="breaker opened"`, "level=WARN", "event=shop.breaker.opened", "reason=slow", "logger=shop/breaker", "trace_id="+id); len(lines) != 1 {
		t.Errorf("the log has no line about the event: %s", logged)
	}
	rec := httptest.NewRecorder()
	p.MetricsHandler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{"go_goroutine_count", `service_name="unknown_service:exporters.test"`, "service_instance_id=", "telemetry_sdk_language=\"go\"", "process_pid="} {
		if !strings.Contains(rec.Body.String(), want) {
			t.Errorf("the page has no %s", want)
		}
	}
	if strings.Contains(rec.Body.String(), "process_command") {
		t.Error("the page tells the command line")
	}
	start := time.Now()
	if err := p.Shutdown(t.Context()); err != nil || time.Since(start) > time.Second {
		t.Errorf("shutdown: %v after %v", err, time.Since(start))
	}
	if h := p.Health(); h != (Health{}) {
		t.Errorf("%+v, want nothing without a destination", h)
	}
	if len(dialed) > 0 {
		t.Errorf("the network was used: %v", dialed)
	}
}

// watchDials records every name that is looked up through the default resolver, which the exporters must use, and
// listens at their default ports.
func watchDials(t *testing.T, dialed *[]string) (stop func()) {
	t.Helper()
	var listeners []net.Listener
	for _, addr := range []string{"127.0.0.1:4317", "127.0.0.1:4318"} {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Skipf("needs %s to see that nobody connects: %v", addr, err)
		}
		listeners = append(listeners, l)
	}
	return func() {
		for _, l := range listeners {
			_ = l.(*net.TCPListener).SetDeadline(time.Now().Add(10 * time.Millisecond))
			if c, err := l.Accept(); err == nil {
				*dialed = append(*dialed, c.LocalAddr().String())
				_ = c.Close()
			}
			_ = l.Close()
		}
	}
}

func TestSetupInstallsTheGlobals(t *testing.T) {
	tp, mp, lp, pr, logger, handler := otel.GetTracerProvider(), otel.GetMeterProvider(), otel.GetLoggerProvider(), otel.GetTextMapPropagator(), slog.Default(), otel.GetErrorHandler()
	defer func() {
		otel.SetTracerProvider(tp)
		otel.SetMeterProvider(mp)
		otel.SetLoggerProvider(lp)
		otel.SetTextMapPropagator(pr)
		otel.SetErrorHandler(handler)
		slog.SetDefault(logger)
	}()
	out := &logBuffer{}
	p, err := Setup(t.Context(), &Options{LogWriter: out, Environ: []string{"OTEL_LOG_LEVEL=info"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Shutdown(context.Background()) }()
	if otel.GetTracerProvider() != p.Providers().TracerProvider || otel.GetMeterProvider() != p.Providers().MeterProvider ||
		otel.GetLoggerProvider() != p.Providers().LoggerProvider || slog.Default() != p.Logger() {
		t.Error("a global is not that of the pipeline")
	}
	for range 100 {
		otel.Handle(errors.New("something small"))
	}
	if lines := out.lines("telemetry error", "something small"); len(lines) != 1 {
		t.Errorf("100 errors made %d lines", len(lines))
	}
	if sdktrace.NewTracerProvider(); len(out.lines("TracerProvider created")) != 1 {
		t.Errorf("OTEL_LOG_LEVEL=info does not show what the SDK does: %s", out)
	}
}

func TestResource(t *testing.T) {
	for _, c := range []struct {
		name string
		o    Options
		env  []string
		want map[string]string
	}{
		{"options", Options{ServiceName: "a", ServiceVersion: "1", ServiceNamespace: "n", InstanceID: "i", Attributes: []attribute.KeyValue{attribute.String("team", "red")}}, nil,
			map[string]string{"service.name": "a", "service.version": "1", "service.namespace": "n", "service.instance.id": "i", "team": "red", "telemetry.sdk.name": "opentelemetry"}},
		{"environment first", Options{ServiceName: "a", Attributes: []attribute.KeyValue{attribute.String("team", "red")}},
			[]string{"OTEL_RESOURCE_ATTRIBUTES=team=blue,service.name=b", "OTEL_SERVICE_NAME=c"}, map[string]string{"service.name": "c", "team": "blue"}},
		{"attributes alone", Options{ServiceName: "a"}, []string{"OTEL_RESOURCE_ATTRIBUTES=service.name=b"}, map[string]string{"service.name": "b"}},
		{"detectors that fail", Options{ServiceName: "a", Detectors: []resource.Detector{broken{}, old{}}}, nil,
			map[string]string{"service.name": "a", "old": "yes", "telemetry.sdk.name": "opentelemetry"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			peer := startPeer(t)
			c.o.Endpoint, c.o.Environ = peer.endpoint(HTTP), append([]string{}, c.env...)
			p, logged := setup(t, c.o)
			emit(t, p, 1)
			_ = p.Shutdown(t.Context())
			for key, want := range c.want {
				if got := peer.resourceAttr(key); got != want {
					t.Errorf("%s is %q, want %q", key, got, want)
				}
			}
			if len(c.o.Detectors) > 0 && len(logged.lines("WARN", "resource", "out of order")) != 1 {
				t.Errorf("no warning about the detector: %s", logged)
			}
		})
	}
}

// broken is a detector that finds nothing; old is one of another version of the conventions.
type broken struct{}

func (broken) Detect(context.Context) (*resource.Resource, error) {
	return nil, errors.New("out of order")
}

type old struct{}

func (old) Detect(context.Context) (*resource.Resource, error) {
	return resource.NewWithAttributes("https://opentelemetry.io/schemas/1.4.0", attribute.String("old", "yes")), nil
}

// TestRegistryOfTheProgram expects the registry on the page, and over OTLP if requested.
func TestRegistryOfTheProgram(t *testing.T) {
	registry := prometheus.NewRegistry()
	theirs := prometheus.NewCounter(prometheus.CounterOpts{Name: "theirs_total"})
	registry.MustRegister(theirs)
	theirs.Add(7)
	peer := startPeer(t)
	p, _ := setup(t, Options{Gatherer: registry, BridgeRegistry: true, Endpoint: peer.endpoint(GRPC), Protocol: GRPC})
	rec := httptest.NewRecorder()
	p.MetricsHandler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if !strings.Contains(rec.Body.String(), "theirs_total 7") || !strings.Contains(rec.Body.String(), "go_goroutine_count") {
		t.Errorf("the page has not both: %s", rec.Body)
	}
	drained(t, p, 5*time.Second, peer)
	found := false
	for _, rm := range peer.metrics {
		for _, sm := range rm.ScopeMetrics {
			for _, m := range sm.Metrics {
				found = found || m.Name == "theirs_total" && m.GetSum().DataPoints[0].GetAsDouble() == 7
			}
		}
	}
	if !found {
		t.Error("theirs_total was not sent")
	}
}

func TestKeepExportsWhatTheSamplerDropped(t *testing.T) {
	peer := startPeer(t)
	p, _ := setup(t, Options{Endpoint: peer.endpoint(HTTP), Sampler: sdktrace.NeverSample(), KeepTraces: &gotrace.KeepOptions{}})
	tracer := p.Providers().Tracer("t")
	for i := range 10 {
		ctx, root := tracer.Start(t.Context(), "root")
		_, child := tracer.Start(ctx, "child")
		if i == 3 {
			child.SetStatus(codes.Error, "bad")
		}
		child.End()
		root.End()
	}
	h := drained(t, p, 5*time.Second, peer)
	if h.Traces.Exported != 2 {
		t.Errorf("%+v, want the two spans of the trace that failed", h.Traces)
	}
}

func TestSamplerChangesAtRunTime(t *testing.T) {
	peer := startPeer(t)
	p, _ := setup(t, Options{Endpoint: peer.endpoint(HTTP)})
	emit(t, p, 3)
	p.Sampler().Set(sdktrace.NeverSample(), 0)
	emit(t, p, 5)
	if h := drained(t, p, 5*time.Second, peer); h.Traces.Emitted != 3 || h.Logs.Emitted < 8 {
		t.Errorf("%+v", h)
	}
}

func TestSpansRecordedButNotSampledAreNotExported(t *testing.T) {
	peer := startPeer(t)
	p, _ := setup(t, Options{Endpoint: peer.endpoint(HTTP), Sampler: sdktrace.AlwaysRecord(sdktrace.NeverSample())})
	emit(t, p, 3)
	if h := drained(t, p, 5*time.Second, peer); h.Traces.Emitted != 0 || h.Logs.Exported != 3 {
		t.Errorf("%+v", h)
	}
}

func TestExtrasOfTheProgram(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	sink := &logBuffer{}
	p, _ := setup(t, Options{
		SpanProcessors: []sdktrace.SpanProcessor{spans}, EventsOnSpans: true,
		Sinks: []slog.Handler{log.JSON(sink, nil)}, LogWriter: io.Discard,
	})
	ctx, span := p.Providers().Tracer("t").Start(t.Context(), "a")
	instrument.NewEvent(p.Providers().EventLogger("t"), "t.happened", otellog.SeverityInfo).Emit(ctx)
	p.Logger().InfoContext(ctx, "said")
	span.End()
	if ended := spans.Ended(); len(ended) != 1 || len(ended[0].Events()) != 1 || ended[0].Events()[0].Name != "t.happened" {
		t.Errorf("%+v", ended)
	}
	if len(sink.lines(`"msg":"said"`)) != 1 || len(sink.lines(`"msg":"t.happened"`)) != 1 {
		t.Errorf("the sink has %s", sink)
	}
	if err := p.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestAfterShutdown emits telemetry too late: no panic, and it is counted.
func TestAfterShutdown(t *testing.T) {
	peer := startPeer(t)
	p, _ := setup(t, Options{Endpoint: peer.endpoint(HTTP)})
	tracer := p.Providers().Tracer("t")
	_, open := tracer.Start(t.Context(), "open")
	drained(t, p, 5*time.Second, peer)
	open.End()
	emit(t, p, 4)
	h := p.Health()
	balanced(t, Traces, h.Traces)
	if h.Traces.Dropped != 5 || h.Logs.Dropped != 4 {
		t.Errorf("%+v, want what came late among the dropped", h)
	}
	if err := errors.Join(p.Shutdown(t.Context()), p.ForceFlush(t.Context())); err != nil {
		t.Errorf("again: %v", err)
	}
}

func TestShutdownGivesEachSignalItsOwnTime(t *testing.T) {
	peer := startPeer(t)
	peer.answering(func(signal Signal, _ int) answer {
		if signal == Traces {
			return answer{delay: 3 * time.Second}
		}
		return answer{}
	})
	p, _ := setup(t, Options{Endpoint: peer.endpoint(HTTP), ShutdownTimeout: time.Second})
	emit(t, p, 10)
	start := time.Now()
	err := p.Shutdown(t.Context())
	if took := time.Since(start); took > 2500*time.Millisecond {
		t.Errorf("shutdown took %v", took)
	}
	if err == nil || !strings.Contains(err.Error(), "traces: 10 spans") || strings.Contains(err.Error(), "logs:") || strings.Contains(err.Error(), "metrics:") {
		t.Errorf("want an error about the traces alone, got %v", err)
	}
	if h := p.Health(); h.Logs.Exported != 10 || h.Traces.Dropped != 10 || h.Metrics.Dropped != 0 {
		t.Errorf("%+v", h)
	}
}

// TestOTLPRecordsCarryTheTrace checks that log records and events arrive with the ids of their span.
func TestOTLPRecordsCarryTheTrace(t *testing.T) {
	peer := startPeer(t)
	p, logged := setup(t, Options{Endpoint: peer.endpoint(HTTP)})
	ctx, span := p.Providers().Tracer("t").Start(t.Context(), "a")
	p.Logger().InfoContext(ctx, "said", "password", "hunter2")
	instrument.NewEvent(p.Providers().EventLogger("t"), "t.happened", otellog.SeverityInfo).Emit(ctx)
	span.End()
	drained(t, p, 5*time.Second, peer)
	if n := strings.Count(logged.String(), "\n"); n != 2 {
		t.Errorf("the record and the event make %d lines on the readable log: %s", n, logged)
	}
	seen := 0
	for _, rl := range peer.records {
		for _, sl := range rl.ScopeLogs {
			for _, r := range sl.LogRecords {
				if trace.TraceID(r.TraceId) != span.SpanContext().TraceID() {
					t.Errorf("%v has another trace", r)
				}
				if strings.Contains(r.String(), "hunter2") {
					t.Errorf("%v is not redacted", r)
				}
				if r.EventName == "t.happened" || r.Body.GetStringValue() == "said" {
					seen++
				}
			}
		}
	}
	if seen != 2 {
		t.Errorf("%d of the record and the event arrived", seen)
	}
}

// TestConsole sends all signals to the console, with the same accounts as any destination.
func TestConsole(t *testing.T) {
	console := &logBuffer{}
	p, _ := setup(t, Options{Console: console, Environ: []string{
		"OTEL_TRACES_EXPORTER=console", "OTEL_METRICS_EXPORTER=console", "OTEL_LOGS_EXPORTER=console",
	}})
	emit(t, p, 3)
	h := drained(t, p, 5*time.Second, nil)
	if h.Traces.Exported != 3 || h.Logs.Exported != 3 || h.Metrics.Exported == 0 {
		t.Errorf("%+v", h)
	}
	if len(console.lines(`"Name":"work"`)) != 3 || len(console.lines(`"Value":"worked"`)) != 3 || len(console.lines(`"Name":"test.things"`)) != 1 {
		t.Errorf("the console has %s", console)
	}
	rec := httptest.NewRecorder()
	p.MetricsHandler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if strings.Contains(rec.Body.String(), "test_things") {
		t.Error("the page is served although OTEL_METRICS_EXPORTER does not name it")
	}
}
