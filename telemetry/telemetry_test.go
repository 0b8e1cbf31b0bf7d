package telemetry_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/go-os/go-os/telemetry"
)

func TestOff(t *testing.T) {
	off := telemetry.Off()
	if off.Tracing() {
		t.Error("Off can trace")
	}
	_, span := off.Tracer("x").Start(t.Context(), "x")
	if span.IsRecording() {
		t.Error("Off records spans")
	}
	counter, err := off.Meter("x").Int64Counter("x")
	if err != nil || counter.Enabled(t.Context()) {
		t.Errorf("Off measures (err %v)", err)
	}
	if off.EventLogger("x").Enabled(t.Context(), log.EnabledParameters{}) || off.Slog().Enabled(t.Context(), slog.LevelError) {
		t.Error("Off logs")
	}
	carrier := propagation.MapCarrier{}
	off.TextMapPropagator().Inject(t.Context(), carrier)
	if len(carrier) != 0 {
		t.Errorf("Off propagates %v", carrier)
	}
}

// installed counts the spans that reach the process-wide provider.
var installed = sync.OnceValue(func() *tracetest.SpanRecorder {
	spans := tracetest.NewSpanRecorder()
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)))
	return spans
})

// TestZeroIsProcessWide shows that a Providers taken before the process-wide provider was installed reaches it
// afterwards. A tracer of the otel package switches for good to the first provider that is installed, so the test
// installs one once, for all its runs.
func TestZeroIsProcessWide(t *testing.T) {
	var p telemetry.Providers
	tracer := p.Tracer("github.com/go-os/go-os/telemetry")
	spans := installed()
	spans.Reset()
	_, span := tracer.Start(context.Background(), "late")
	span.End()
	if got := spans.Ended(); len(got) != 1 || got[0].InstrumentationScope().SchemaURL != telemetry.SchemaURL {
		t.Fatalf("spans %v, want one with schema %s", got, telemetry.SchemaURL)
	}
	if !p.Tracing() {
		t.Error("the process-wide provider counts as unable to trace")
	}

	var out bytes.Buffer
	before := slog.Default()
	t.Cleanup(func() { slog.SetDefault(before) })
	slog.SetDefault(slog.New(slog.NewTextHandler(&out, nil)))
	p.Slog().Info("hello")
	if !strings.Contains(out.String(), "msg=hello") {
		t.Errorf("the zero value does not log to slog.Default: %q", out.String())
	}
}

// TestSchemaIsThatOfOurScopes checks that a program's instruments do not carry our version of the conventions.
func TestSchemaIsThatOfOurScopes(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	p := telemetry.Providers{TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))}
	for scope, want := range map[string]string{
		"github.com/go-os/go-os": telemetry.SchemaURL, "github.com/go-os/go-os/state/kv": telemetry.SchemaURL,
		"github.com/go-os/go-osprey": "", "example.com/shop": "", "": "",
	} {
		spans.Reset()
		_, span := p.Tracer(scope).Start(t.Context(), "s")
		span.End()
		if got := spans.Ended()[0].InstrumentationScope().SchemaURL; got != want {
			t.Errorf("%q has the schema %q, want %q", scope, got, want)
		}
	}
}
