package log

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/go-os/go-os/telemetry"
)

// otlp returns the sink and the provider of the usual OTLP set-up, with an exporter that discards.
func otlp(tb testing.TB) (Sink, telemetry.Providers) {
	tb.Helper()
	p := telemetry.Off()
	// A queue that never fills, so that the background export does not disturb the count of allocations.
	lp := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewBatchProcessor(discardExporter{}, sdklog.WithExportInterval(time.Hour),
		sdklog.WithMaxQueueSize(1<<16), sdklog.WithExportMaxBatchSize(1<<16))))
	tb.Cleanup(func() {
		if err := lp.Shutdown(context.Background()); err != nil {
			tb.Error(err)
		}
	})
	p.LoggerProvider = lp
	p.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
	return OTel("bench", p), p
}

type discardExporter struct{}

func (discardExporter) Export(context.Context, []sdklog.Record) error { return nil }

func (discardExporter) Shutdown(context.Context) error { return nil }

func (discardExporter) ForceFlush(context.Context) error { return nil }

// log4 logs the measured record: four attributes, as in an access log.
func log4(ctx context.Context, l *slog.Logger) {
	l.LogAttrs(ctx, slog.LevelInfo, "request served", slog.String("http.route", "/orders/{id}"), slog.Int("status", 200),
		slog.Duration("took", 1500*time.Microsecond), slog.Bool("cached", true))
}

func BenchmarkFanOut(b *testing.B) {
	for _, c := range []struct {
		name  string
		build func(telemetry.Providers, Sink) slog.Handler
	}{
		{"goos", func(p telemetry.Providers, otel Sink) slog.Handler {
			return NewHandler(&Options{Telemetry: p}, JSON(io.Discard, nil), otel)
		}},
		{"goos,unredacted", func(p telemetry.Providers, otel Sink) slog.Handler {
			return NewHandler(&Options{Telemetry: p, Redact: &Redaction{Off: true}}, JSON(io.Discard, nil), otel)
		}},
		{"slog.MultiHandler", func(_ telemetry.Providers, otel Sink) slog.Handler {
			return slog.NewMultiHandler(JSON(io.Discard, nil), otel)
		}},
	} {
		for _, span := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/span=%v", c.name, span), func(b *testing.B) {
				otel, p := otlp(b)
				l := slog.New(c.build(p, otel))
				ctx := b.Context()
				if span {
					ctx = recording(b)
				}
				b.ReportAllocs()
				for b.Loop() {
					log4(ctx, l)
				}
			})
		}
	}
}

func BenchmarkJSON(b *testing.B) {
	for _, c := range []struct {
		name string
		log  *slog.Logger
	}{
		{"slog", slog.New(slog.NewJSONHandler(io.Discard, nil))},
		{"goos", New(nil, JSON(io.Discard, nil))},
		{"goos,group", New(nil, JSON(io.Discard, nil)).With("a", 1).WithGroup("g").With("b", 2)},
	} {
		for _, span := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/span=%v", c.name, span), func(b *testing.B) {
				ctx := b.Context()
				if span {
					ctx = recording(b)
				}
				b.ReportAllocs()
				for b.Loop() {
					log4(ctx, c.log)
				}
			})
		}
	}
}

func BenchmarkDisabled(b *testing.B) {
	l := Named(New(nil, JSON(io.Discard, nil)), "state.kv")
	b.ReportAllocs()
	for b.Loop() {
		l.LogAttrs(b.Context(), slog.LevelDebug, "x", slog.Int("n", 1))
	}
}

func BenchmarkAsync(b *testing.B) {
	s := Async(JSON(io.Discard, nil), &AsyncOptions{Telemetry: telemetry.Off(), ErrorHandler: func(error) {}})
	l := New(&Options{Telemetry: telemetry.Off()}, s)
	b.ReportAllocs()
	for b.Loop() {
		log4(b.Context(), l)
	}
	if err := s.Shutdown(b.Context()); err != nil {
		b.Error(err)
	}
	b.ReportMetric(float64(s.Dropped())/float64(b.N), "dropped/op")
}
