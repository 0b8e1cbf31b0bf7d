package log

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"

	"github.com/go-os/go-os/internal/delivery"
	"github.com/go-os/go-os/internal/option"
	"github.com/go-os/go-os/telemetry"
)

// AsyncOptions configure an AsyncSink. Nil and the zero value work.
type AsyncOptions struct {
	// Name of the sink in metrics and errors. Empty means the name of the wrapped sink.
	Name string
	// Capacity is the maximum number of waiting records. Zero means 1024. The queue grows to that, at about 350 bytes a record.
	Capacity int
	// ErrorHandler receives the errors and panics of the sink, and the records dropped because it was too slow, as
	// Options.ErrorHandler does.
	ErrorHandler func(error)
	// Telemetry receives the metrics of this sink.
	Telemetry telemetry.Providers
}

// defaultCapacity is the default of AsyncOptions.Capacity.
const defaultCapacity = 1024

// AsyncSink passes records to a slow sink from a separate goroutine, in order. A log call queues the record and returns; when the
// queue is full, the record is dropped and counted.
//
// The goroutine runs only while there is something to write: an abandoned AsyncSink leaks nothing. Shut it down before the program
// ends, or the queued records are lost.
//
// The sink gets the context of the log call with all its values, but not its cancellation. LogValuers are resolved in the log call.
// Values behind pointers and in maps must not change after it.
type AsyncSink struct {
	*async

	next slog.Handler
}

// async is the state that an AsyncSink shares with those derived by WithAttrs and WithGroup.
type async struct {
	*outlet

	ledger   *delivery.Ledger
	worker   *delivery.Worker[entry]
	capacity int
}

// entry is a queued record, with the handler that has the attributes and groups of its logger.
type entry struct {
	ctx    context.Context
	next   slog.Handler
	record slog.Record
}

// Async returns a sink that writes to h in the background.
func Async(h slog.Handler, opts *AsyncOptions) *AsyncSink {
	if opts == nil {
		opts = &AsyncOptions{}
	}
	if h == nil {
		h = slog.DiscardHandler
	}
	o := &outlet{name: opts.Name, report: newReporter(opts.ErrorHandler), foreign: foreign(h)}
	if o.name == "" {
		o.name = sinkName(h)
	}
	o.drops = newDrops(opts.Telemetry, o.name)
	capacity := opts.Capacity
	option.Default("log.AsyncOptions", "Capacity", &capacity)
	capacity = cmp.Or(capacity, defaultCapacity)
	a := &async{outlet: o, ledger: delivery.NewLedger(nil), capacity: capacity}
	a.worker = delivery.NewWorker(a.ledger, a.write, delivery.Limits{Items: capacity})
	return &AsyncSink{async: a, next: h}
}

// write passes an entry to the sink.
func (a *async) write(e entry) error {
	return a.deliver(context.WithoutCancel(e.ctx), e.next, e.record)
}

// lose counts lost records and reports them. The reasons of package delivery are the values of goos.log.dropped.
func (a *async) lose(ctx context.Context, reason delivery.Reason, n int64) {
	if n == 0 {
		return
	}
	a.drops.add(ctx, string(reason), n)
	if reason == delivery.QueueFull && a.report.due() {
		a.report.forward(fmt.Errorf("log: sink %q: its queue of %d records is full, and records are dropped; "+
			"it is too slow for what is logged: log less, or raise AsyncOptions.Capacity", a.name, a.capacity))
	}
}

// Name returns the sink's name.
func (s *AsyncSink) Name() string { return s.outlet.name }

// Enabled reports whether the wrapped sink is enabled.
func (s *AsyncSink) Enabled(ctx context.Context, level slog.Level) bool {
	return s.next.Enabled(ctx, level)
}

// Handle queues the record. It never waits and always returns nil: a record that cannot be queued is counted.
func (s *AsyncSink) Handle(ctx context.Context, r slog.Record) error {
	if reason := s.worker.Push(entry{ctx: ctx, next: s.next, record: resolve(r)}, 0); reason != delivery.Accepted {
		s.lose(ctx, reason, 1)
	}
	return nil
}

// WithAttrs returns a sink with these attributes, on the same queue.
func (s *AsyncSink) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &AsyncSink{async: s.async, next: s.next.WithAttrs(attrs)}
}

// WithGroup returns a sink with this group open, on the same queue.
func (s *AsyncSink) WithGroup(name string) slog.Handler {
	if name == "" {
		return s
	}
	return &AsyncSink{async: s.async, next: s.next.WithGroup(name)}
}

// AsyncStats counts records since the sink was created. Every record passed to the sink is in exactly one count.
type AsyncStats struct {
	// Queued records wait, or are being written.
	Queued int64
	// Written records were accepted by the wrapped sink.
	Written int64
	// Failed records were refused by the wrapped sink, by an error or a panic.
	Failed int64
	// Dropped records never reached the wrapped sink: the queue was full, or the sink was shut down.
	Dropped int64
}

// Stats returns the current counts.
func (s *AsyncSink) Stats() AsyncStats {
	c := s.ledger.Counts()
	return AsyncStats{Queued: c.Queued(), Written: c.Delivered, Failed: c.Failed, Dropped: c.Refused}
}

// Dropped returns the number of records that never reached the wrapped sink.
func (s *AsyncSink) Dropped() int64 { return s.ledger.Counts().Refused }

// Flush waits until every record that was queued before the call has been written, or has failed. If ctx ends first, the error names
// the sink and the number of remaining records, and wraps the error of ctx.
func (s *AsyncSink) Flush(ctx context.Context) error {
	if left := s.worker.Flush(ctx); left > 0 {
		return fmt.Errorf("log: sink %q: %d records not written yet: %w", s.outlet.name, left, ctx.Err())
	}
	return nil
}

// Shutdown writes the queued records and accepts no more. If ctx ends first, the waiting records are dropped and counted, and the
// error has their number. A record that the sink is writing stays in Queued until the sink returns. Later calls only wait.
func (s *AsyncSink) Shutdown(ctx context.Context) error {
	dropped, busy := s.worker.Shutdown(ctx)
	s.lose(context.WithoutCancel(ctx), delivery.Abandoned, dropped)
	if dropped == 0 && !busy {
		return nil
	}
	state := ""
	if busy {
		state = ", and the sink is still busy with one"
	}
	return fmt.Errorf("log: sink %q shut down: %d records dropped%s: %w", s.outlet.name, dropped, state, ctx.Err())
}

// resolve returns a copy of the record without LogValuers: their results may have changed by the time it is written.
func resolve(r slog.Record) slog.Record {
	found := false
	r.Attrs(func(a slog.Attr) bool {
		found = hasValuer(a.Value)
		return !found
	})
	if !found {
		return r.Clone()
	}
	out := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		out.AddAttrs(slog.Attr{Key: a.Key, Value: resolved(a.Value, 0)})
		return true
	})
	return out
}

func hasValuer(v slog.Value) bool {
	switch v.Kind() {
	case slog.KindLogValuer:
		return true
	case slog.KindGroup:
		for _, a := range v.Group() {
			if hasValuer(a.Value) {
				return true
			}
		}
	}
	return false
}

func resolved(v slog.Value, depth int) slog.Value {
	v = v.Resolve()
	if v.Kind() != slog.KindGroup || depth >= maxDepth {
		return v
	}
	var out []slog.Attr
	for _, a := range v.Group() {
		out = append(out, slog.Attr{Key: a.Key, Value: resolved(a.Value, depth+1)})
	}
	return slog.GroupValue(out...)
}
