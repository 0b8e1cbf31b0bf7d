package sync_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	bubble "testing/synctest"
	"time"

	"github.com/go-os/go-os/state/sync"
	"github.com/go-os/go-os/state/sync/driver"
	"github.com/go-os/go-os/state/sync/memsync"
	"github.com/go-os/go-os/telemetry"
)

func memory(t *testing.T, d driver.Driver) *sync.Session {
	t.Helper()
	s := sync.New(d, nil)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// TestLost checks contexts that are derived from grants' contexts.
func TestLost(t *testing.T) {
	s := memory(t, memsync.New(nil))
	is(t, sync.Lost(t.Context()), sync.ErrNotHeld, "a context without a grant")
	outer, err := s.Mutex("outer").Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	around, cancel := context.WithTimeout(outer.Context(), time.Hour)
	defer cancel()
	is(t, sync.Lost(outer.Context()), nil, "the grant's context")
	is(t, sync.Lost(around), nil, "one derived from it")
	inner, err := s.Mutex("inner").Lock(around)
	if err != nil {
		t.Fatal(err)
	}
	is(t, sync.Lost(inner.Context()), nil, "a grant under a grant")
	if err := outer.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	is(t, sync.Lost(around), sync.ErrNotHeld, "after the release")
	is(t, sync.Lost(inner.Context()), sync.ErrNotHeld, "the grant under the one that was released")
	is(t, inner.Lost(), nil, "which holds")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	is(t, sync.Lost(inner.Context()), sync.ErrClosed, "after Close")
}

// mute is a driver whose engine does not answer renewals.
type mute struct{ driver.Driver }

func (mute) Renew(context.Context, driver.LeaseID, []driver.Claim) ([]driver.Claim, error) {
	return nil, driver.ErrUnavailable
}

// TestLostByTheClock calls Lost at the deadline, before any timer can have fired: timers in a bubble fire only when all goroutines are
// blocked.
func TestLostByTheClock(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := memory(t, mute{memsync.New(nil)})
		held, err := s.Mutex("m").Lock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		derived, cancel := context.WithTimeout(held.Context(), time.Hour)
		defer cancel()
		time.Sleep(time.Until(held.Deadline()) - time.Nanosecond)
		is(t, sync.Lost(derived), nil, "right before the deadline")
		time.Sleep(time.Nanosecond)
		is(t, sync.Lost(derived), sync.ErrLost, "at the deadline")
	})
}

// TestLostIsLogged checks that the loss of a lock is logged without an SDK.
func TestLostIsLogged(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var log strings.Builder
		p := telemetry.Off()
		p.Logger = slog.New(slog.NewTextHandler(&log, nil))
		s := sync.New(mute{memsync.New(nil)}, &sync.Options{Telemetry: p})
		held, err := s.Mutex("settlement").Lock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		<-held.Context().Done()
		bubble.Wait()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"level=WARN", "event=goos.sync.lost", "goos.sync.name=settlement", "goos.sync.end=expired", "event=goos.sync.renewal.failed"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log has no %s:\n%s", want, log.String())
			}
		}
	})
}
