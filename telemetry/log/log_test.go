package log

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/go-os/go-os/telemetry"
)

func TestFanOutReachesEverySink(t *testing.T) {
	var a, b, errorsOnly buffer
	l := New(nil, JSON(&a, nil), nil, Text(&b, nil), JSON(&errorsOnly, &SinkOptions{Level: slog.LevelError}))
	l.With("k", "v").Info("hello")
	if got := line(t, a.String()); got["msg"] != "hello" || got["k"] != "v" {
		t.Errorf("json sink got %v", got)
	}
	if !strings.Contains(b.String(), "msg=hello k=v") {
		t.Errorf("text sink got %q", b.String())
	}
	if errorsOnly.String() != "" {
		t.Errorf("a sink for errors got %q", errorsOnly.String())
	}
}

func TestNoSinks(t *testing.T) {
	l := New(nil)
	l.Error("nobody listens")
	if l.Enabled(t.Context(), slog.LevelError) {
		t.Error("a logger without sinks says that it is enabled")
	}
}

// unnamed is a sink without a name.
type unnamed struct{ slog.Handler }

func TestFailingSinks(t *testing.T) {
	providers, dropped := meter(t)
	broken := errors.New("disk full")
	var reported []error
	var out buffer
	h := NewHandler(&Options{Telemetry: providers, ErrorHandler: func(err error) { reported = append(reported, err) }},
		handlerFunc(func(context.Context, slog.Record) error { return broken }),
		unnamed{handlerFunc(func(context.Context, slog.Record) error { panic("bug") })},
		JSON(&out, nil))
	if err := h.Handle(t.Context(), slog.NewRecord(time.Now(), slog.LevelInfo, "x", 0)); !errors.Is(err, broken) {
		t.Errorf("Handle returned %v, which is not that of the sink", err)
	}
	if line(t, out.String())["msg"] != "x" {
		t.Error("the sink after those that fail got nothing")
	}
	if got := h.Stats(); got.Failed != 2 {
		t.Errorf("stats are %+v, want 2 failures", got)
	}
	want := map[string]int64{"func error": 1, "log.unnamed panic": 1}
	if got := dropped(); !maps.Equal(got, want) {
		t.Errorf("goos.log.dropped is %v, want %v", got, want)
	}
	if len(reported) != 2 || reported[0].Error() != `log: sink "func": disk full` || reported[1].Error() != `log: sink "log.unnamed" panicked: bug` {
		t.Errorf("the error handler got %v, want one report for each sink", reported)
	}
}

func TestOneSinkThatPanicsIsGuarded(t *testing.T) {
	var reported error
	l := New(&Options{Telemetry: telemetry.Off(), ErrorHandler: func(err error) { reported = err }},
		handlerFunc(func(context.Context, slog.Record) error { panic("bug") }))
	l.Info("x")
	if reported == nil || reported.Error() != `log: sink "func" panicked: bug` {
		t.Errorf("the error handler got %v", reported)
	}
}

func TestErrorsAreReportedOnceInAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reported []string
		l := New(&Options{Telemetry: telemetry.Off(), ErrorHandler: func(err error) { reported = append(reported, err.Error()) }},
			handlerFunc(func(context.Context, slog.Record) error { return io.ErrShortWrite }))
		for range 1000 {
			l.Info("x")
		}
		time.Sleep(reportEvery)
		l.Info("x")
		l.Info("x")
		want := []string{`log: sink "func": short write`, `log: sink "func": short write (and 999 more failures since the last report)`}
		if fmt.Sprint(reported) != fmt.Sprint(want) {
			t.Errorf("the error handler got %q, want %q", reported, want)
		}
	})
}

