// Package opentelemetry compiles and runs the programs of docs/guides/beside-opentelemetry.md.
package opentelemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/go-os/go-os/exporters"
	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
	oslog "github.com/go-os/go-os/telemetry/log"
)

// sdk is the existing OpenTelemetry set-up of a program.
type sdk struct {
	spans  *tracetest.SpanRecorder
	reader *sdkmetric.ManualReader
	tp     *sdktrace.TracerProvider
	mp     *sdkmetric.MeterProvider
}

func existing() sdk {
	s := sdk{spans: tracetest.NewSpanRecorder(), reader: sdkmetric.NewManualReader()}
	s.tp = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(s.spans))
	s.mp = sdkmetric.NewMeterProvider(sdkmetric.WithReader(s.reader))
	return s
}

// names returns the names of the spans and metrics that reached the set-up, sorted.
func (s sdk) names() (spans, metrics []string) {
	for _, span := range s.spans.Ended() {
		spans = append(spans, span.Name())
	}
	var collected metricdata.ResourceMetrics
	if err := s.reader.Collect(context.Background(), &collected); err != nil {
		return spans, []string{err.Error()}
	}
	for _, scope := range collected.ScopeMetrics {
		for _, m := range scope.Metrics {
			metrics = append(metrics, m.Name)
		}
	}
	slices.Sort(spans)
	slices.Sort(metrics)
	return spans, metrics
}

// get requests a cart from a handler.
func get(handler http.Handler) string {
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/carts/7", nil))
	return answer.Body.String()
}

func Example_globals() {
	yours := existing()
	// What your main has today.
	otel.SetTracerProvider(yours.tp)
	otel.SetMeterProvider(yours.mp)
	otel.SetTextMapPropagator(propagation.TraceContext{})

	// What you add. Nothing is passed: these use the providers of the otel package.
	store := kv.New(memkv.New(nil), &kv.Options{Name: "carts"})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /carts/{id}", func(w http.ResponseWriter, r *http.Request) {
		item, err := store.Get(r.Context(), "cart/"+r.PathValue("id"))
		if err != nil {
			http.Error(w, "no such cart", http.StatusNotFound)
			return
		}
		fmt.Fprintf(w, "%s", item.Value)
	})
	handler := oshttp.NewHandler(mux, nil)

	get(handler)
	fmt.Println(yours.names())
	fmt.Println("one trace:", yours.spans.Ended()[0].Parent().SpanID() == yours.spans.Ended()[1].SpanContext().SpanID())
	// Output:
	// [GET /carts/{id} get carts] [db.client.operation.duration http.server.active_requests http.server.request.duration]
	// one trace: true
}

func Example_providers() {
	yours := existing()
	logger := slog.New(slog.DiscardHandler)
	mux := http.NewServeMux()

	providers := telemetry.Providers{
		TracerProvider: yours.tp,
		MeterProvider:  noop.NewMeterProvider(), // no metrics from Go OS
		Propagator:     propagation.TraceContext{},
		Logger:         logger,
	}
	handler := oshttp.NewHandler(mux, &oshttp.HandlerOptions{Telemetry: providers})
	store := kv.New(memkv.New(nil), &kv.Options{Telemetry: telemetry.Off()}) // nothing at all

	get(handler)
	_, err := store.Put(context.Background(), "cart/7", nil)
	fmt.Println(err)
	fmt.Println(yours.names())
	// Output:
	// <nil>
	// [GET] []
}

func Example_logs() {
	var lines strings.Builder
	yours := existing()

	logger := slog.New(oslog.TraceIDs(slog.NewTextHandler(&lines, nil))) // around the handler you have

	ctx, span := yours.tp.Tracer("shop").Start(context.Background(), "charge")
	logger.InfoContext(ctx, "charging")
	span.End()
	fmt.Println(strings.Contains(lines.String(), "trace_id="+span.SpanContext().TraceID().String()))
	// Output: true
}

// TestSetupBesideYours checks that Setup with KeepGlobals sets no global, and uses processors and readers of the program.
func TestSetupBesideYours(t *testing.T) {
	yours := existing()
	otel.SetTracerProvider(yours.tp)
	logger := slog.Default()
	ctx := t.Context()
	processor, reader := tracetest.NewSpanRecorder(), sdkmetric.NewManualReader()

	pipeline, err := exporters.Setup(ctx, &exporters.Options{
		ServiceName:    "shop",
		KeepGlobals:    true, // leaves the otel package and slog.Default as they are
		LogWriter:      io.Discard,
		SpanProcessors: []sdktrace.SpanProcessor{processor},
		MetricReaders:  []sdkmetric.Reader{reader},
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	handler := oshttp.NewHandler(mux, &oshttp.HandlerOptions{Telemetry: pipeline.Providers()})

	get(handler)
	if otel.GetTracerProvider() != yours.tp || slog.Default() != logger {
		t.Error("Setup replaced a global")
	}
	if spans := processor.Ended(); len(spans) != 1 || spans[0].Name() != "GET" {
		t.Errorf("the processor received %v, want the span of the request", spans)
	}
	if spans, _ := yours.names(); len(spans) != 0 {
		t.Errorf("the existing set-up received the spans %v, want none", spans)
	}
	if err := pipeline.Shutdown(context.WithoutCancel(ctx)); err != nil {
		t.Error(err)
	}
}
