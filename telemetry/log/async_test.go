package log

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/telemetry"
)

// gated is a sink that waits for a permit before it writes each record.
type gated struct {
	turns chan struct{}
	out   *[]string
}

func newGated() (Sink, gated) {
	g := gated{turns: make(chan struct{}), out: new([]string)}
	return handlerFunc(func(_ context.Context, r slog.Record) error {
		<-g.turns
		*g.out = append(*g.out, r.Message)
		return nil
	}), g
}

func (g gated) let(n int) {
	for range n {
		g.turns <- struct{}{}
	}
}

func TestALogCallDoesNotWaitForAnAsyncSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		providers, dropped := meter(t)
		slow, gate := newGated()
		var reported []string
		s := Async(slow, &AsyncOptions{Capacity: 4, Telemetry: providers, ErrorHandler: func(err error) { reported = append(reported, err.Error()) }})
		var out buffer
		l := New(nil, s, JSON(&out, nil))
		l.Info("0")
		synctest.Wait() // the sink has it, and waits for its permit
		start := time.Now()
		for i := range 9 {
			l.Info(fmt.Sprint(i + 1))
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("log calls took %v", d)
		}
		if n := len(lines(t, out.String())); n != 10 {
			t.Errorf("the sink beside the slow one got %d of 10 records", n)
		}
		if got, want := s.Stats(), (AsyncStats{Queued: 5, Dropped: 5}); got != want {
			t.Errorf("stats are %+v, want %+v", got, want)
		}
		if want := map[string]int64{"func queue_full": 5}; !maps.Equal(dropped(), want) || s.Dropped() != 5 {
			t.Errorf("goos.log.dropped is %v, want %v", dropped(), want)
		}
		if len(reported) != 1 || !strings.Contains(reported[0], `sink "func": its queue of 4 records is full`) {
			t.Errorf("the error handler got %q", reported)
		}
		gate.let(5)
		if err := s.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		l.Info("again")
		gate.let(1)
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if got := fmt.Sprint(*gate.out); got != "[0 1 2 3 4 again]" {
			t.Errorf("the sink got %s", got)
		}
		if got, want := s.Stats(), (AsyncStats{Written: 6, Dropped: 5}); got != want {
			t.Errorf("stats are %+v, want %+v", got, want)
		}
	})
}

func TestShutdownReportsWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		providers, dropped := meter(t)
		slow, gate := newGated()
		s := Async(slow, &AsyncOptions{Name: "pipe", Telemetry: providers})
		l := slog.New(s)
		for i := range 10 {
			l.Info(fmt.Sprint(i))
		}
		gate.let(3)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		flushed := make(chan error)
		go func() { flushed <- s.Flush(context.Background()) }()
		if err := s.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), `"pipe": 7 records not written yet`) {
			t.Errorf("Flush returned %v", err)
		}
		err := s.Shutdown(ctx)
		const want = `log: sink "pipe" shut down: 6 records dropped, and the sink is still busy with one: context deadline exceeded`
		if err == nil || err.Error() != want || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown returned %v, want %s", err, want)
		}
		l.Info("too late")
		gate.let(1) // the one that the sink was writing
		if err := <-flushed; err != nil {
			t.Errorf("the other Flush returned %v", err)
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Errorf("the second Shutdown returned %v", err)
		}
		if got, want := s.Stats(), (AsyncStats{Written: 4, Dropped: 7}); got != want {
			t.Errorf("stats are %+v, want %+v", got, want)
		}
		if want := map[string]int64{"pipe shutdown": 6, "pipe closed": 1}; !maps.Equal(dropped(), want) {
			t.Errorf("goos.log.dropped is %v, want %v", dropped(), want)
		}
	})
}

// The records that Shutdown abandons come after the one that the sink is writing, and must not end a Flush
// that waits for that one.
func TestShutdownDoesNotEndAFlushEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, gate := newGated()
		s := Async(slow, &AsyncOptions{Telemetry: telemetry.Off()})
		l := slog.New(s)
		l.Info("busy")
		flushed := make(chan error, 1)
		go func() { flushed <- s.Flush(context.Background()) }()
		synctest.Wait()
		l.Info("abandoned")
		l.Info("abandoned")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Shutdown(ctx); err == nil || !strings.Contains(err.Error(), "2 records dropped, and the sink is still busy") {
			t.Errorf("Shutdown returned %v", err)
		}
		synctest.Wait()
		select {
		case err := <-flushed:
			t.Errorf("Flush returned %v while the sink was busy with its record", err)
		default:
		}
		if got, want := s.Stats(), (AsyncStats{Queued: 1, Dropped: 2}); got != want {
			t.Errorf("stats are %+v, want %+v", got, want)
		}
		gate.let(1)
		if err := <-flushed; err != nil {
			t.Error(err)
		}
		if got, want := s.Stats(), (AsyncStats{Written: 1, Dropped: 2}); got != want {
			t.Errorf("stats are %+v, want %+v", got, want)
		}
	})
}

