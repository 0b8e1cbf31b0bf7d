// Package bench compares the speed of Go OS with the libraries that its users have now. It is a separate module, so that those libraries
// never enter the go.mod that users depend on.
//
// It produces two kinds of figures. Allocations are exact and are compared with fixed targets. Times on a shared machine are not exact: the
// claim is a ratio between two cases. Both run interleaved in one process, in thousands of rounds of a quarter of a millisecond, and the
// tenth percentile counts. Longer rounds were tried: at 6 ms the ratio of one pair moved between 0.30 and 0.69 from run to run, at 0.25 ms
// between 0.30 and 0.36.
//
//	go test ./...             asserts every target, in a short mode
//	go test -bench . ./...    the plain benchmarks
//	go run ./table            measures, and writes docs/benchmarks.md
package bench

import (
	"context"
	"slices"
	"testing"
	"time"

	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"go.opentelemetry.io/otel/propagation"

	"github.com/go-os/go-os/telemetry"
)

// Case is one measured loop body, with its preparation.
type Case struct {
	// Name of the row.
	Name string
	// Setup returns the body, which runs once for each iteration, and a cleanup function.
	Setup func() (body func(), cleanup func())
}

// Bench runs the case as a Go benchmark.
func (c Case) Bench(b *testing.B) {
	body, cleanup := c.Setup()
	defer cleanup()
	b.ReportAllocs()
	for b.Loop() {
		body()
	}
}

// Figure is the measured cost of a case.
type Figure struct {
	// Time of one iteration: the tenth percentile over the rounds.
	Time time.Duration
	// Allocs and Bytes of one iteration, exact for code that runs on one goroutine.
	Allocs, Bytes int64
}

// Measure runs the cases interleaved, so that a slow moment of the machine affects all of them. In each round every case runs for about the
// given time. The figures are in the order of the cases.
func Measure(cases []Case, rounds int, each time.Duration) []Figure {
	figures := make([]Figure, len(cases))
	bodies := make([]func(), len(cases))
	n := make([]int, len(cases))
	times := make([][]float64, len(cases))
	for i, c := range cases {
		body, cleanup := c.Setup()
		defer cleanup()
		bodies[i] = body
		r := testing.Benchmark(func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				body()
			}
		})
		figures[i].Allocs, figures[i].Bytes = r.AllocsPerOp(), r.AllocedBytesPerOp()
		n[i] = max(1, int(each/max(1, time.Duration(r.NsPerOp()))))
	}
	for range rounds {
		for i, body := range bodies {
			start := time.Now()
			for range n[i] {
				body()
			}
			times[i] = append(times[i], float64(time.Since(start))/float64(n[i]))
		}
	}
	for i := range figures {
		figures[i].Time = undisturbed(times[i])
	}
	return figures
}

// Ratio is (a - base) / (b - base). A nil base means zero.
func Ratio(a, b, base *Figure) float64 {
	var off time.Duration
	if base != nil {
		off = base.Time
	}
	return float64(a.Time-off) / float64(b.Time-off)
}

// undisturbed returns the tenth percentile of the rounds. Other work on the machine can only add to a round, so the fast rounds show the
// cost of the code; the very fastest would be chance.
func undisturbed(rounds []float64) time.Duration {
	sorted := slices.Sorted(slices.Values(rounds))
	return time.Duration(sorted[len(sorted)/10])
}

// sdk returns Providers on a real SDK that records everything that the sampler admits and keeps nothing. The figures then show the
// instrumentation and the SDK's own work, not an exporter's.
func sdk(sampler sdktrace.Sampler) telemetry.Providers {
	return telemetry.Providers{
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSampler(sampler), sdktrace.WithSpanProcessor(drop{})),
		MeterProvider:  sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())),
		LoggerProvider: sdklog.NewLoggerProvider(sdklog.WithProcessor(dropLogs{})),
		Propagator:     propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}),
	}
}

// parent is the parent of every measured request: sampled, as it arrives from another service.
const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// drop is a span processor that discards ended spans.
type drop struct{}

func (drop) OnStart(context.Context, sdktrace.ReadWriteSpan) {}
func (drop) OnEnd(sdktrace.ReadOnlySpan)                     {}
func (drop) Shutdown(context.Context) error                  { return nil }
func (drop) ForceFlush(context.Context) error                { return nil }

// dropLogs is a log processor that discards records.
type dropLogs struct{}

func (dropLogs) OnEmit(context.Context, *sdklog.Record) error           { return nil }
func (dropLogs) Enabled(context.Context, sdklog.EnabledParameters) bool { return true }
func (dropLogs) Shutdown(context.Context) error                         { return nil }
func (dropLogs) ForceFlush(context.Context) error                       { return nil }
