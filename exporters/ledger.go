package exporters

import (
	"context"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/go-os/go-os/internal/delivery"
)

// The reasons why an item never reached an exporter: values of error.type. The semantic conventions define the first.
const (
	lossQueueFull = "queue_full"
	lossShutdown  = "already_shutdown"
)

// component names the processor or the exporter of a destination, by the semantic conventions: "otlp_grpc_span_exporter/0".
type component struct{ kind, name string }

func (c component) attributes() []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("otel.component.name", c.name),
		attribute.String("otel.component.type", c.kind),
	}
}

// ledger is the account of one destination of one signal. Its numbers are those of package delivery; delivered means exported.
type ledger struct {
	*delivery.Ledger

	signal    Signal
	processor component // zero for metrics, which are not queued
	exporter  component
	capacity  int64

	duration atomic.Pointer[metric.Float64Histogram] // nil until there is a meter
}

// newLedger returns an empty account. It calls alarm when items are lost or an export fails; alarm must not block.
func newLedger(signal Signal, processor, exporter component, capacity int, alarm func()) *ledger {
	return &ledger{
		signal: signal, processor: processor, exporter: exporter, capacity: int64(capacity),
		Ledger: delivery.NewLedger(&delivery.LedgerOptions{
			Subject: signal.items() + " to " + exporter.name, Classify: errorType, Notify: alarm,
		}),
	}
}

// attempted records the outcome of one attempt to export. A partial rejection shows that the peer works.
func (l *ledger) attempted(err error) {
	if _, partial := rejected(err); err == nil || partial {
		l.Answered(err)
	} else {
		l.Failed(err)
	}
}

// measure records the duration of one export with all its attempts.
func (l *ledger) measure(ctx context.Context, took time.Duration, err error) {
	duration := l.duration.Load()
	if duration == nil {
		return
	}
	attrs := l.exporter.attributes()
	if err != nil {
		attrs = append(attrs, attribute.String("error.type", errorType(err)))
	}
	(*duration).Record(ctx, took.Seconds(), metric.WithAttributes(attrs...))
}

// page is a snapshot of a ledger.
type page struct {
	delivery.Account

	signal              Signal
	processor, exporter component
	capacity            int64
	overBytes           int64            // refused because the queue was full in bytes
	refused             map[string]int64 // RefusedBy, by error.type
}

func (l *ledger) read() page {
	p := page{
		Account: l.Read(), signal: l.signal, processor: l.processor, exporter: l.exporter, capacity: l.capacity, refused: make(map[string]int64),
	}
	p.overBytes = p.RefusedBy[delivery.QueueBytes]
	for reason, n := range p.RefusedBy {
		switch reason {
		case delivery.QueueFull, delivery.QueueBytes:
			p.refused[lossQueueFull] += n
		default:
			p.refused[lossShutdown] += n
		}
	}
	return p
}

// items returns the plural noun for the items of a signal.
func (s Signal) items() string {
	switch s {
	case Traces:
		return "spans"
	case Metrics:
		return "metric data points"
	default:
		return "log records"
	}
}
