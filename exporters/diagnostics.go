package exporters

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// sdkLog filters the SDK's own log by OTEL_LOG_LEVEL. logr maps the SDK's levels to nonstandard slog levels, which sdkLog corrects.
type sdkLog struct {
	slog.Handler
	least slog.Level
}

// Enabled implements slog.Handler.
func (h sdkLog) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= h.least && h.Handler.Enabled(ctx, sdkToSlog(level))
}

// Handle implements slog.Handler.
func (h sdkLog) Handle(ctx context.Context, r slog.Record) error {
	r.Level = sdkToSlog(r.Level)
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h sdkLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return sdkLog{h.Handler.WithAttrs(attrs), h.least}
}

// WithGroup implements slog.Handler.
func (h sdkLog) WithGroup(name string) slog.Handler {
	return sdkLog{h.Handler.WithGroup(name), h.least}
}

// sdkToSlog returns the slog level of an SDK message. It is never below Info, which loggers show by default: OTEL_LOG_LEVEL has already
// selected the message.
func sdkToSlog(level slog.Level) slog.Level {
	switch {
	case level >= slog.LevelError:
		return slog.LevelError
	case level >= sdkWarn:
		return slog.LevelWarn
	default:
		return slog.LevelInfo
	}
}

// errorLog is the OpenTelemetry error handler. It logs an error once, then at most once an interval with the number of repeats. It
// remembers a bounded number of errors; the rest share one entry.
type errorLog struct {
	interval time.Duration
	draining <-chan struct{} // cancellations after it is closed are expected

	mu     sync.Mutex
	logger *slog.Logger // nil until start
	seen   map[string]*errorCount
}

type errorCount struct {
	next  time.Time
	again int
}

// errorsRemembered bounds the memory of an errorLog when all errors differ.
const errorsRemembered = 64

func newErrorLog(interval time.Duration, draining <-chan struct{}) *errorLog {
	return &errorLog{interval: interval, draining: draining, seen: make(map[string]*errorCount)}
}

// start sets the logger. Earlier errors are not logged, but an error that lasts recurs.
func (l *errorLog) start(logger *slog.Logger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.logger = logger
}

// Handle implements otel.ErrorHandler.
func (l *errorLog) Handle(err error) {
	if err == nil || l.meant(err) {
		return
	}
	logger, again := l.admit(err.Error(), time.Now())
	if logger == nil {
		return
	}
	attrs := []slog.Attr{slog.Any("error", err)}
	if again > 0 {
		attrs = append(attrs, slog.Int("repeated", again))
	}
	logger.LogAttrs(context.Background(), slog.LevelWarn, "telemetry error", attrs...)
}

// meant reports whether err only means that a shutdown interrupted something, such as a collection of metrics.
func (l *errorLog) meant(err error) bool {
	select {
	case <-l.draining:
		return errors.Is(err, context.Canceled)
	default:
		return false
	}
}

// admit returns the logger for a line that is due, and the number of repeats since the last line.
func (l *errorLog) admit(text string, now time.Time) (logger *slog.Logger, again int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.logger == nil {
		return nil, 0
	}
	c := l.seen[text]
	if c == nil && len(l.seen) >= errorsRemembered {
		l.forget(now)
		if len(l.seen) >= errorsRemembered {
			text = ""
			c = l.seen[text]
		}
	}
	if c == nil {
		c = &errorCount{}
		l.seen[text] = c
	}
	if now.Before(c.next) {
		c.again++
		return nil, 0
	}
	again, c.again = c.again, 0
	c.next = now.Add(l.interval)
	return l.logger, again
}

// forget discards the errors that have not recurred for an interval.
func (l *errorLog) forget(now time.Time) {
	for text, c := range l.seen {
		if !now.Before(c.next) && c.again == 0 {
			delete(l.seen, text)
		}
	}
}
