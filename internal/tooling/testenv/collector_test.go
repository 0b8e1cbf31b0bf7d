package testenv_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/go-os/go-os/internal/tooling/testenv"
)

// tracing returns a provider that exports each span as it ends, without retries, and reports every failed export to failed.
func tracing(t *testing.T, client otlptrace.Client, failed func(error)) *sdktrace.TracerProvider {
	t.Helper()
	exporter, err := otlptrace.New(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithSyncer(reporting{exporter, failed}),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", "till"))),
	)
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	return provider
}

type reporting struct {
	sdktrace.SpanExporter
	failed func(error)
}

func (r reporting) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := r.SpanExporter.ExportSpans(ctx, spans)
	if err != nil {
		r.failed(err)
	}
	return nil
}

func overGRPC(c *testenv.CollectorHandle) otlptrace.Client {
	return otlptracegrpc.NewClient(otlptracegrpc.WithEndpoint(c.GRPCEndpoint()), otlptracegrpc.WithInsecure(),
		otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{}), otlptracegrpc.WithTimeout(time.Second))
}

func overHTTP(c *testenv.CollectorHandle) otlptrace.Client {
	return otlptracehttp.NewClient(otlptracehttp.WithEndpointURL(c.HTTPEndpoint()+"/v1/traces"),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{}), otlptracehttp.WithTimeout(time.Second))
}

func TestCollectorHoldsEverySignal(t *testing.T) {
	t.Parallel()
	collector := testenv.Collector(t, nil)
	ctx := t.Context()
	for name, client := range map[string]otlptrace.Client{"grpc": overGRPC(collector), "http": overHTTP(collector)} {
		tracer := tracing(t, client, func(err error) { t.Errorf("%s: %v", name, err) }).Tracer("scope")
		parentCtx, parent := tracer.Start(ctx, name)
		_, child := tracer.Start(parentCtx, "child of "+name)
		child.SetAttributes(attribute.Int("n", 7), attribute.Bool("yes", true), attribute.Float64("half", 0.5))
		child.End()
		parent.End()
	}
	spans := collector.WaitSpans(4)
	if len(spans) != 4 {
		t.Fatalf("%d spans, want 4", len(spans))
	}
	for i := 0; i < 4; i += 2 {
		child, parent := spans[i], spans[i+1]
		if child.Name != "child of "+parent.Name || child.Parent() != parent.ID() || child.Trace() != parent.Trace() || parent.Parent() != "" {
			t.Errorf("%v is not the child of %v", child, parent)
		}
		if got := child.Attr("n") + child.Attr("yes") + child.Attr("half") + child.Attr("none"); got != "7true0.5" {
			t.Errorf("attributes read as %q", got)
		}
		if child.Service() != "till" || child.Scope.GetName() != "scope" || len(child.Trace()) != 32 || len(child.ID()) != 16 {
			t.Errorf("origin or ids are wrong: %v", child)
		}
	}
	metrics, err := otlpmetricgrpc.New(ctx, otlpmetricgrpc.WithEndpoint(collector.GRPCEndpoint()), otlpmetricgrpc.WithInsecure())
	if err != nil {
		t.Fatal(err)
	}
	meters := metric.NewMeterProvider(metric.WithReader(metric.NewPeriodicReader(metrics)))
	counter, err := meters.Meter("scope").Int64Counter("sold")
	if err != nil {
		t.Fatal(err)
	}
	counter.Add(ctx, 3)
	if err := meters.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if got := collector.WaitMetric("sold").GetSum().GetDataPoints()[0].GetAsInt(); got != 3 {
		t.Errorf("sold = %d, want 3", got)
	}
	records, err := otlploghttp.New(ctx, otlploghttp.WithEndpointURL(collector.HTTPEndpoint()+"/v1/logs"))
	if err != nil {
		t.Fatal(err)
	}
	logs := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewSimpleProcessor(records)))
	var record log.Record
	record.SetEventName("till.opened")
	record.SetBody(attribute.StringValue("good morning"))
	record.AddAttributes(attribute.String("by", "me"))
	logs.Logger("scope").Emit(ctx, record)
	if err := logs.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if got := collector.WaitLogRecords(1)[0]; got.Text() != "good morning" || got.Attr("by") != "me" || got.EventName != "till.opened" || got.Trace() != "" {
		t.Errorf("log record is %v", got)
	}
}

// TestCollectorKeepsWhatItAcknowledgedOverKillAndRestart: an acknowledged span must be held whatever happens to the collector. Its ports
// must be the same after a restart.
func TestCollectorKeepsWhatItAcknowledgedOverKillAndRestart(t *testing.T) {
	t.Parallel()
	collector := testenv.Collector(t, nil)
	endpoint, pid := collector.GRPCEndpoint(), collector.Pid()
	failures := 0
	tracer := tracing(t, overGRPC(collector), func(error) { failures++ }).Tracer("")
	const rounds, each = 3, 50
	sent := 0
	export := func() {
		for range each {
			_, span := tracer.Start(t.Context(), fmt.Sprint(sent))
			span.End()
			sent++
		}
	}
	for range rounds {
		export()
		collector.Kill()
		if collector.Running() {
			t.Fatal("runs after Kill")
		}
		collector.Restart()
	}
	export()
	collector.Restart()
	if got := len(collector.Spans()); got != sent-failures {
		t.Errorf("holds %d spans, want %d: %d sent, of which %d were refused", got, sent-failures, sent, failures)
	}
	if failures > rounds*each {
		t.Errorf("%d of %d spans were refused by a collector that runs", failures, sent)
	}
	if collector.GRPCEndpoint() != endpoint || collector.Pid() == pid {
		t.Errorf("endpoint %s → %s, pid %d → %d: want the same port and another process", endpoint, collector.GRPCEndpoint(), pid, collector.Pid())
	}
}

func TestCollectorPausedDoesNotAnswerUntilResumed(t *testing.T) {
	t.Parallel()
	collector := testenv.Collector(t, nil)
	var failure error
	tracer := tracing(t, overHTTP(collector), func(err error) { failure = err }).Tracer("")
	send := func() error {
		failure = nil
		_, span := tracer.Start(t.Context(), "span")
		span.End()
		return failure
	}
	collector.Pause()
	if err := send(); !errors.Is(err, context.DeadlineExceeded) && (err == nil || !strings.Contains(err.Error(), "timeout")) {
		t.Errorf("export to a paused collector: %v, want a timeout", err)
	}
	collector.Resume()
	testenv.Eventually(t, 20*time.Second, "an export after Resume", send)
	collector.WaitSpans(1)
	collector.Pause()
	collector.Stop() // must not wait for a process that cannot receive the signal
	if collector.Running() {
		t.Error("runs after Stop")
	}
}

func TestCollectorMergesExtraConfiguration(t *testing.T) {
	t.Parallel()
	collector := testenv.Collector(t, &testenv.CollectorOptions{Config: `
exporters: {debug: {verbosity: detailed}}
service: {pipelines: {traces: {exporters: [file/traces, debug]}}}
`})
	tracer := tracing(t, overGRPC(collector), func(err error) { t.Error(err) }).Tracer("")
	_, span := tracer.Start(t.Context(), "also-printed")
	span.End()
	collector.WaitSpans(1)
	collector.WaitFor("the span in the debug output", func() error {
		if !strings.Contains(collector.Output(), "also-printed") {
			return errors.New("not there yet")
		}
		return nil
	})
}
