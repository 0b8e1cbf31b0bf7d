package exporters

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/instrumentation/runtime"
	"go.opentelemetry.io/otel/exporters/stdout/stdoutlog"
	"go.opentelemetry.io/otel/exporters/stdout/stdoutmetric"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	lognoop "go.opentelemetry.io/otel/log/noop"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/go-os/go-os/telemetry"
	"github.com/go-os/go-os/telemetry/log"
	"github.com/go-os/go-os/telemetry/metrics"
	"github.com/go-os/go-os/telemetry/trace"
)

// build makes the providers.
func (p *Pipeline) build(ctx context.Context, e *environ) error {
	if p.settings.disabled {
		p.buildOff()
		return nil
	}
	res := newResource(ctx, e, p.opts, p.settings.attributes)
	p.providers.Propagator = p.settings.propagator
	if err := p.buildMetrics(ctx, res); err != nil {
		return err
	}
	p.buildLocal()
	if err := p.buildTraces(ctx, res); err != nil {
		return err
	}
	if err := p.buildLogs(ctx, res); err != nil {
		return err
	}
	return p.finish()
}

// buildOff makes what OTEL_SDK_DISABLED leaves: propagation, as the specification has it, the readable log, and the
// registry that the program had.
func (p *Pipeline) buildOff() {
	p.providers = telemetry.Off()
	p.providers.Propagator = p.settings.propagator
	p.buildLocal()
	p.providers.Logger = slog.New(p.local)
	p.page = plainPage(p.opts.Gatherer)
	p.reporter.start(p.own, nil)
}

// finish observes what the signals are made of.
func (p *Pipeline) finish() error {
	p.reporter.start(p.own, p.ledgers)
	if err := observe(p.providers, p.ledgers); err != nil {
		return fmt.Errorf("exporters: the pipeline's own metrics: %w", err)
	}
	p.sampler.Observe(p.providers)
	p.opts.LogLevels.Observe(p.providers)
	if p.opts.NoRuntimeMetrics {
		return nil
	}
	if err := runtime.Start(runtime.WithMeterProvider(p.providers.MeterProvider)); err != nil {
		return fmt.Errorf("exporters: metrics of the Go runtime: %w", err)
	}
	return nil
}

// open begins the account of one destination.
func (p *Pipeline) open(signal Signal, exporter string, queue int) *ledger {
	n := 0
	for _, l := range p.ledgers {
		if l.signal == signal {
			n++
		}
	}
	name := func(kind string) component { return component{kind, fmt.Sprintf("%s/%d", kind, n)} }
	processors := map[Signal]string{Traces: "batching_span_processor", Logs: "batching_log_processor", Metrics: "periodic_metric_reader"}
	l := newLedger(signal, name(processors[signal]), name(exporter), queue, p.reporter.alarm)
	p.ledgers = append(p.ledgers, l)
	return l
}

func plainPage(g prometheus.Gatherer) http.Handler {
	if g == nil {
		g = prometheus.Gatherers{}
	}
	return promhttp.HandlerFor(g, promhttp.HandlerOpts{EnableOpenMetrics: true, ErrorHandling: promhttp.ContinueOnError})
}

func (p *Pipeline) buildMetrics(ctx context.Context, res *resource.Resource) error {
	p.page = plainPage(p.opts.Gatherer)
	if p.settings.metrics.off {
		p.providers.MeterProvider = metricnoop.NewMeterProvider()
		return nil
	}
	opts := append([]sdkmetric.Option{sdkmetric.WithResource(res), sdkmetric.WithView(p.opts.Views...)}, p.settings.meter...)
	readers, err := p.metricReaders(ctx)
	if err != nil {
		return err
	}
	for _, r := range append(readers, p.opts.MetricReaders...) {
		opts = append(opts, sdkmetric.WithReader(r))
	}
	mp := sdkmetric.NewMeterProvider(opts...)
	p.providers.MeterProvider = mp
	p.stages = append(p.stages, p.metricStage(mp.ForceFlush, mp.Shutdown))
	return nil
}

