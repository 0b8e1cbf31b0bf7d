// Package admissiontest provides a slow log sink, for tests of servers under overload.
package admissiontest

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// Sink is a slow log handler that writes one line at a time, like one that writes to a file or a pipe. Its lock is a channel, so that the
// time of a synctest bubble can pass while a caller waits for it. It accounts for requests: a line stands for one request, and carries the
// number of refusals without a line.
type Sink struct {
	slog.Handler
	turn     chan struct{}
	line     time.Duration
	lines    atomic.Int64
	unlogged atomic.Int64
}

// NewSink returns a sink that needs this time for a line.
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
