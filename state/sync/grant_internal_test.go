package sync

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/state/sync/memsync"
	"github.com/go-os/go-os/telemetry"
)

// TestContextLooksAtTheClock stops the timer that ends a grant, as in a paused process whose timers fire late. The grant's context and
// its children report the end nevertheless, to callers that check Err or Cause.
func TestContextLooksAtTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(memsync.New(nil), &Options{TTL: time.Second, Timeout: time.Millisecond, Telemetry: telemetry.Off()})
		defer s.Close()
		g, err := s.Mutex("m").Lock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		child, cancel := context.WithCancel(g.Context())
		defer cancel()
		g.claim.lease.mu.Lock()
		g.claim.lease.timer.Stop()
		g.claim.lease.deadline = time.Now().Add(100 * time.Millisecond) // before the next renewal
		g.claim.lease.mu.Unlock()
		time.Sleep(100 * time.Millisecond)
		if err := g.Context().Err(); !errors.Is(err, context.Canceled) {
			t.Errorf("Err: %v, want Canceled", err)
		}
		if err := child.Err(); !errors.Is(err, context.Canceled) {
			t.Errorf("Err of a child, afterwards: %v, want Canceled", err)
		}
		if cause := context.Cause(g.Context()); !errors.Is(cause, ErrLost) {
			t.Errorf("the cause is %v, want ErrLost", cause)
		}
	})
}
