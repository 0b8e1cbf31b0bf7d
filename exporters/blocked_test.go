package exporters

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	otellog "go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/go-os/go-os/telemetry/log"
)

// stuck blocks its callers until the test ends. It serves as a writer, a handler, a processor and a collector.
type stuck struct{ release chan struct{} }

func newStuck(t *testing.T) stuck {
	s := stuck{make(chan struct{})}
	t.Cleanup(func() { close(s.release); time.Sleep(10 * time.Millisecond) })
	return s
}

func (s stuck) wait() { <-s.release }

func (s stuck) Write(p []byte) (int, error)               { s.wait(); return len(p), nil }
func (s stuck) Describe(c chan<- *prometheus.Desc)        {}
func (s stuck) Collect(chan<- prometheus.Metric)          { s.wait() }
func (s stuck) Enabled(context.Context, slog.Level) bool  { return true }
func (s stuck) Handle(context.Context, slog.Record) error { s.wait(); return nil }
func (s stuck) WithAttrs([]slog.Attr) slog.Handler        { return s }
func (s stuck) WithGroup(string) slog.Handler             { return s }
func (s stuck) ForceFlush(context.Context) error          { s.wait(); return nil }
func (s stuck) Shutdown(context.Context) error            { s.wait(); return nil }

type stuckSpans struct{ stuck }

func (stuckSpans) OnStart(context.Context, sdktrace.ReadWriteSpan) {}
func (stuckSpans) OnEnd(sdktrace.ReadOnlySpan)                     {}

type stuckRecords struct{ stuck }

func (stuckRecords) Enabled(context.Context, sdklog.EnabledParameters) bool { return true }
func (stuckRecords) OnEmit(context.Context, *sdklog.Record) error           { return nil }

// TestNothingWaitsForACallerForEver blocks each part of the program that the pipeline calls, with a collector that is down.
func TestNothingWaitsForACallerForEver(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(s stuck, o *Options){
		"LogWriter":     func(s stuck, o *Options) { o.LogWriter = s },
		"Sink":          func(s stuck, o *Options) { o.Sinks = []slog.Handler{s} },
		"JSON sink":     func(s stuck, o *Options) { o.Sinks = []slog.Handler{log.JSON(s, nil)} },
		"Console":       func(s stuck, o *Options) { o.Console = s; o.Environ = consoles("otlp,") },
		"one writer":    func(s stuck, o *Options) { o.Console, o.LogWriter = s, s; o.Environ = consoles("") },
		"SpanProcessor": func(s stuck, o *Options) { o.SpanProcessors = []sdktrace.SpanProcessor{stuckSpans{s}} },
		"LogProcessor":  func(s stuck, o *Options) { o.LogProcessors = []sdklog.Processor{stuckRecords{s}} },
		"Gatherer": func(s stuck, o *Options) {
			r := prometheus.NewRegistry()
			r.MustRegister(s)
			o.Gatherer, o.BridgeRegistry = r, true
		},
		"callback": func(s stuck, o *Options) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStuck(t)
			o := Options{
				Endpoint: "http://" + refusedAddr(t), BatchDelay: 10 * time.Millisecond, ExportTimeout: 300 * time.Millisecond, QueueSize: 10,
				Environ: []string{"OTEL_NO_SUCH_VARIABLE=1"}, NoRuntimeMetrics: true, ReportInterval: time.Millisecond,
			}
			set(s, &o)
			within(t, "Setup", 3*time.Second, func() {
				p, _ := setup(t, o)
				if name == "callback" {
					_, err := p.Providers().Meter("m").Int64ObservableGauge("g", metric.WithInt64Callback(func(context.Context, metric.Int64Observer) error {
						s.wait()
						return nil
					}))
					if err != nil {
						t.Error(err)
					}
				}
				within(t, "emitting", 3*time.Second, func() { emitQuietly(t, p, 30) })
				time.Sleep(500 * time.Millisecond) // batches are given up, and reported
				within(t, "emitting later", 3*time.Second, func() { emitQuietly(t, p, 30) })
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				within(t, "ForceFlush", 2*time.Second, func() { _ = p.ForceFlush(ctx) })
				late, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				within(t, "Shutdown", 2*time.Second, func() {
					err := p.Shutdown(late)
					if err == nil {
						t.Error("Shutdown lost everything, and says nothing")
					}
				})
				for which, h := range map[Signal]SignalHealth{Traces: p.Health().Traces, Logs: p.Health().Logs, Metrics: p.Health().Metrics} {
					balanced(t, which, h)
					if which != Metrics && (h.Emitted == 0 || h.Queued != 0) {
						t.Errorf("%s: %+v", which, h)
					}
				}
			})
		})
	}
}

// consoles sends every signal to the console, after the other exporters.
func consoles(others string) []string {
	return []string{
		"OTEL_TRACES_EXPORTER=" + others + "console", "OTEL_METRICS_EXPORTER=" + others + "console", "OTEL_LOGS_EXPORTER=" + others + "console",
		"OTEL_NO_SUCH_VARIABLE=1",
	}
}

// emitQuietly emits spans, records and events without the program's own log calls, which write to the log themselves.
func emitQuietly(t *testing.T, p *Pipeline, n int) {
	logger := p.Providers().LoggerProvider.Logger("test")
	for range n {
		ctx, span := p.Providers().Tracer("test").Start(t.Context(), "work")
		var r otellog.Record
		r.SetEventName("test.event")
		r.SetSeverity(otellog.SeverityError)
		logger.Emit(ctx, r)
		p.errors.Handle(errors.New("an error of the SDK"))
		span.End()
	}
}