// metricStage adds to what the provider says of a flush what its exporters have lost by it.
func (p *Pipeline) metricStage(flush, shutdown func(context.Context) error) stage {
	losing := func(do func(context.Context) error) func(context.Context) error {
		return func(ctx context.Context) error {
			var errs []error
			before := make(map[*ledger]int64)
			for _, l := range p.ledgers {
				if l.signal == Metrics {
					before[l] = l.read().dropped
				}
			}
			if err := do(ctx); !errors.Is(err, sdkmetric.ErrReaderShutdown) { // which is no news
				errs = append(errs, err)
			}
			for l, n := range before {
				errs = append(errs, l.lossSince(n))
			}
			return errors.Join(errs...)
		}
	}
	return stage{Metrics, losing(flush), losing(shutdown)}
}

func (p *Pipeline) metricReaders(ctx context.Context) (readers []sdkmetric.Reader, err error) {
	for _, to := range p.settings.metrics.to {
		switch to.exporter {
		case toPrometheus:
			page, err := metrics.NewPrometheus(&metrics.PrometheusOptions{Existing: p.opts.Gatherer, ErrorHandler: p.errors.Handle})
			if err != nil {
				return nil, fmt.Errorf("exporters: %w", err)
			}
			p.page = page.Handler()
			readers = append(readers, page.Reader())
		case toConsole:
			e, err := stdoutmetric.New()
			if err != nil {
				return nil, fmt.Errorf("exporters: console exporter of metrics: %w", err)
			}
			readers = append(readers, p.periodic(e, "stdout_metric_exporter", to.periodic))
		case toOTLP:
			e, kind, err := to.otlp.points(ctx)
			if err != nil {
				return nil, fmt.Errorf("exporters: OTLP exporter of metrics: %w", err)
			}
			readers = append(readers, p.periodic(e, kind, to.periodic))
		}
	}
	return readers, nil
}

func (p *Pipeline) periodic(e sdkmetric.Exporter, kind string, cfg periodicConfig) sdkmetric.Reader {
	opts := []sdkmetric.PeriodicReaderOption{sdkmetric.WithInterval(cfg.interval), sdkmetric.WithTimeout(cfg.timeout)}
	if cfg.cardinality != nil {
		opts = append(opts, sdkmetric.WithCardinalityLimitSelector(cfg.cardinality))
	}
	if p.opts.BridgeRegistry {
		bridge := metrics.NewBridge(p.opts.Gatherer, &metrics.BridgeOptions{ErrorHandler: p.errors.Handle})
		opts = append(opts, sdkmetric.WithProducer(bridge))
	}
	return sdkmetric.NewPeriodicReader(newPointExporter(p.open(Metrics, kind, 0), cfg, p.draining, e), opts...)
}

func (p *Pipeline) buildTraces(ctx context.Context, res *resource.Resource) error {
	if p.settings.traces.off {
		p.providers.TracerProvider = tracenoop.NewTracerProvider()
		return nil
	}
	var out fanout
	for _, to := range p.settings.traces.to {
		var e sdktrace.SpanExporter
		var err error
		kind := "stdout_span_exporter"
		if to.exporter == toConsole {
			e, err = stdouttrace.New()
		} else {
			e, kind, err = to.otlp.spans(ctx)
		}
		if err != nil {
			return fmt.Errorf("exporters: %s exporter of traces: %w", to.exporter, err)
		}
		out = append(out, newSpanBatcher(p.open(Traces, kind, to.batch.queue), to.batch, e))
	}
	var sampler sdktrace.Sampler = p.sampler
	processors := append([]sdktrace.SpanProcessor(nil), p.opts.SpanProcessors...)
	if p.opts.Keep != nil && len(out) > 0 {
		keep := *p.opts.Keep
		keep.Telemetry = p.providers
		keeper := trace.NewKeeper(out, &keep)
		sampler = keeper.Sampler(sampler)
		processors = append(processors, keeper)
	} else if len(out) > 0 {
		processors = append(processors, out)
	}
	opts := []sdktrace.TracerProviderOption{sdktrace.WithResource(res), sdktrace.WithSampler(sampler)}
	if p.settings.spanLimits != nil {
		opts = append(opts, sdktrace.WithRawSpanLimits(*p.settings.spanLimits))
	}
	var stage atOnce
	for _, sp := range processors {
		opts = append(opts, sdktrace.WithSpanProcessor(sp))
		stage = append(stage, sp)
	}
	p.providers.TracerProvider = sdktrace.NewTracerProvider(opts...)
	p.stages = append(p.stages, stage.stage(Traces))
	return nil
}

