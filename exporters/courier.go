package exporters

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/go-os/go-os/internal/delivery"
)

const (
	// patience is how long a line of the pipeline is waited for. A handler that takes longer is left to itself.
	patience = time.Second
	// linesWaiting bounds the lines behind such a handler.
	linesWaiting = 256
)

// courier takes lines to the program's log handlers and writers, which may block for ever: a pipe that nobody reads, a disk that hangs.
// They run on a goroutine of the courier's, one at a time, with no lock held.
//
// As long as they work, a line is written when it is logged: the call waits for it. Once a line takes longer than patience, calls no
// longer wait, until all lines are through; what comes while too many wait is dropped, and the next line says how many. The zero
// value works. Its goroutine ends when there is nothing to do.
type courier struct {
	mu      sync.Mutex
	lines   []line
	running bool
	behind  bool          // nobody waits
	idle    chan struct{} // closed when the goroutine ends; nil unless it runs
	dropped int64
}

type line struct {
	ctx    context.Context
	to     slog.Handler
	record slog.Record
	done   chan struct{}
}

// handler logs to another handler by the courier.
func (c *courier) handler(next slog.Handler) slog.Handler { return carried{c, next} }

// carried is a handler whose lines the courier takes.
type carried struct {
	courier *courier
	next    slog.Handler
}

// Enabled implements slog.Handler.
func (h carried) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// Handle implements slog.Handler. What the other handler returns is lost: it reports its errors by itself.
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

func (c *courier) take(l line) {
	c.mu.Lock()
	if len(c.lines) >= linesWaiting {
		c.dropped++
		c.mu.Unlock()
		return
	}
	c.lines = append(c.lines, l)
	if !c.running {
		c.running, c.idle = true, make(chan struct{})
		go c.run(c.idle)
	}
	behind := c.behind
	c.mu.Unlock()
	if behind {
		return
	}
	ctx, cancel := context.WithTimeout(l.ctx, patience)
	defer cancel()
	if !delivery.Await(ctx, l.done, delivery.Grace) {
		c.mu.Lock()
		c.behind = c.running
		c.mu.Unlock()
	}
}

// run writes lines until there are none.
func (c *courier) run(idle chan struct{}) {
	defer close(idle)
	for {
		c.mu.Lock()
		if len(c.lines) == 0 {
			c.lines, c.running, c.behind = nil, false, false
			c.mu.Unlock()
			return
		}
		l, dropped := c.lines[0], c.dropped
		c.lines, c.dropped = c.lines[1:], 0
		c.mu.Unlock()
		if dropped > 0 {
			l.record.AddAttrs(slog.Int64("lines_dropped_before", dropped))
		}
		deliver(l)
	}
}

// deliver survives a handler that panics, on a goroutine that the program does not know of.
func deliver(l line) {
	defer close(l.done)
	defer func() { _ = recover() }()
	_ = l.to.Handle(context.WithoutCancel(l.ctx), l.record)
}

// flush waits until all lines are written, no longer than patience and than ctx.
func (c *courier) flush(ctx context.Context) {
	c.mu.Lock()
	idle := c.idle
	c.mu.Unlock()
	if idle == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	delivery.Await(ctx, idle, 0)
}
