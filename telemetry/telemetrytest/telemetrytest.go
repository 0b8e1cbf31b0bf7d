// Package telemetrytest records what code under test emits: spans, OTel events, metrics and log lines. It is for tests, and links the
// OpenTelemetry SDK.
//
//	recorded := telemetrytest.New()
//	store := kv.New(memkv.New(nil), &kv.Options{Telemetry: recorded.Providers})
//	_, err := store.Get(ctx, "cart/7")
//	span := recorded.Spans()[0]
//	if span.Name != "get" || span.Attributes["error.type"] != "not_found" { … }
//
// Every span is sampled. Attributes are Go values: string, bool, int64, float64, or a slice of one of these.
package telemetrytest

import (
	"context"
	"log/slog"
	"sync"

	"go.opentelemetry.io/otel/propagation"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/go-os/go-os/telemetry"
)

// Recorder holds the telemetry emitted through its Providers. It is safe for concurrent use.
type Recorder struct {
	// Providers are for the code under test. Their Propagator carries trace context and baggage as W3C headers.
	Providers telemetry.Providers

	reader *sdkmetric.ManualReader

	mu      sync.Mutex
	started int
	spans   []Span
	events  []Event
	lines   []Line
}

// New returns an empty Recorder.
func New() *Recorder {
	r := &Recorder{reader: sdkmetric.NewManualReader()}
	r.Providers = telemetry.Providers{
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.AlwaysSample()), sdktrace.WithSpanProcessor(spanProcessor{r})),
		MeterProvider:  sdkmetric.NewMeterProvider(sdkmetric.WithReader(r.reader)),
		LoggerProvider: sdklog.NewLoggerProvider(sdklog.WithProcessor(eventProcessor{r})),
		Propagator:     propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}),
		Logger:         slog.New(&handler{recorder: r}),
	}
	return r
}

// Spans returns the spans that have ended, in the order in which they ended.
func (r *Recorder) Spans() []Span { return copied(r, &r.spans) }

// Running returns the number of spans that have started and not ended.
func (r *Recorder) Running() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.started - len(r.spans)
}

// Events returns the OTel events, and log records without a name, in the order in which they were emitted.
func (r *Recorder) Events() []Event { return copied(r, &r.events) }

// Lines returns the records logged to Providers.Logger, at any level.
func (r *Recorder) Lines() []Line { return copied(r, &r.lines) }

// Points returns the values of the instruments, ordered by name and attributes. Sums and histograms are cumulative. Errors come from
// an observable instrument, or from ctx.
func (r *Recorder) Points(ctx context.Context) ([]Point, error) { return points(ctx, r.reader) }

func copied[T any](r *Recorder, from *[]T) []T {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]T(nil), *from...)
}

func record[T any](r *Recorder, to *[]T, one T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*to = append(*to, one)
}
