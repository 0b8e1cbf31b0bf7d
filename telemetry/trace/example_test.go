package trace_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/go-os/go-os/telemetry"
	"github.com/go-os/go-os/telemetry/trace"
)

// charge shows the one line and the one defer that a function needs.
func charge(ctx context.Context, tracer *trace.Tracer, cents int) (err error) {
	ctx, span := tracer.Start(ctx, "charge", attribute.Int("cents", cents))
	defer span.End(ctx, &err)
	if cents > 1000 {
		return errors.New("card declined")
	}
	return nil
}

func ExampleTracer_Start() {
	spans := tracetest.NewSpanRecorder()
	tracer := trace.New("example.com/shop", telemetry.Providers{
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)),
	})

	_ = charge(context.Background(), tracer, 500)
	_ = charge(context.Background(), tracer, 5000)

	for _, s := range spans.Ended() {
		fmt.Printf("%s: %v %q\n", s.Name(), s.Status().Code, s.Status().Description)
	}
	// Output:
	// charge: Unset ""
	// charge: Error "card declined"
}

func ExampleTracer_Do() {
	spans := tracetest.NewSpanRecorder()
	tracer := trace.New("example.com/shop", telemetry.Providers{
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)),
	})

	err := tracer.Do(context.Background(), "import", func(ctx context.Context) error {
		return tracer.Do(ctx, "read", func(context.Context) error { return context.DeadlineExceeded })
	})

	fmt.Println(err)
	for _, s := range spans.Ended() {
		fmt.Println(s.Name(), attr(s, "error.type"))
	}
	// Output:
	// context deadline exceeded
	// read timeout
	// import timeout
}

func ExampleSampler() {
	sampler := trace.NewSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0.01)))
	tp := sdktrace.NewTracerProvider(sdktrace.WithSampler(sampler))
	tracer := tp.Tracer("example.com/shop")

	// For the next ten minutes, an operator investigates a problem and needs every trace.
	if err := sampler.SetRatio(1, 10*time.Minute); err != nil {
		fmt.Println(err)
	}
	_, span := tracer.Start(context.Background(), "request")
	fmt.Println("sampled:", span.SpanContext().IsSampled())
	fmt.Println("reverts in:", time.Until(sampler.RevertsAt()).Round(time.Minute))

	sampler.Revert()
	fmt.Println("reverts:", !sampler.RevertsAt().IsZero())
	// Output:
	// sampled: true
	// reverts in: 10m0s
	// reverts: false
}

func ExampleKeeper() {
	exporter := tracetest.NewInMemoryExporter()
	keeper := trace.NewKeeper(sdktrace.NewBatchSpanProcessor(exporter), &trace.KeepOptions{Slow: time.Second})
	never := sdktrace.ParentBased(sdktrace.NeverSample())
	tp := sdktrace.NewTracerProvider(
		sdktrace.WithSampler(keeper.Sampler(never)),
		sdktrace.WithSpanProcessor(keeper),
	)
	tracer := tp.Tracer("example.com/shop")

	for _, item := range []string{"apple", "unobtainium"} {
		ctx, request := tracer.Start(context.Background(), "buy "+item)
		_, query := tracer.Start(ctx, "look up "+item)
		if item == "unobtainium" {
			query.SetStatus(codes.Error, "no such item")
		}
		query.End()
		request.End()
	}

	_ = keeper.ForceFlush(context.Background())
	for _, s := range exporter.GetSpans().Snapshots() {
		fmt.Println(s.Name(), "kept for:", attr(s, "goos.trace.kept"))
	}
	stats := keeper.Stats()
	fmt.Println("kept", stats.Kept, "discarded", stats.Discarded)
	// Output:
	// look up unobtainium kept for: error
	// buy unobtainium kept for: error
	// kept 1 discarded 1
}

func ExampleNewEventBridge() {
	spans := tracetest.NewSpanRecorder()
	tp := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	lp := sdklog.NewLoggerProvider(sdklog.WithProcessor(trace.NewEventBridge()))

	ctx, span := tp.Tracer("example.com/shop").Start(context.Background(), "checkout")
	var placed log.Record
	placed.SetEventName("shop.order.placed")
	placed.SetTimestamp(time.Now())
	placed.AddAttributes(attribute.Int("shop.order.items", 3))
	lp.Logger("example.com/shop").Emit(ctx, placed)
	span.End()

	for _, e := range spans.Ended()[0].Events() {
		fmt.Println(e.Name, e.Attributes[0].Key, e.Attributes[0].Value.String())
	}
	// Output:
	// shop.order.placed shop.order.items 3
}

func ExampleErrorType() {
	fmt.Println(trace.ErrorType(fmt.Errorf("loading: %w", context.Canceled)))
	fmt.Println(trace.ErrorType(fmt.Errorf("loading: %w", &tooLarge{})))
	// Output:
	// canceled
	// *trace_test.tooLarge
}

type tooLarge struct{}

func (*tooLarge) Error() string { return "too large" }
