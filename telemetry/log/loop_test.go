package log

import (
	"bytes"
	"context"
	stdlog "log"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-os/go-os/telemetry"
)

// asDefault makes l the process-wide logger, as slog.SetDefault does, until the test ends.
func asDefault(t *testing.T, l *slog.Logger) {
	t.Helper()
	old, flags := slog.Default(), stdlog.Flags()
	t.Cleanup(func() {
		slog.SetDefault(old)
		stdlog.SetOutput(os.Stderr)
		stdlog.SetFlags(flags)
	})
	slog.SetDefault(l)
}

// printer is a sink that writes to package log, which its type does not show.
func printer(context.Context, slog.Record) error {
	stdlog.Print("from the sink")
	return nil
}

// within fails the test if f does not return in time.
func within(t *testing.T, limit time.Duration, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(limit):
		t.Fatalf("not back after %s", limit)
	}
}

// TestSinksThatEndInPackageLog makes the logger the process's default, so that the output of its sink returns
// to it.
func TestSinksThatEndInPackageLog(t *testing.T) {
	for name, sink := range map[string]slog.Handler{
		"slog's default handler":         slog.Default().Handler(),
		"slog's default handler, shaped": slog.Default().With("a", 1).WithGroup("g").Handler(),
		"a handler that prints":          handlerFunc(printer),
		"a writer that prints":           Text(printingWriter{}, nil),
	} {
		for _, async := range []bool{false, true} {
			for first, write := range map[string]func(){
				"slog":        func() { slog.Info("hello") },
				"package log": func() { stdlog.Print("hello") },
			} {
				t.Run(name+map[bool]string{true: ", async"}[async]+", by "+first, func(t *testing.T) {
					var reports reports
					var other buffer
					one := sink
					flush := func() {}
					if async {
						queue := Async(sink, &AsyncOptions{Telemetry: telemetry.Off(), ErrorHandler: reports.add})
						flush = func() {
							if err := queue.Flush(t.Context()); err != nil {
								t.Error(err)
							}
						}
						one = queue
					}
					h := NewHandler(&Options{Telemetry: telemetry.Off(), ErrorHandler: reports.add}, one, JSON(&other, nil))
					asDefault(t, slog.New(h))
					within(t, 20*time.Second, func() {
						write()
						flush()
						write() // also when the sink is known
						flush()
						for h.Stats().Failed < 2 {
							time.Sleep(time.Millisecond)
						}
					})
					if got := strings.Count(other.String(), "\n"); got != 2 {
						t.Errorf("another sink got %d lines, want 2:\n%s", got, other.String())
					}
					if got := h.Stats().Failed; got != 2 {
						t.Errorf("%d failures are counted, want one for each record", got)
					}
					if !strings.Contains(reports.String(), "writes to package log") {
						t.Errorf("the reports do not name the cause: %s", reports.String())
					}
				})
			}
		}
	}
}

// reports collects the errors passed to an error handler.
type reports struct {
	mu  sync.Mutex
	all []string
}

func (r *reports) add(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, err.Error())
}

func (r *reports) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.all, "\n")
}

type printingWriter struct{}

func (printingWriter) Write(p []byte) (int, error) {
	stdlog.Print(string(p))
	return len(p), nil
}

// TestForeignSinksThatLogElsewhere checks that a sink may log, as long as it does not log to itself.
func TestForeignSinksThatLogElsewhere(t *testing.T) {
	var out, own bytes.Buffer
	elsewhere := New(&Options{Telemetry: telemetry.Off()}, Text(&own, nil))
	l := New(&Options{Telemetry: telemetry.Off(), ErrorHandler: func(err error) { t.Error(err) }},
		handlerFunc(func(context.Context, slog.Record) error { elsewhere.Info("aside"); return nil }), Text(&out, nil))
	l.Info("one")
	if strings.Count(out.String(), "\n") != 1 || strings.Count(own.String(), "\n") != 1 {
		t.Errorf("got %q and %q, want a line each", out.String(), own.String())
	}
}
