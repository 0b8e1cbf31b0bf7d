package log

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"

	"github.com/go-os/go-os/internal/delivery"
	"github.com/go-os/go-os/telemetry"
)

// The reasons why a record does not reach a sink: the values of goos.log.reason on goos.log.dropped.
const (
	reasonQueueFull = string(delivery.QueueFull)   // an async sink was slower than the program for too long
	reasonClosed    = string(delivery.QueueClosed) // written after the sink's Shutdown
	reasonShutdown  = string(delivery.Abandoned)   // still queued when the time for Shutdown was over
	reasonError     = "error"                      // the sink returned an error
	reasonPanic     = "panic"                      // the sink panicked, or ended its goroutine
	reasonSampled   = "sampled"
)

// outlet is the account of one sink: its failures and the records it never received.
type outlet struct {
	name   string
	drops  *drops
	report *reporter
	failed atomic.Int64

	foreign  bool    // it may write to package log
	behind   *outlet // of the sink behind an AsyncSink
	inFlight atomic.Int32
	loops    atomic.Bool // it does write to package log, and its lines return
}

// deliver calls the sink's handler. A panic becomes an error; either is counted and reported.
func (o *outlet) deliver(ctx context.Context, h slog.Handler, r slog.Record) (err error) {
	reason := reasonPanic
	defer func() {
		if reason == reasonPanic {
			err = o.abortError(recover())
		}
		if err != nil && !errors.Is(err, errLoop) { // which is counted already
			o.fail(ctx, reason, err)
		}
	}()
	err = o.call(ctx, h, r)
	reason = reasonError
	if err != nil {
		err = fmt.Errorf("log: sink %q: %w", o.name, err)
	}
	return err
}

// call is not inlined: its frame on the stack shows which records the sink logs itself.
//
//go:noinline
func (o *outlet) call(ctx context.Context, h slog.Handler, r slog.Record) error {
	if o.foreign {
		o.inFlight.Add(1)
		defer o.inFlight.Add(-1)
	}
	return h.Handle(ctx, r)
}

// fail counts a record that the sink did not accept, and reports the reason.
func (o *outlet) fail(ctx context.Context, reason string, err error) {
	o.failed.Add(1)
	o.drops.add(ctx, reason, 1)
	o.report.report(err)
}

// abortError returns the error of a sink whose Handle did not return. Without a panic, it called runtime.Goexit.
func (o *outlet) abortError(v any) error {
	if v == nil {
		return fmt.Errorf("log: sink %q ended its goroutine (runtime.Goexit)", o.name)
	}
	return fmt.Errorf("log: sink %q panicked: %v", o.name, v)
}

// guard wraps a sink within a fan-out. slog-multi recovers panics as well, but not for a single sink, and counts nothing.
type guard struct {
	*outlet

	next slog.Handler
}

func (g *guard) Enabled(ctx context.Context, level slog.Level) bool {
	return g.next.Enabled(ctx, level)
}

func (g *guard) Handle(ctx context.Context, r slog.Record) error {
	if g.foreign && r.PC == 0 && g.behind == nil && onStack(standardWrite) {
		return g.deliverApart(ctx, g.next, r)
	}
	return g.deliver(ctx, g.next, r)
}

func (g *guard) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &guard{outlet: g.outlet, next: g.next.WithAttrs(attrs)}
}

func (g *guard) WithGroup(name string) slog.Handler {
	return &guard{outlet: g.outlet, next: g.next.WithGroup(name)}
}

// sinkName returns the sink's own name, or else its type.
func sinkName(s slog.Handler) string {
	if n, ok := s.(interface{ Name() string }); ok && n.Name() != "" {
		return n.Name()
	}
	return fmt.Sprintf("%T", s)
}

// drops counts the records that one sink, or none in particular, did not receive.
type drops struct {
	total   atomic.Int64
	counter metric.Int64Counter
	attrs   map[string][]metric.AddOption // by reason
}

func newDrops(p telemetry.Providers, sink string) *drops {
	d := &drops{attrs: make(map[string][]metric.AddOption)}
	c, err := p.Meter(scopeName).Int64Counter("goos.log.dropped",
		metric.WithUnit("{record}"), metric.WithDescription("Log records that did not reach a sink."))
	if err != nil {
		otel.Handle(err)
		c = metricnoop.Int64Counter{}
	}
	d.counter = c
	for _, reason := range []string{reasonQueueFull, reasonClosed, reasonShutdown, reasonError, reasonPanic, reasonSampled} {
		kvs := []attribute.KeyValue{attribute.String("goos.log.reason", reason)}
		if sink != "" {
			kvs = append(kvs, attribute.String("goos.log.sink", sink))
		}
		d.attrs[reason] = []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(kvs...))}
	}
	return d
}

func (d *drops) add(ctx context.Context, reason string, n int64) {
	d.total.Add(n)
	d.counter.Add(ctx, n, d.attrs[reason]...)
}

// reportEvery is the least time between two calls of an error handler.
const reportEvery = 10 * time.Second

// reporter passes errors on, at most one per reportEvery: a full disk is one message, not one for each record.
type reporter struct {
	handle func(error)
	start  time.Time    // base of last: the monotonic clock does not jump
	last   atomic.Int64 // nanoseconds after start, plus one; 0 means never
	held   atomic.Int64
}

func newReporter(handle func(error)) *reporter {
	if handle == nil {
		handle = otel.Handle
	}
	return &reporter{handle: handle, start: time.Now()}
}

func (r *reporter) report(err error) {
	if r.due() {
		r.forward(err)
	}
}

// due reports whether to pass an error on now, and otherwise counts it. Call it before building an expensive error.
func (r *reporter) due() bool {
	now, last := int64(time.Since(r.start))+1, r.last.Load()
	if last != 0 && now-last < int64(reportEvery) || !r.last.CompareAndSwap(last, now) {
		r.held.Add(1)
		return false
	}
	return true
}

// forward passes an error to the handler, with the number of suppressed ones.
func (r *reporter) forward(err error) {
	if n := r.held.Swap(0); n > 0 {
		err = fmt.Errorf("%w (and %d more failures since the last report)", err, n)
	}
	r.handle(err)
}
