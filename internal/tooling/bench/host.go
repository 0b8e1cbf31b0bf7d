package bench

import (
	"context"
	"fmt"
	"os"
	"testing"
)

// Host replaces a test in a program that needs engines, which only tests can start. A failure stops the engines and ends the program.
type Host struct {
	testing.TB // nil: a method that Host does not implement must not be called

	cleanups []func()
}

// With runs f with a Host, and then stops everything that it has started.
func With(f func(*Host)) {
	h := &Host{}
	defer h.finish()
	f(h)
}

func (h *Host) finish() {
	for len(h.cleanups) > 0 {
		last := len(h.cleanups) - 1
		cleanup := h.cleanups[last]
		h.cleanups = h.cleanups[:last]
		cleanup()
	}
}

func (h *Host) fail(text string) {
	h.finish()
	fmt.Fprintln(os.Stderr, text)
	os.Exit(1)
}

// Helper implements testing.TB.
func (*Host) Helper() {}

// Failed implements testing.TB: a Host does not outlive its failure.
func (*Host) Failed() bool { return false }

// Context implements testing.TB.
func (*Host) Context() context.Context { return context.Background() }

// Cleanup implements testing.TB.
func (h *Host) Cleanup(f func()) { h.cleanups = append(h.cleanups, f) }

// TempDir implements testing.TB.
func (h *Host) TempDir() string {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Logf implements testing.TB.
func (*Host) Logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// Fatal implements testing.TB.
func (h *Host) Fatal(args ...any) { h.fail(fmt.Sprint(args...)) }

// Fatalf implements testing.TB.
func (h *Host) Fatalf(format string, args ...any) { h.fail(fmt.Sprintf(format, args...)) }

// Errorf implements testing.TB.
func (h *Host) Errorf(format string, args ...any) { h.fail(fmt.Sprintf(format, args...)) }

// Skip implements testing.TB. It fails: without a measurement, nothing can be written.
func (h *Host) Skip(args ...any) { h.fail(fmt.Sprint(args...)) }

// Skipf implements testing.TB.
func (h *Host) Skipf(format string, args ...any) { h.fail(fmt.Sprintf(format, args...)) }
