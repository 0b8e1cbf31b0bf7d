//go:build !race

package log

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/go-os/go-os/telemetry"
)

// These counts hold only without the race detector: with it, a sync.Pool drops items on purpose.

// TestFanOutAllocations compares the fan-out with everything on to the standard library's over the same sinks, and over
// sinks without trace ids.
func TestFanOutAllocations(t *testing.T) {
	otelSink, p := otlp(t)
	opts := &Options{Levels: NewLevels(slog.LevelInfo), Sampling: &Sampling{First: 1 << 30}, Telemetry: p}
	for name, ctx := range map[string]context.Context{"without a span": t.Context(), "in a recording span": recording(t)} {
		json := JSON(io.Discard, nil)
		for shape, derive := range map[string]func(*slog.Logger) *slog.Logger{
			"plain":    func(l *slog.Logger) *slog.Logger { return l },
			"in group": func(l *slog.Logger) *slog.Logger { return l.With("tenant", "a").WithGroup("g") },
		} {
			measure := func(h slog.Handler) float64 {
				l := derive(slog.New(h))
				return testing.AllocsPerRun(500, func() { log4(ctx, l) })
			}
			ours := measure(NewHandler(opts, json, otelSink))
			std := measure(slog.NewMultiHandler(json, otelSink))
			bare := measure(slog.NewMultiHandler(slog.NewJSONHandler(io.Discard, nil), otelSink))
			t.Logf("%s, %s: ours %v, slog.MultiHandler %v, over slog.JSONHandler %v", name, shape, ours, std, bare)
			if ours > std || ours > bare {
				t.Errorf("%s, %s: %v allocations, the standard library's MultiHandler has %v, without trace ids %v", name, shape, ours, std, bare)
			}
		}
	}
}

// TestDroppingAllocatesNothing checks that lost records do not slow down a program that logs too much.
func TestDroppingAllocatesNothing(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	s := Async(handlerFunc(func(context.Context, slog.Record) error { started <- struct{}{}; <-release; return nil }),
		&AsyncOptions{Capacity: 1, Telemetry: telemetry.Off(), ErrorHandler: func(error) {}})
	r := slog.NewRecord(time.Now(), slog.LevelInfo, "request served", 0)
	r.AddAttrs(slog.Int("status", 200))
	handle := func() { _ = s.Handle(t.Context(), r) }
	handle()
	<-started // the sink has this one, and the next one fills the queue
	handle()
	if got := testing.AllocsPerRun(500, handle); got != 0 {
		t.Errorf("%v allocations for a record that is dropped, want 0", got)
	}
	if got := s.Dropped(); got < 500 {
		t.Errorf("%d records were dropped, want all that were measured", got)
	}
	go func() { <-started }()
	close(release)
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func log5(ctx context.Context, l *slog.Logger) {
	l.LogAttrs(ctx, slog.LevelInfo, "x", slog.Int("a", 1), slog.Int("b", 2), slog.Int("c", 3), slog.Int("d", 4), slog.Int("e", 5))
}

// TestAllocations counts what this package itself allocates for a record on its way to JSON.
func TestAllocations(t *testing.T) {
	quiet := &Options{Telemetry: telemetry.Off()}
	plain, span := t.Context(), recording(t)
	json := func() Sink { return JSON(io.Discard, nil) }
	spans := make([]context.Context, 4)
	for i := range spans {
		spans[i] = recording(t)
	}
	next := 0
	for name, c := range map[string]struct {
		want float64
		run  func(l *slog.Logger)
		opts *Options
	}{
		"no span":                {0, func(l *slog.Logger) { log4(plain, l) }, quiet},
		"one span":               {0, func(l *slog.Logger) { log4(span, l) }, quiet},
		"another span each time": {1, func(l *slog.Logger) { next++; log4(spans[next%len(spans)], l) }, quiet},
		"five, no span":          {0, func(l *slog.Logger) { log5(plain, l) }, quiet},
		"five, one span":         {1, func(l *slog.Logger) { log5(span, l) }, quiet},
		"five, span and group":   {0, func(l *slog.Logger) { log5(span, l) }, quiet},
		"below the level":        {0, func(l *slog.Logger) { l.LogAttrs(plain, slog.LevelDebug, "x", slog.String("k", "v")) }, quiet},
		"sampled away": {0, func(l *slog.Logger) { log4(span, l) },
			&Options{Telemetry: telemetry.Off(), Sampling: &Sampling{First: 1, Thereafter: DropRest, Tick: time.Hour}}},
		"sampling that keeps": {0, func(l *slog.Logger) { log4(span, l) },
			&Options{Telemetry: telemetry.Off(), Sampling: &Sampling{First: 1 << 30}}},
		"something hidden": {0, func(l *slog.Logger) { l.LogAttrs(plain, slog.LevelInfo, "x", slog.String("password", "p")) }, quiet},
	} {
		l := New(c.opts, json())
		if strings.HasSuffix(name, "group") {
			l = l.WithGroup("g")
		}
		if got := testing.AllocsPerRun(500, func() { c.run(l) }); got > c.want {
			t.Errorf("%s: %v allocations, want at most %v", name, got, c.want)
		}
	}
}