// within fails the test if do takes longer than d, and abandons it.
func within(t *testing.T, what string, d time.Duration, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	if raced {
		d *= 4
	}
	select {
	case <-done:
	case <-time.After(d):
		t.Errorf("%s has not returned after %v", what, d)
		<-done
	}
}

// TestEveryCallOfShutdownObeysItsOwnContext makes a first call with ample time, and a later one with little.
func TestEveryCallOfShutdownObeysItsOwnContext(t *testing.T) {
	t.Parallel()
	p, _ := setup(t, Options{Endpoint: "http://" + blackhole(t), ShutdownTimeout: 3 * time.Second})
	emit(t, p, 1)
	first := make(chan error, 1)
	go func() { first <- p.Shutdown(context.Background()) }()
	eventually(t, time.Second, saying("the first call"), p.isDraining)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := p.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 2500*time.Millisecond {
		t.Errorf("the second call says %v after %v", err, time.Since(start))
	}
	err := <-first
	if err == nil || p.Shutdown(t.Context()).Error() != err.Error() {
		t.Errorf("the first call says %v, a third something else", err)
	}
}

func (p *Pipeline) isDraining() bool {
	select {
	case <-p.draining:
		return true
	default:
		return false
	}
}

// TestShutdownWithAnEndedContext covers a program that passes its own context on after a signal. All items are in the account and the
// error, including the metrics of the last interval, with the reason and the remedy.
func TestShutdownWithAnEndedContext(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, protocol string) {
		peer := startPeer(t)
		p, out := setup(t, Options{Endpoint: peer.endpoint(protocol), Protocol: protocol, BatchDelay: time.Hour})
		emit(t, p, 20)
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("interrupt"))
		err := p.Shutdown(ctx)
		h := p.Health()
		for which, s := range map[Signal]SignalHealth{Traces: h.Traces, Logs: h.Logs, Metrics: h.Metrics} {
			balanced(t, which, s)
			if s.Emitted == 0 || s.Dropped != s.Emitted || !s.Working() {
				t.Errorf("%s: %+v, want all of it dropped, and no failure of the collector", which, s)
			}
		}
		for _, text := range []string{"20 spans", "20 log records", "metric data points", "Shutdown ran out of time", "interrupt"} {
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("%q is not in the error %v", text, err)
			}
		}
		// The line comes from Shutdown, or from the first loss just before it.
		if lines := out.lines("lost", "reason=\"Shutdown ran out of time: interrupt\"", "context.WithoutCancel"); len(lines) != 1 {
			t.Errorf("the log says %s", out)
		}
	})
}

// TestCollectorThatIsDownStaysTheReason runs Shutdown out of time while nothing listens.
func TestCollectorThatIsDownStaysTheReason(t *testing.T) {
	t.Parallel()
	p, out := setup(t, Options{Endpoint: "http://" + refusedAddr(t), BatchDelay: time.Millisecond})
	emit(t, p, 20)
	eventually(t, 5*time.Second, saying("an attempt"), func() bool { return p.Health().Traces.FailuresInARow > 0 })
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := p.Shutdown(ctx); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("the error is %v", err)
	}
	if len(out.lines("nothing listens there")) == 0 {
		t.Errorf("the log says %s", out)
	}
}

// TestForwarderWritesInOrderAndDropsBehindABlockedHandler covers the lines of one goroutine.
func TestForwarderWritesInOrderAndDropsBehindABlockedHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &gate{open: make(chan struct{})}
		close(out.open)
		logger := slog.New((&forwarder{}).handler(slog.NewTextHandler(out, nil)))
		logger.Info("first")
		if !strings.Contains(out.String(), "first") {
			t.Error("a line is not written when the call returns")
		}
		out.shut()
		start := time.Now()
		for i := range maxLines + 10 {
			logger.Info("blocked", "i", i)
		}
		if took := time.Since(start); took < maxLineWait || took > 2*maxLineWait {
			t.Errorf("the calls took %v, want the maxLineWait for one line", took)
		}
		close(out.open)
		synctest.Wait()
		logger.Info("last")
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if n := len(lines); n != 1+1+maxLines+1 || !strings.Contains(out.String(), "lines_dropped_before=9") {
			t.Errorf("%d lines, the last %q", n, lines[n-1])
		}
	})
}

// gate is a writer that blocks while it is closed.
type gate struct {
	logBuffer
	open chan struct{}
	once sync.Mutex
}

func (g *gate) shut() {
	g.once.Lock()
	defer g.once.Unlock()
	g.open = make(chan struct{})
}

func (g *gate) Write(p []byte) (int, error) {
	g.once.Lock()
	open := g.open
	g.once.Unlock()
	<-open
	return g.logBuffer.Write(p)
}

// TestForwarderSurvivesAPanic uses a handler that panics on a goroutine that no recover of the program reaches.
func TestForwarderSurvivesAPanic(t *testing.T) {
	c := &forwarder{}
	logger := slog.New(c.handler(panicking{slog.NewTextHandler(io.Discard, nil)}))
	logger.Info("a", "k", attribute.StringValue("v"))
	logger.WithGroup("g").With("a", 1).Info("b")
	c.flush(t.Context())
}

type panicking struct{ slog.Handler }

func (panicking) Handle(context.Context, slog.Record) error { panic("handler") }
func (p panicking) WithAttrs([]slog.Attr) slog.Handler      { return p }
func (p panicking) WithGroup(string) slog.Handler           { return p }
