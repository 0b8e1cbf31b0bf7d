package exporters

import (
	"context"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/go-os/go-os/internal/delivery"
)

// Why something never reached an exporter: values of error.type. The first is the name that the semantic conventions give.
const (
	lossQueueFull = "queue_full"
	lossShutdown  = "already_shutdown"
)

// component names one half of a destination, as the semantic conventions do: "otlp_grpc_span_exporter/0".
type component struct{ kind, name string }

func (c component) attributes() []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("otel.component.name", c.name),
		attribute.String("otel.component.type", c.kind),
	}
}

// ledger is the account of one destination of one signal. Its numbers are those of package delivery, where delivered is exported.
type ledger struct {
	*delivery.Ledger

	signal    Signal
	processor component // zero for metrics, which are not queued
	exporter  component
	capacity  int64

	duration atomic.Pointer[metric.Float64Histogram] // nil until a meter is there
}

// newLedger returns an empty account. alarm is called when something was lost or failed; it must not block.
func newLedger(signal Signal, processor, exporter component, capacity int, alarm func()) *ledger {
	return &ledger{
		signal: signal, processor: processor, exporter: exporter, capacity: int64(capacity),
		Ledger: delivery.NewLedger(&delivery.LedgerOptions{
			Subject: signal.items() + " to " + exporter.name, Classify: errorType, Notify: alarm,
		}),
	}
}

// attempted notes how one attempt to export ended. A partial rejection is an answer of a peer that works.
func (l *ledger) attempted(err error) {
	if _, partial := rejected(err); err == nil || partial {
		l.Answered(err)
	} else {
		l.Failed(err)
	}
}

// measure records the duration of one export, all its attempts together.
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

// page is a copy of a ledger at one moment.
type page struct {
	delivery.Account

	signal              Signal
	processor, exporter component
	capacity            int64
	overBytes           int64            // of those refused for a full queue: for its bytes
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

// items is what a signal is counted in.
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
