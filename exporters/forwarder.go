package exporters

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-os/go-os/internal/delivery"
)

const (
	// maxLineWait bounds the wait of a log call for its line. A handler may take longer, but then no call waits for it.
	maxLineWait = time.Second
	// maxLines bounds the lines that may wait for such a handler.
	maxLines = 256
)

// forwarder passes lines to the log handlers and writers of the program. These may block forever, on a pipe without a reader or a disk
// that hangs. So they run on a goroutine of the forwarder, one at a time, with no lock held.
//
// A log call waits until its line is written. Once a line takes longer than maxLineWait, calls stop waiting until all lines are
// written. While maxLines lines wait, further lines are dropped, and the next line reports their number. The zero value works.
type forwarder struct {
	once     sync.Once
	ledger   *delivery.Ledger
	worker   *delivery.Worker[line]
	behind   atomic.Bool // calls do not wait
	reported int64       // dropped lines that a line has counted; belongs to the worker
}

type line struct {
	ctx    context.Context
	to     slog.Handler
	record slog.Record
	done   chan struct{}
}

// handler returns a handler that forwards to next.
func (f *forwarder) handler(next slog.Handler) slog.Handler { return forwarding{f, next} }

// forwarding is a handler that passes its lines to a forwarder.
type forwarding struct {
	forwarder *forwarder
	next      slog.Handler
}

// Enabled implements slog.Handler.
func (h forwarding) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// Handle implements slog.Handler. It does not return the errors of the next handler, which reports them itself.
func (h forwarding) Handle(ctx context.Context, r slog.Record) error {
	h.forwarder.take(line{ctx, h.next, r.Clone(), make(chan struct{})})
	return nil
}

// WithAttrs implements slog.Handler.
func (h forwarding) WithAttrs(attrs []slog.Attr) slog.Handler {
	return forwarding{h.forwarder, h.next.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h forwarding) WithGroup(name string) slog.Handler {
	return forwarding{h.forwarder, h.next.WithGroup(name)}
}

func (f *forwarder) init() {
	f.once.Do(func() {
		f.ledger = delivery.NewLedger(nil)
		f.worker = delivery.NewWorker(f.ledger, f.write, delivery.Limits{Items: maxLines})
	})
}

func (f *forwarder) take(l line) {
	f.init()
	if f.behind.Load() && f.ledger.Counts().Queued() == 0 {
		f.behind.Store(false)
	}
	if f.worker.Push(l, 0) != delivery.Accepted || f.behind.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(l.ctx, maxLineWait)
	defer cancel()
	if !delivery.Await(ctx, l.done, delivery.Grace) {
		f.behind.Store(true)
	}
}

// write passes a line to its handler. The worker survives a handler that panics.
func (f *forwarder) write(l line) error {
	defer close(l.done)
	if dropped := f.ledger.Counts().Refused; dropped > f.reported {
		l.record.AddAttrs(slog.Int64("lines_dropped_before", dropped-f.reported))
		f.reported = dropped
	}
	return l.to.Handle(context.WithoutCancel(l.ctx), l.record)
}

// flush waits until all lines are written, or for maxLineWait, or until ctx ends.
func (f *forwarder) flush(ctx context.Context) {
	f.init()
	ctx, cancel := context.WithTimeout(ctx, maxLineWait)
	defer cancel()
	f.worker.Flush(ctx)
}