// A sink that calls t.FailNow, for example, ends the goroutine that called it.
func TestAsyncSinkThatEndsItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		providers, dropped := meter(t)
		var reported []string
		s := Async(handlerFunc(func(_ context.Context, r slog.Record) error {
			if r.Message == "exit" {
				runtime.Goexit()
			}
			return nil
		}), &AsyncOptions{Telemetry: providers, ErrorHandler: func(err error) { reported = append(reported, err.Error()) }})
		l := slog.New(s)
		for _, msg := range []string{"fine", "exit", "fine", "exit"} {
			l.Info(msg)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := s.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		l.Info("fine")
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if got, want := s.Stats(), (AsyncStats{Written: 3, Failed: 2}); got != want {
			t.Errorf("stats are %+v, want %+v", got, want)
		}
		if want := map[string]int64{"func panic": 2}; !maps.Equal(dropped(), want) {
			t.Errorf("goos.log.dropped is %v, want %v", dropped(), want)
		}
		if len(reported) != 1 || !strings.Contains(reported[0], `sink "func" ended its goroutine`) {
			t.Errorf("the error handler got %q", reported)
		}
	})
}

func TestAsyncSinkThatFails(t *testing.T) {
	providers, dropped := meter(t)
	var mu sync.Mutex
	var reported error
	s := Async(handlerFunc(func(_ context.Context, r slog.Record) error {
		switch r.Message {
		case "panic":
			panic("bug")
		case "error":
			return io.ErrShortWrite
		}
		return nil
	}), &AsyncOptions{Telemetry: providers, ErrorHandler: func(err error) {
		mu.Lock()
		defer mu.Unlock()
		reported = errors.Join(reported, err)
	}})
	l := New(nil, s)
	for _, msg := range []string{"panic", "error", "fine"} {
		l.Info(msg)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if got, want := s.Stats(), (AsyncStats{Written: 1, Failed: 2}); got != want {
		t.Errorf("stats are %+v, want %+v", got, want)
	}
	if want := map[string]int64{"func panic": 1, "func error": 1}; !maps.Equal(dropped(), want) {
		t.Errorf("goos.log.dropped is %v, want %v", dropped(), want)
	}
	if reported == nil || reported.Error() != `log: sink "func" panicked: bug` {
		t.Errorf("the error handler got %v", reported)
	}
}

func TestAsyncKeepsTheCallsValues(t *testing.T) {
	type key struct{}
	var asked int
	var got []any
	s := Async(handlerFunc(func(ctx context.Context, r slog.Record) error {
		got = append(got, ctx.Value(key{}), ctx.Err())
		r.Attrs(func(a slog.Attr) bool { got = append(got, a.Value.Kind(), asked); return true })
		return nil
	}), &AsyncOptions{Telemetry: telemetry.Off()})
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "kept"))
	v := lazy{v: slog.GroupValue(slog.Any("again", lazy{v: slog.IntValue(1)})), asked: &asked}
	slog.New(s).InfoContext(ctx, "x", slog.Group("g", "v", v))
	if asked != 1 {
		t.Errorf("the LogValuer was asked %d times in the log call, want once", asked)
	}
	cancel()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprint([]any{"kept", nil, slog.KindGroup, 1}); fmt.Sprint(got) != want {
		t.Errorf("the sink got %v, want %s", got, want)
	}
}

func TestAsyncUnderLoadLosesNothingUncounted(t *testing.T) {
	s := Async(JSON(io.Discard, nil), &AsyncOptions{Capacity: 16, Telemetry: telemetry.Off(), ErrorHandler: func(error) {}})
	l := New(nil, s)
	const writers, each = 8, 500
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			mine := l.With("a", 1)
			for i := range each {
				mine.Info("x", "i", i)
				if i%100 == 0 {
					if err := s.Flush(t.Context()); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Go(func() {
		until(t, "some records written", func() bool { return s.Stats().Written > 100 })
	})
	wg.Wait()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := s.Stats()
	if sum := got.Written + got.Failed + got.Dropped + got.Queued; sum != writers*each || got.Queued != 0 {
		t.Errorf("%d records of %d are accounted for: %+v", sum, writers*each, got)
	}
}

func TestAsyncOfNothing(t *testing.T) {
	s := Async(nil, nil)
	slog.New(s).Info("x")
	if s.Enabled(t.Context(), slog.LevelError) || s.Name() != "slog.discardHandler" {
		t.Errorf("Async(nil) is %q, enabled %v", s.Name(), s.Enabled(t.Context(), slog.LevelError))
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
