// Package configtesting provides the helpers that tests of configuration share.
package configtesting

import (
	"context"
	"sync"
	"testing"
	"time"
)

// Limit is the longest time that a test waits for a condition.
const Limit = 20 * time.Second

// Runner is a config.Config of any type.
type Runner interface {
	Run(ctx context.Context) error
}

// Start runs r in the background until the returned function is called. In a bubble of testing/synctest, call that function before the
// bubble ends.
func Start(t testing.TB, r Runner) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(time.Second):
			t.Error("Run continues a second after its context has ended")
		}
	})
}

// Follow runs r until the test ends.
func Follow(t testing.TB, r Runner) {
	t.Helper()
	t.Cleanup(Start(t, r))
}

// Eventually waits until a condition holds, and returns how long that took. The test fails if it takes longer than Limit.
func Eventually(t testing.TB, what string, holds func() bool) time.Duration {
	t.Helper()
	begun := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !holds() {
		if time.Since(begun) > Limit {
			t.Fatalf("not within %v: %s", Limit, what)
		}
		<-tick.C
	}
	return time.Since(begun)
}
