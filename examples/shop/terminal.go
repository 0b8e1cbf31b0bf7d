package main

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/go-os/go-os/telemetry/log"
)

// sayAgain is the shortest interval between two lines with the same message.
const sayAgain = 10 * time.Second

// terminal is the log sink for the screen. It shows warnings and errors, each message once every sayAgain. The exporters and the final
// trace have all records.
type terminal struct {
	slog.Handler
	said *said
}

// said records when each message was last shown, for at most maxSaid messages.
type said struct {
	mu   sync.Mutex
	last map[string]time.Time
}

const maxSaid = 100

func newTerminal(w io.Writer) *terminal {
	return &terminal{
		Handler: log.Text(w, &log.SinkOptions{Name: "terminal", Level: slog.LevelWarn, ReplaceAttr: withoutStack}),
		said:    &said{last: make(map[string]time.Time)},
	}
}

func withoutStack(_ []string, a slog.Attr) slog.Attr {
	if a.Key == "exception.stacktrace" {
		return slog.Attr{}
	}
	return a
}

// Handle implements slog.Handler.
func (t *terminal) Handle(ctx context.Context, r slog.Record) error {
	if !t.said.due(about(r), r.Time) {
		return nil
	}
	return t.Handler.Handle(ctx, r)
}

// about returns the identity of a message: its text and its reason, since an event may have several reasons.
func about(r slog.Record) string {
	message := r.Message
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "exception.message" {
			message += " " + a.Value.String()
		}
		return true
	})
	return message
}

// WithAttrs implements slog.Handler.
func (t *terminal) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &terminal{t.Handler.WithAttrs(attrs), t.said}
}

// WithGroup implements slog.Handler.
func (t *terminal) WithGroup(name string) slog.Handler {
	return &terminal{t.Handler.WithGroup(name), t.said}
}

func (s *said) due(message string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, known := s.last[message]
	if known && now.Sub(last) < sayAgain || !known && len(s.last) >= maxSaid {
		return false
	}
	s.last[message] = now
	return true
}
