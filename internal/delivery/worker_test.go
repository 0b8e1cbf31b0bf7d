package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestWorkerConsumesInOrderAndRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := make(chan struct{})
		var got []int
		l := NewLedger(nil)
		w := NewWorker(l, func(i int) error { <-turns; got = append(got, i); return nil }, Limits{Items: 3})
		for i := range 6 {
			w.Push(i, 0)
			synctest.Wait()
		}
		if got, want := l.Counts(), (Counts{Emitted: 6, Waiting: 3, InFlight: 1, Refused: 2}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		close(turns)
		if left := w.Flush(t.Context()); left != 0 {
			t.Errorf("%d left", left)
		}
		if fmt.Sprint(got) != "[0 1 2 3]" {
			t.Errorf("the consumer got %v", got)
		}
		synctest.Wait()
		if w.running.Load() {
			t.Error("the goroutine runs though there is nothing to do") // the bubble would not end either
		}
	})
}

func TestWorkerSurvivesItsConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLedger(&LedgerOptions{Classify: func(err error) string {
			var p *PanicError
			switch {
			case errors.As(err, &p):
				return fmt.Sprint(p.Value)
			case errors.Is(err, ErrExited):
				return "exit"
			default:
				return err.Error()
			}
		}})
		w := NewWorker(l, func(what string) error {
			switch what {
			case "panic":
				panic("bug")
			case "exit":
				runtime.Goexit()
			case "error":
				return io.EOF
			}
			return nil
		}, Limits{})
		for _, what := range []string{"fine", "panic", "exit", "error", "exit", "fine"} {
			w.Push(what, 0)
		}
		if dropped, busy := w.Shutdown(t.Context()); dropped != 0 || busy {
			t.Errorf("%d dropped, busy %t", dropped, busy)
		}
		a := l.Read()
		balanced(t, a)
		if a.Delivered != 2 || a.FailedBy["bug"] != 1 || a.FailedBy["exit"] != 2 || a.FailedBy["EOF"] != 1 {
			t.Errorf("%+v", a)
		}
	})
}

func TestWorkerShutdownWhileBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := make(chan struct{})
		l := NewLedger(nil)
		w := NewWorker(l, func(int) error { <-turns; return nil }, Limits{})
		for i := range 5 {
			w.Push(i, 0)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if dropped, busy := w.Shutdown(ctx); dropped != 4 || !busy {
			t.Errorf("%d dropped, busy %t, want 4 and one in flight", dropped, busy)
		}
		if reason := w.Push(5, 0); reason != QueueClosed {
			t.Errorf("a push after Shutdown: %q", reason)
		}
		close(turns)
		if dropped, busy := w.Shutdown(t.Context()); dropped != 0 || busy {
			t.Errorf("the second Shutdown: %d dropped, busy %t", dropped, busy)
		}
		if got, want := l.Counts(), (Counts{Emitted: 6, Delivered: 1, Refused: 5}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	})
}

// TestPushWhileTheGoroutineIsAboutToEnd pushes between the last Take and the end of the goroutine.
func TestPushWhileTheGoroutineIsAboutToEnd(t *testing.T) {
	l := NewLedger(nil)
	w := NewWorker(l, func(int) error { return nil }, Limits{})
	w.running.Store(true)
	w.Push(1, 0)
	if w.rest() {
		t.Fatal("the goroutine ends, and an item waits")
	}
	go w.run()
	if dropped, busy := w.Shutdown(t.Context()); dropped != 0 || busy || l.Counts().Delivered != 1 {
		t.Errorf("%d dropped, busy %t: %+v", dropped, busy, l.Counts())
	}
}

func TestWorkerUnderLoad(t *testing.T) {
	l := NewLedger(nil)
	w := NewWorker(l, func(int) error { return nil }, Limits{Items: 1 << 20})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 1000 {
				w.Push(i, 0)
				if i%3 == 0 && w.Flush(t.Context()) != 0 {
					t.Error("a flush ended early")
				}
			}
		})
	}
	wg.Wait()
	if dropped, busy := w.Shutdown(t.Context()); dropped != 0 || busy {
		t.Errorf("%d dropped, busy %t", dropped, busy)
	}
	if got, want := l.Counts(), (Counts{Emitted: 4000, Delivered: 4000}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
