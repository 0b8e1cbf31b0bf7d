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
	// patience is how long a log call waits for its line. A handler that takes longer is left to itself.
	patience = time.Second
	// linesWaiting bounds the lines behind such a handler.
	linesWaiting = 256
)

// courier hands lines to the program's log handlers and writers, which may block for ever: a pipe that nobody reads, a disk that hangs.
// They run on a goroutine of the courier, one at a time, with no lock held.
//
// As long as they work, a line is written when it is logged: the call waits for it. Once a line takes longer than patience, calls no
// longer wait, until all lines are through. A line is dropped while too many wait, and the next one says how many were. The zero value
// works.
type courier struct {
	once   sync.Once
	ledger *delivery.Ledger
	worker *delivery.Worker[line]
	behind atomic.Bool // calls do not wait
	told   int64       // dropped lines that another line has told; belongs to the worker
}

type line struct {
	ctx    context.Context
	to     slog.Handler
	record slog.Record
	done   chan struct{}
}

// handler returns a handler that logs to another one by the courier.
func (c *courier) handler(next slog.Handler) slog.Handler { return carried{c, next} }

// carried is a handler whose lines the courier carries.
type carried struct {
	courier *courier
	next    slog.Handler
}

// Enabled implements slog.Handler.
func (h carried) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// Handle implements slog.Handler. It does not return the errors of the other handler, which reports them by itself.
func (h carried) Handle(ctx context.Context, r slog.Record) error {
	h.courier.take(line{ctx, h.next, r.Clone(), make(chan struct{})})
	return nil
}

// WithAttrs implements slog.Handler.
func (h carried) WithAttrs(attrs []slog.Attr) slog.Handler {
	return carried{h.courier, h.next.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h carried) WithGroup(name string) slog.Handler {
	return carried{h.courier, h.next.WithGroup(name)}
}

func (c *courier) init() {
	c.once.Do(func() {
		c.ledger = delivery.NewLedger(nil)
		c.worker = delivery.NewWorker(c.ledger, c.write, delivery.Limits{Items: linesWaiting})
	})
}

func (c *courier) take(l line) {
	c.init()
	if c.behind.Load() && c.ledger.Counts().Queued() == 0 {
		c.behind.Store(false)
	}
	if c.worker.Push(l, 0) != delivery.Accepted || c.behind.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(l.ctx, patience)
	defer cancel()
	if !delivery.Await(ctx, l.done, delivery.Grace) {
		c.behind.Store(true)
	}
}

// write hands a line to its handler. The worker survives a handler that panics.
func (c *courier) write(l line) error {
	defer close(l.done)
	if dropped := c.ledger.Counts().Refused; dropped > c.told {
		l.record.AddAttrs(slog.Int64("lines_dropped_before", dropped-c.told))
		c.told = dropped
	}
	return l.to.Handle(context.WithoutCancel(l.ctx), l.record)
}

// flush waits until all lines are written, no longer than patience and than ctx.
func (c *courier) flush(ctx context.Context) {
	c.init()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c.worker.Flush(ctx)
}
