package exporters

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Why something never reached an exporter. The first is the name that the semantic conventions give.
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

// ledger is the account of one destination of one signal. Under its lock, at any time,
//
//	emitted = exported + dropped + queued
//
// holds by construction of its methods: each moves a number from one place to another, and only emitted comes from outside.
type ledger struct {
	signal    Signal
	processor component // zero for metrics, which are not queued
	exporter  component
	capacity  int64
	alarm     func() // tells the reporter that something was lost or failed; never blocks

	mu        sync.Mutex
	emitted   int64
	queued    int64 // waiting for the exporter
	inflight  int64 // given to the exporter
	exported  int64
	refused   map[string]int64 // dropped before the exporter, by reason
	failed    map[string]int64 // dropped by the exporter, by error.type
	dropped   int64            // the sum of both maps
	overBytes int64            // of those refused for a full queue: for its bytes
	uncounted

	duration metric.Float64Histogram // nil until a meter is there
}

// uncounted is what a ledger knows beside its numbers.
type uncounted struct {
	lastSuccess  time.Time
	failures     int       // failed attempts since the last success
	failingSince time.Time // zero while it works
	lastErr      error     // of the last failed attempt, kept after a success for whoever asks later
	lastErrAt    time.Time
	lateErr      error // why what was left at shutdown could not be sent; nil if it could, or before
}

// errOutOfTime is why items are dropped that shutdown had no time for.
var errOutOfTime = errors.New("Shutdown ran out of time")

// late notes that the time of Shutdown, which is that of ctx, was over before the work. The caller holds the lock.
func (l *ledger) late(ctx context.Context) {
	if ctx.Err() != nil && l.lateErr == nil {
		l.lateErr = outOfTime(ctx)
	}
}

func outOfTime(ctx context.Context) error {
	return fmt.Errorf("%w: %w", errOutOfTime, context.Cause(ctx))
}

func newLedger(signal Signal, processor, exporter component, capacity int, alarm func()) *ledger {
	return &ledger{
		signal: signal, processor: processor, exporter: exporter, capacity: int64(capacity), alarm: alarm,
		refused: make(map[string]int64), failed: make(map[string]int64),
	}
}

// refuse accounts for n emitted items that never reach the exporter. The caller holds the lock.
func (l *ledger) refuse(n int64, reason string) {
	l.refused[reason] += n
	l.dropped += n
}

// begin hands n queued items to the exporter. The caller holds the lock.
func (l *ledger) begin(n int64) {
	l.queued -= n
	l.inflight += n
}

// settle closes n items that were given to the exporter: lost of them were dropped for err, the rest arrived.
func (l *ledger) settle(n, lost int64, err error) {
	l.mu.Lock()
	l.inflight -= n
	l.exported += n - lost
	if lost > 0 {
		l.failed[errorType(err)] += lost
		l.dropped += lost
	}
	if errors.Is(err, errOutOfTime) && l.lateErr == nil {
		l.lateErr = err
	}
	l.mu.Unlock()
	if lost > 0 {
		l.alarm()
	}
}

// attempted notes how one attempt to export ended. A partial rejection is an answer of a peer that works.
func (l *ledger) attempted(err error) {
	l.mu.Lock()
	_, partial := rejected(err)
	if err == nil || partial {
		l.lastSuccess, l.failures, l.failingSince = time.Now(), 0, time.Time{}
	} else {
		l.failures++
		if l.failingSince.IsZero() {
			l.failingSince = time.Now()
		}
	}
	if err != nil {
		l.lastErr, l.lastErrAt = err, time.Now()
	}
	l.mu.Unlock()
	if err != nil {
		l.alarm()
	}
}

// measure records the duration of one export, all its attempts together.
func (l *ledger) measure(ctx context.Context, took time.Duration, err error) {
	l.mu.Lock()
	duration := l.duration
	l.mu.Unlock()
	if duration == nil {
		return
	}
	attrs := l.exporter.attributes()
	if err != nil {
		attrs = append(attrs, attribute.String("error.type", errorType(err)))
	}
	duration.Record(ctx, took.Seconds(), metric.WithAttributes(attrs...))
}

// page is a copy of a ledger at one moment.
type page struct {
	signal              Signal
	processor, exporter component
	capacity            int64
	emitted, queued     int64
	inflight, exported  int64
	dropped, overBytes  int64
	refused, failed     map[string]int64
	uncounted
}

func (l *ledger) read() page {
	l.mu.Lock()
	defer l.mu.Unlock()
	return page{
		signal: l.signal, processor: l.processor, exporter: l.exporter, capacity: l.capacity,
		emitted: l.emitted, queued: l.queued, inflight: l.inflight, exported: l.exported, dropped: l.dropped, overBytes: l.overBytes,
		refused: maps.Clone(l.refused), failed: maps.Clone(l.failed), uncounted: l.uncounted,
	}
}
