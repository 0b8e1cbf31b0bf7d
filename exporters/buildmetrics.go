package exporters

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"

	"github.com/go-os/go-os/internal/delivery"
	"github.com/go-os/go-os/telemetry/metrics"
)

func (p *Pipeline) buildMetrics(ctx context.Context, res *resource.Resource) error {
	p.page = plainPage(p.opts.Gatherer, p.opts.Prometheus)
	if p.settings.metrics.off {
		p.providers.MeterProvider = metricnoop.NewMeterProvider()
		return nil
	}
	opts := append([]sdkmetric.Option{sdkmetric.WithResource(res), sdkmetric.WithView(p.opts.Views...)}, p.settings.meter...)
	own := &ownResource{want: res}
	if !p.leaks {
		own.settle(nil)
	}
	readers, err := p.metricReaders(ctx, own)
	if err != nil {
		return err
	}
	for _, r := range append(readers, p.opts.MetricReaders...) {
		opts = append(opts, sdkmetric.WithReader(r))
	}
	mp := sdkmetric.NewMeterProvider(opts...)
	p.providers.MeterProvider = mp
	if p.reader != nil {
		var rm metricdata.ResourceMetrics
		if err := p.reader.Collect(ctx, &rm); err == nil {
			own.settle(rm.Resource)
		}
	}
	p.stages = append(p.stages, p.metricStage(mp.ForceFlush, mp.Shutdown))
	return nil
}

// metricStage adds the losses of the exporters to the error of a flush.
func (p *Pipeline) metricStage(flush, shutdown func(context.Context) error) stage {
	losing := func(do func(context.Context) error) func(context.Context) error {
		return func(ctx context.Context) error {
			var errs []error
			before := make(map[*ledger]delivery.Mark)
			for _, l := range p.ledgers {
				if l.signal == Metrics {
					before[l] = l.Mark()
				}
			}
			if err := do(ctx); !errors.Is(err, sdkmetric.ErrReaderShutdown) { // which needs no report
				errs = append(errs, err)
			}
			for l, mark := range before {
				errs = append(errs, l.LossSince(mark))
			}
			return errors.Join(errs...)
		}
	}
	return stage{Metrics, losing(flush), losing(shutdown)}
}

func (p *Pipeline) metricReaders(ctx context.Context, own *ownResource) (readers []sdkmetric.Reader, err error) {
	for _, to := range p.settings.metrics.to {
		switch to.exporter {
		case toPrometheus:
			page, err := metrics.NewPrometheus(p.pageOptions())
			if err != nil {
				return nil, fmt.Errorf("exporters: %w", err)
			}
			p.page = page.Handler()
			p.reader = page.Reader()
			readers = append(readers, p.reader)
		case toConsole:
			e, err := newConsolePoints(p.console)
			if err != nil {
				return nil, fmt.Errorf("exporters: console exporter of metrics: %w", err)
			}
			readers = append(readers, p.periodic(e, "stdout_metric_exporter", to.periodic, own))
		case toOTLP:
			e, kind, err := to.otlp.points(ctx)
			if err != nil {
				return nil, fmt.Errorf("exporters: OTLP exporter of metrics: %w", err)
			}
			readers = append(readers, p.periodic(e, kind, to.periodic, own))
		}
	}
	return readers, nil
}

func (p *Pipeline) periodic(e sdkmetric.Exporter, kind string, cfg periodicConfig, own *ownResource) sdkmetric.Reader {
	opts := []sdkmetric.PeriodicReaderOption{sdkmetric.WithInterval(cfg.interval), sdkmetric.WithTimeout(cmp.Or(cfg.timeout, forever))}
	if cfg.cardinality != nil {
		opts = append(opts, sdkmetric.WithCardinalityLimitSelector(cfg.cardinality))
	}
	if p.opts.BridgeRegistry {
		bridge := metrics.NewBridge(p.opts.Gatherer, &metrics.BridgeOptions{ErrorHandler: p.errors.Handle})
		opts = append(opts, sdkmetric.WithProducer(bridge))
	}
	return drainingReader{sdkmetric.NewPeriodicReader(newPointExporter(p.open(Metrics, kind, 0), cfg, p.draining, own, e), opts...)}
}

// forever replaces a timeout of zero, which the SDK would take for its default.
const forever = 24 * time.Hour

// pageOptions returns the options of the page that serves the program's registry and the pipeline's.
func (p *Pipeline) pageOptions() *metrics.PrometheusOptions {
	o := p.opts.Prometheus
	o.Existing = p.opts.Gatherer
	if o.ErrorHandler == nil {
		o.ErrorHandler = p.errors.Handle
	}
	return &o
}

// plainPage returns the page without the pipeline's metrics.
func plainPage(g prometheus.Gatherer, o metrics.PrometheusOptions) http.Handler {
	if g == nil {
		g = prometheus.Gatherers{}
	}
	return promhttp.HandlerFor(g, promhttp.HandlerOpts{EnableOpenMetrics: o.OpenMetrics, ErrorHandling: promhttp.ContinueOnError})
}
