package suite

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
)

// Witness is a testing.TB that records failures instead of failing. It serves tests of tests.
type Witness struct {
	testing.TB

	mu     sync.Mutex
	failed bool
	said   []string
}

// Said returns the recorded failures.
func (w *Witness) Said() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.said)
}

// Failed implements testing.TB.
func (w *Witness) Failed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed
}

func (w *Witness) say(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed = true
	w.said = append(w.said, what)
}

// Helper implements testing.TB.
func (w *Witness) Helper() {}

// Fail implements testing.TB.
func (w *Witness) Fail() { w.say("failed") }

// FailNow implements testing.TB.
func (w *Witness) FailNow() {
	w.Fail()
	runtime.Goexit()
}

// Error implements testing.TB.
func (w *Witness) Error(args ...any) { w.say(fmt.Sprint(args...)) }

// Errorf implements testing.TB.
func (w *Witness) Errorf(format string, args ...any) { w.say(fmt.Sprintf(format, args...)) }

// Fatal implements testing.TB.
func (w *Witness) Fatal(args ...any) {
	w.Error(args...)
	runtime.Goexit()
}

// Fatalf implements testing.TB.
func (w *Witness) Fatalf(format string, args ...any) {
	w.Errorf(format, args...)
	runtime.Goexit()
}

// Log implements testing.TB.
func (w *Witness) Log(...any) {}

// Logf implements testing.TB.
func (w *Witness) Logf(string, ...any) {}

// Skip implements testing.TB.
func (w *Witness) Skip(...any) { runtime.Goexit() }

// Skipf implements testing.TB.
func (w *Witness) Skipf(string, ...any) { runtime.Goexit() }
