package instrument

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/log"

	"github.com/go-os/go-os/telemetry"
)

// handler is a slog handler that calls a function with each message.
type handler struct {
	slog.Handler
	handle func(ctx context.Context, message string)
}

func (h handler) Enabled(context.Context, slog.Level) bool { return true }

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	h.handle(ctx, r.Message)
	return nil
}

// events returns emitters of events that become lines of a handler.
func events(handle func(ctx context.Context, message string), messages ...string) (all []*Event) {
	p := telemetry.Off()
	p.Logger = slog.New(handler{slog.DiscardHandler, handle})
	s := New(Config{Name: "test"}, p)
	for _, m := range messages {
		all = append(all, s.Event("goos.test."+m, log.SeverityWarn, m))
	}
	return all
}

// TestBlockedHandler emits events to a handler that blocks. Each Emit returns, the events arrive in order once the handler continues, and
// events over the limit are dropped.
func TestBlockedHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		got, release := 0, make(chan struct{})
		e := events(func(context.Context, string) {
			<-release
			mu.Lock()
			defer mu.Unlock()
			got++
		}, "slow")[0]
		began := time.Now()
		for range maxPending + 100 {
			e.Emit(t.Context())
		}
		if took := time.Since(began); took > 2*deliveryWait {
			t.Errorf("it took %v", took)
		}
		close(release)
		synctest.Wait()
		if got != maxPending+1 {
			t.Errorf("%d events arrived, want %d and the one that blocked", got, maxPending)
		}
		e.Emit(t.Context())
		if got != maxPending+2 {
			t.Error("Emit does not wait for a handler that works again")
		}
	})
}

// TestHandlerOfTheEvent: the handler runs in order, before Emit returns, under a context that has not ended. It may panic and emit events.
func TestHandlerOfTheEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var got []string
		var all []*Event
		all = events(func(ctx context.Context, message string) {
			mu.Lock()
			got = append(got, fmt.Sprint(message, " ", ctx.Err()))
			mu.Unlock()
			switch message {
			case "panics":
				panic("broken handler")
			case "nests":
				all[2].Emit(ctx)
			}
		}, "panics", "nests", "last")
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		all[0].Emit(ended)
		mu.Lock()
		if len(got) != 1 {
			t.Errorf("Emit has not waited: %q", got)
		}
		mu.Unlock()
		all[1].EmitError(ended, context.Canceled)
		time.Sleep(time.Second)
		mu.Lock()
		defer mu.Unlock()
		if want := "panics <nil>,nests <nil>,last <nil>"; strings.Join(got, ",") != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
}
