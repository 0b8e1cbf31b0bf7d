package exporters_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	otellog "go.opentelemetry.io/otel/log"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/go-os/go-os/exporters"
	"github.com/go-os/go-os/telemetry/log"
	"github.com/go-os/go-os/telemetry/trace"
)

// text is a readable log without the parts that vary from run to run.
func text(hide ...string) log.Sink {
	return log.Text(os.Stdout, &log.SinkOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		for _, key := range append(hide, slog.TimeKey) {
			if a.Key == key {
				return slog.Attr{}
			}
		}
		return a
	}})
}

// Without configuration: a readable log, a page for Prometheus, and no network.
func ExampleSetup() {
	ctx := context.Background()
	pipeline, err := exporters.Setup(ctx, &exporters.Options{ServiceName: "orders", KeepGlobals: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pipeline.Shutdown(ctx)

	sold, _ := pipeline.Providers().Meter("shop/orders").Int64Counter("orders.sold")
	sold.Add(ctx, 3)

	mux := http.NewServeMux()
	mux.Handle("GET /metrics", pipeline.MetricsHandler())
	page := httptest.NewRecorder()
	mux.ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
	fmt.Println(strings.Contains(page.Body.String(), `orders_sold_total{`), strings.Contains(page.Body.String(), "go_goroutine_count"))
	// Output: true true
}

// A warning names a mistake in the environment, and the service starts.
func ExampleSetup_environment() {
	ctx := context.Background()
	pipeline, err := exporters.Setup(ctx, &exporters.Options{
		KeepGlobals: true, LogWriter: nothing{}, Sinks: []slog.Handler{text()},
		Environ: []string{"OTEL_TRACE_SAMPLER=always_off", "OTEL_BSP_SCHEDULE_DELAY=5s"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = pipeline.Shutdown(ctx)
	// Output:
	// level=WARN msg="telemetry configuration: OTEL_TRACE_SAMPLER: no such variable is known (did you mean OTEL_TRACES_SAMPLER?); it has no effect" logger=goos.exporters
	// level=WARN msg="telemetry configuration: OTEL_BSP_SCHEDULE_DELAY: \"5s\" is not a whole number of milliseconds; 5000 is used" logger=goos.exporters
}

// nothing is a log writer that discards, so that only the example's own sink prints.
type nothing struct{}

func (nothing) Write(p []byte) (int, error) { return len(p), nil }

// The page also serves an existing registry of the program.
func ExampleOptions_gatherer() {
	ctx := context.Background()
	registry := prometheus.NewRegistry()
	theirs := prometheus.NewCounter(prometheus.CounterOpts{Name: "theirs_total", Help: "What was there before."})
	registry.MustRegister(theirs)
	theirs.Add(7)

	pipeline, err := exporters.Setup(ctx, &exporters.Options{KeepGlobals: true, Gatherer: registry})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pipeline.Shutdown(ctx)
	page := httptest.NewRecorder()
	pipeline.MetricsHandler().ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(page.Body.String()) {
		if strings.HasPrefix(line, "theirs") {
			fmt.Print(line)
		}
	}
	// Output: theirs_total 7
}

// An unreachable collector costs telemetry, not the service. The loss is counted.
func ExamplePipeline_Health() {
	ctx := context.Background()
	pipeline, err := exporters.Setup(ctx, &exporters.Options{
		KeepGlobals: true, LogWriter: nothing{}, Endpoint: "http://127.0.0.1:1",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	tracer := pipeline.Providers().Tracer("shop/orders")
	for range 10 {
		_, span := tracer.Start(ctx, "sell")
		span.End()
	}
	h := pipeline.Health().Traces
	fmt.Println("before:", h.Emitted == h.Exported+h.Dropped+h.Queued)

	lost := pipeline.Shutdown(ctx)
	h = pipeline.Health().Traces
	fmt.Printf("after: emitted %d, exported %d, dropped %d, queued %d, working %t, error %t\n",
		h.Emitted, h.Exported, h.Dropped, h.Queued, h.Working(), lost != nil)
	// Output:
	// before: true
	// after: emitted 10, exported 0, dropped 10, queued 0, working false, error true
}

// The sampling ratio can be changed while the program runs.
func ExamplePipeline_Sampler() {
	ctx := context.Background()
	pipeline, err := exporters.Setup(ctx, &exporters.Options{KeepGlobals: true, Sampler: sdktrace.NeverSample()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pipeline.Shutdown(ctx)
	tracer := pipeline.Providers().Tracer("shop/orders")
	for _, change := range []func(){
		func() {},
		func() { pipeline.Sampler().Set(sdktrace.AlwaysSample(), 0) },
	} {
		change()
		_, span := tracer.Start(ctx, "sell")
		fmt.Println(span.IsRecording())
		span.End()
	}
	// Output:
	// false
	// true
}

// An event is a log record with a name. It is exported over OTLP and written to the readable log.
func ExamplePipeline_Providers() {
	ctx := context.Background()
	pipeline, err := exporters.Setup(ctx, &exporters.Options{KeepGlobals: true, LogWriter: nothing{}, Sinks: []slog.Handler{text()}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pipeline.Shutdown(ctx)
	var r otellog.Record
	r.SetEventName("shop.breaker.opened")
	r.SetSeverity(otellog.SeverityWarn)
	r.AddAttributes(attribute.String("peer", "payments"))
	pipeline.Providers().EventLogger("shop/orders").Emit(ctx, r)
	// Output: level=WARN msg=shop.breaker.opened logger=shop/orders event=shop.breaker.opened peer=payments
}

// The level of one logger is lowered while the program runs.
func ExamplePipeline_Levels() {
	ctx := context.Background()
	pipeline, err := exporters.Setup(ctx, &exporters.Options{KeepGlobals: true, LogWriter: nothing{}, Sinks: []slog.Handler{text()}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pipeline.Shutdown(ctx)
	orders := log.Named(pipeline.Logger(), "orders")
	orders.Debug("not shown")
	if err := pipeline.Levels().Set("orders", slog.LevelDebug, 0); err != nil {
		fmt.Println(err)
	}
	orders.Debug("shown")
	// Output:
	// level=INFO msg=goos.log.level.changed logger=github.com/go-os/go-os/telemetry/log event=goos.log.level.changed goos.log.logger=orders goos.log.level=DEBUG goos.log.previous_level=INFO goos.log.reason=set
	// level=DEBUG msg=shown logger=orders
}

// Traces that the sampler drops are exported after all if they fail.
func ExampleOptions_keep() {
	ctx := context.Background()
	kept := counter{}
	pipeline, err := exporters.Setup(ctx, &exporters.Options{
		KeepGlobals: true, LogWriter: nothing{}, Sampler: sdktrace.NeverSample(), KeepTraces: &trace.KeepOptions{}, Endpoint: kept.start(),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	tracer := trace.New("shop/orders", pipeline.Providers())
	_ = tracer.Do(ctx, "sell", func(context.Context) error { return nil })
	_ = tracer.Do(ctx, "sell", func(context.Context) error { return fmt.Errorf("sold out") })
	_ = pipeline.Shutdown(ctx)
	kept.server.Close()
	fmt.Println(pipeline.Health().Traces.Exported)
	// Output: 1
}

// counter is a collector that accepts everything.
type counter struct{ server *httptest.Server }

func (c *counter) start() string {
	c.server = httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	return c.server.URL
}
