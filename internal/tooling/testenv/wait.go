package testenv

import (
	"testing"
	"time"
)

// patience is how long the waiting methods of handles wait: far longer than anything here takes, since it is only spent by
// tests that fail.
const patience = 30 * time.Second

// Eventually calls check until it returns nil, and fails the test with its last error when that takes longer than within.
// What says, for the failure, what was waited for.
func Eventually(t testing.TB, within time.Duration, what string, check func() error) {
	t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-deadline.C:
			t.Fatalf("waited %s for %s: %v", within, what, err)
		case <-tick.C:
		}
	}
}
