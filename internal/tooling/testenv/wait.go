package testenv

import (
	"testing"
	"time"
)

// patience is how long the waiting methods of handles wait. It is far longer than anything here takes, because only failing tests spend it.
const patience = 30 * time.Second

// Eventually calls check until it returns nil. It fails the test with the last error after within. what names the condition in the failure.
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
