package suite

import (
	"testing"
	"time"
)

// Pass waits for d. It fails the test if that ends first.
func Pass(t testing.TB, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
		t.Fatal("the test ended while time was to pass")
	}
}