// TestAnErrorHandlerMayLog checks that reports logged to the failing sink cause no loop.
func TestAnErrorHandlerMayLog(t *testing.T) {
	var l *slog.Logger
	calls := 0
	l = New(&Options{Telemetry: telemetry.Off(), ErrorHandler: func(err error) { l.Error("sink failed", "err", err) }},
		handlerFunc(func(context.Context, slog.Record) error { calls++; return io.ErrShortWrite }))
	l.Info("x")
	if calls != 2 {
		t.Errorf("the sink was called %d times, want once for the record and once for the report", calls)
	}
}

func TestNamed(t *testing.T) {
	var out buffer
	base := New(nil, JSON(&out, nil))
	for name, c := range map[string]struct {
		log  *slog.Logger
		want string
	}{
		"named":                  {Named(base, "db"), "db"},
		"renamed":                {Named(Named(base, "db"), "kv"), "kv"},
		"named by an attribute":  {base.With("a", 1, LoggerKey, "db", "b", 2), "db"},
		"named twice at once":    {base.With(LoggerKey, "db", "a", 1, LoggerKey, "kv"), "kv"},
		"named in a group":       {Named(base.With("a", 1).WithGroup("g").With("b", 2), "db"), "db"},
		"name taken off":         {Named(Named(base, "db"), ""), ""},
		"not named in a group":   {base.WithGroup("g").With(LoggerKey, "db"), ""},
		"through another's code": {Named(slog.New(slog.NewMultiHandler(base.Handler())), "db"), "db"},
	} {
		out.Reset()
		c.log.Info("x", "k", "v")
		if n := strings.Count(out.String(), `"logger":`); n > 1 {
			t.Errorf("%s: %d names in one line: %s", name, n, out.String())
		}
		if got, _ := line(t, out.String())["logger"].(string); got != c.want {
			t.Errorf("%s: logger is %q, want %q: %s", name, got, c.want, out.String())
		}
	}
	out.Reset()
	Named(base.With("a", 1).WithGroup("g").With("b", 2), "db").Info("x", "k", "v")
	if got := line(t, out.String()); got["a"] != 1.0 || dig(got, "g", "b") != 2.0 || dig(got, "g", "k") != "v" {
		t.Errorf("naming lost attributes or groups: %s", out.String())
	}
	out.Reset()
	Named(slog.New(slog.NewJSONHandler(&out, nil)), "db").Info("x")
	if line(t, out.String())["logger"] != "db" {
		t.Errorf("a logger of another package is not named: %s", out.String())
	}
}

func TestConcurrentUse(t *testing.T) {
	var a, b buffer
	async := Async(JSON(&b, nil), &AsyncOptions{Capacity: 1 << 14, Telemetry: telemetry.Off()})
	levels := NewLevels(slog.LevelInfo)
	l := New(&Options{Levels: levels, Sampling: &Sampling{First: 1 << 20}, Telemetry: telemetry.Off()}, JSON(&a, nil), async)
	const writers, each = 8, 200
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			ctx := spanContext(t, trace.FlagsSampled)
			mine := Named(l.With("w", i), fmt.Sprintf("w.%d", i)).WithGroup("g")
			for j := range each {
				mine.InfoContext(ctx, "x", "j", j, "password", "p", "url", &struct{ A int }{j})
				if j%50 == 0 {
					if err := levels.Set("other", slog.LevelDebug, time.Hour); err != nil {
						t.Error(err)
					}
					if err := levels.Reset("other"); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if err := async.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, out := range map[string]*buffer{"sync": &a, "async": &b} {
		next := map[string]float64{} // by writer: its lines must be in order
		for _, m := range lines(t, out.String()) {
			w := m["logger"].(string)
			if j := dig(m, "g", "j"); j != next[w] || dig(m, "g", "password") != "[redacted]" || m["trace_id"] != testTraceID {
				t.Fatalf("%s: unexpected line of %s: %v", name, w, m)
			}
			next[w]++
		}
		for w, n := range next {
			if n != each {
				t.Errorf("%s: %s has %v lines, want %d", name, w, n, each)
			}
		}
		if len(next) != writers {
			t.Errorf("%s: lines of %d writers, want %d", name, len(next), writers)
		}
	}
}
