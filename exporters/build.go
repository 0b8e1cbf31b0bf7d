package exporters

import (
	"context"
	"fmt"
	"log/slog"

	"go.opentelemetry.io/contrib/instrumentation/runtime"

	"github.com/go-os/go-os/telemetry"
)

// build creates the providers.
func (p *Pipeline) build(ctx context.Context, e *environ) error {
	if p.settings.disabled {
		p.buildOff()
		return nil
	}
	res := newResource(ctx, e, p.opts, p.settings.attributes)
	p.leaks = leaks(res)
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

// buildOff creates what OTEL_SDK_DISABLED leaves: propagation, as the specification requires, the readable log, and the program's
// registry.
func (p *Pipeline) buildOff() {
	p.providers = telemetry.Off()
	p.providers.Propagator = p.settings.propagator
	p.buildLocal()
	p.providers.Logger = slog.New(p.local)
	p.page = plainPage(p.opts.Gatherer, p.opts.Prometheus)
	p.reporter.start(p.own, nil)
}

// finish registers the pipeline's own metrics and starts its reports.
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

// open creates the ledger of one destination.
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

// sized adds the limits in bytes, which only the Options have.
func (p *Pipeline) sized(c batchConfig) batchConfig {
	c.queueBytes, c.batchBytes = int64(p.opts.QueueBytes), int64(p.opts.BatchBytes)
	return c
}
