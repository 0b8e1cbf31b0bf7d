package exporters

import (
	"context"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/go-os/go-os/internal/delivery"
)

// pointExporter counts the data points that a periodic reader exports, and retries failed exports within the reader's
// timeout. A lost cumulative point counts as dropped, although the next one makes up for it.
type pointExporter struct {
	sdkmetric.Exporter
	ledger *ledger
	cfg    periodicConfig
	own    *ownResource
	out    splitter[*metricdata.ResourceMetrics]
}

func newPointExporter(l *ledger, cfg periodicConfig, draining <-chan struct{}, own *ownResource, e sdkmetric.Exporter) *pointExporter {
	return &pointExporter{Exporter: e, ledger: l, cfg: cfg, own: own, out: splitter[*metricdata.ResourceMetrics]{
		deliver: deliverer{ledger: l, draining: draining}, limit: delivery.DefaultBatchBytes, export: e.Export,
		count: points, size: sizeOfMetrics, halve: halvePoints, settle: l.Settle,
	}}
}

// Temporality implements sdkmetric.Exporter.
func (e *pointExporter) Temporality(kind sdkmetric.InstrumentKind) metricdata.Temporality {
	if e.cfg.temporality != nil {
		return e.cfg.temporality(kind)
	}
	return e.Exporter.Temporality(kind)
}

// Aggregation implements sdkmetric.Exporter.
func (e *pointExporter) Aggregation(kind sdkmetric.InstrumentKind) sdkmetric.Aggregation {
	if e.cfg.aggregation != nil {
		return e.cfg.aggregation(kind)
	}
	return e.Exporter.Aggregation(kind)
}

// Export sends one collection. It returns no error: the ledger records it, and the reader would report it a second time.
func (e *pointExporter) Export(ctx context.Context, rm *metricdata.ResourceMetrics) error {
	e.own.settle(rm.Resource)
	repairMetrics(rm)
	n := points(rm)
	if n == 0 {
		return nil
	}
	e.ledger.Begin(n)
	ctx, cancel := drainingContext(ctx)
	defer cancel()
	_ = e.out.send(ctx, rm, until(e.cfg.timeout))
	return nil
}

// drainingReader is a periodic reader that collects once more on Shutdown, even if the context has ended, so that unsent
// points are counted. Collecting involves no other process; the export obeys the context.
type drainingReader struct{ *sdkmetric.PeriodicReader }

type drainKey struct{}

// Shutdown implements sdkmetric.Reader.
func (r drainingReader) Shutdown(ctx context.Context) error {
	return r.PeriodicReader.Shutdown(context.WithValue(context.WithoutCancel(ctx), drainKey{}, ctx))
}

// drainingContext returns a context that also ends with the context of Shutdown, if the export is part of one.
func drainingContext(ctx context.Context) (context.Context, context.CancelFunc) {
	drain, ok := ctx.Value(drainKey{}).(context.Context)
	if !ok {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(drain, func() { cancel(context.Cause(drain)) })
	if drain.Err() != nil {
		cancel(context.Cause(drain))
	}
	return ctx, func() { stop(); cancel(nil) }
}

// points counts the data points of one collection.
func points(rm *metricdata.ResourceMetrics) (n int64) {
	for _, scope := range rm.ScopeMetrics {
		for _, m := range scope.Metrics {
			n += int64(pointsOf(m.Data))
		}
	}
	return n
}

func pointsOf(data metricdata.Aggregation) int {
	switch d := data.(type) {
	case metricdata.Gauge[int64]:
		return len(d.DataPoints)
	case metricdata.Gauge[float64]:
		return len(d.DataPoints)
	case metricdata.Sum[int64]:
		return len(d.DataPoints)
	case metricdata.Sum[float64]:
		return len(d.DataPoints)
	case metricdata.Histogram[int64]:
		return len(d.DataPoints)
	case metricdata.Histogram[float64]:
		return len(d.DataPoints)
	case metricdata.ExponentialHistogram[int64]:
		return len(d.DataPoints)
	case metricdata.ExponentialHistogram[float64]:
		return len(d.DataPoints)
	case metricdata.Summary:
		return len(d.DataPoints)
	}
	return 0
}