func (p *Pipeline) buildLogs(ctx context.Context, res *resource.Resource) error {
	if p.settings.logs.off {
		p.providers.LoggerProvider = lognoop.NewLoggerProvider()
		p.providers.Logger = p.logger(false)
		return nil
	}
	processors := append([]sdklog.Processor(nil), p.opts.LogProcessors...)
	if p.opts.EventsOnSpans {
		processors = append(processors, trace.NewEventBridge())
	}
	processors = append(processors, eventEcho{p.local})
	sending := len(p.opts.LogProcessors) > 0
	for _, to := range p.settings.logs.to {
		var e sdklog.Exporter
		var err error
		kind := "stdout_log_exporter"
		if to.exporter == toConsole {
			e, err = stdoutlog.New()
		} else {
			e, kind, err = to.otlp.records(ctx)
		}
		if err != nil {
			return fmt.Errorf("exporters: %s exporter of logs: %w", to.exporter, err)
		}
		processors = append(processors, newRecordBatcher(p.open(Logs, kind, to.batch.queue), to.batch, e))
		sending = true
	}
	opts := append([]sdklog.LoggerProviderOption{sdklog.WithResource(res)}, p.settings.logLimits...)
	var stage atOnce
	for _, lp := range processors {
		opts = append(opts, sdklog.WithProcessor(lp))
		stage = append(stage, lp)
	}
	p.providers.LoggerProvider = sdklog.NewLoggerProvider(opts...)
	p.providers.Logger = p.logger(sending)
	p.stages = append(p.stages, stage.stage(Logs))
	return nil
}

// logger is the program's: what local is, and the logger provider if any of it leaves the process.
func (p *Pipeline) logger(sending bool) *slog.Logger {
	if !sending {
		return slog.New(p.local)
	}
	return slog.New(log.NewHandler(p.logOptions(), append(p.sinks[:len(p.sinks):len(p.sinks)], log.OTel(scope, p.providers))...))
}

// lifecycle is what span processors and log processors have in common.
type lifecycle interface {
	ForceFlush(context.Context) error
	Shutdown(context.Context) error
}

// atOnce flushes and shuts processors down side by side, where a provider would do one after the other, under one
// deadline. The provider itself is not shut down: it would discard what comes later without counting it.
type atOnce []lifecycle

func (a atOnce) stage(signal Signal) stage {
	return stage{
		signal:   signal,
		flush:    func(ctx context.Context) error { return a.each(func(l lifecycle) error { return l.ForceFlush(ctx) }) },
		shutdown: func(ctx context.Context) error { return a.each(func(l lifecycle) error { return l.Shutdown(ctx) }) },
	}
}

func (a atOnce) each(do func(lifecycle) error) error {
	errs := make([]error, len(a))
	var wg sync.WaitGroup
	for i, l := range a {
		wg.Go(func() { errs[i] = do(l) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// fanout is several span processors as one, for the Keeper has one behind it.
type fanout []spanBatcher

var _ sdktrace.SpanProcessor = fanout(nil)

// OnStart implements sdktrace.SpanProcessor.
func (fanout) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// OnEnd implements sdktrace.SpanProcessor.
func (f fanout) OnEnd(s sdktrace.ReadOnlySpan) {
	for _, b := range f {
		b.OnEnd(s)
	}
}

func (f fanout) each(do func(lifecycle) error) error {
	all := make(atOnce, len(f))
	for i, b := range f {
		all[i] = b
	}
	return all.each(do)
}

// ForceFlush implements sdktrace.SpanProcessor.
func (f fanout) ForceFlush(ctx context.Context) error {
	return f.each(func(l lifecycle) error { return l.ForceFlush(ctx) })
}

// Shutdown implements sdktrace.SpanProcessor.
func (f fanout) Shutdown(ctx context.Context) error {
	return f.each(func(l lifecycle) error { return l.Shutdown(ctx) })
}
