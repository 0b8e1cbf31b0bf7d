package suite

import (
	"runtime/debug"
	"testing"
	"time"
)

// Guard runs a hook of a Backend so that a failure in it is one of t. An engine belongs to the test that started it, and may end that
// one instead of t when it cannot be started again: the goroutine of t would end without a word, or with a panic about a test that has
// completed.
func Guard(t testing.TB, name string, hook func()) {
	t.Helper()
	returned := false
	defer func() {
		cause := recover()
		switch {
		case returned:
		case cause != nil:
			t.Fatalf("the hook %s failed: %v\n%s", name, cause, debug.Stack())
		case !t.Failed() && !t.Skipped():
			t.Fatalf("the hook %s ended another test: the output of the test that started the engine says why", name)
		}
	}()
	hook()
	returned = true
}

// Guarded has each hook run under Guard. A hook that is nil stays nil.
func Guarded(hooks map[string]*func(testing.TB)) {
	for name, field := range hooks {
		hook := *field
		if hook == nil {
			continue
		}
		*field = func(t testing.TB) {
			t.Helper()
			Guard(t, name, func() { hook(t) })
		}
	}
}

// GuardedSlow is Guarded for the hook that slows a network down.
func GuardedSlow(field *func(testing.TB, time.Duration, time.Duration)) {
	slow := *field
	if slow == nil {
		return
	}
	*field = func(t testing.TB, latency, jitter time.Duration) {
		t.Helper()
		Guard(t, "Slow", func() { slow(t, latency, jitter) })
	}
}
