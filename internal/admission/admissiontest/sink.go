// Package admissiontest has a slow log sink, for tests of servers under overload.
package admissiontest

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// Sink is a log handler that writes one line at a time and takes a while for each, as one that is bound to a file or a pipe
// does. A channel is its lock, so that waiting for it lets the time of a synctest bubble pass. It accounts for requests: a
// line is one, and carries the number of refusals that had none.
type Sink struct {
	slog.Handler
	turn     chan struct{}
	line     time.Duration
	lines    atomic.Int64
	unlogged atomic.Int64
}

// NewSink returns a sink that takes so long for a line.
func NewSink(line time.Duration) *Sink {
	return &Sink{Handler: slog.DiscardHandler, turn: make(chan struct{}, 1), line: line}
}

// Enabled implements slog.Handler.
func (s *Sink) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (s *Sink) Handle(_ context.Context, r slog.Record) error {
	s.turn <- struct{}{}
	time.Sleep(s.line)
	<-s.turn
	s.lines.Add(1)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "unlogged_refusals" {
			s.unlogged.Add(a.Value.Int64())
		}
		return true
	})
	return nil
}

// Accounted returns how many requests the lines account for.
func (s *Sink) Accounted() int64 { return s.lines.Load() + s.unlogged.Load() }
