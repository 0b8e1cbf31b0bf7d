package testenv

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// recorder is a testing.TB that records how a test would have ended, for the tests of this package.
type recorder struct {
	testing.TB // for TempDir, Context and the rest

	mu       sync.Mutex
	skipped  string
	failures []string
	logged   []string
	cleanups []func()
}

// observe runs test as the testing package would, cleanups included. It uses a separate goroutine, which Skip and Fatal end.
func observe(t *testing.T, test func(t testing.TB)) *recorder {
	t.Helper()
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			for _, f := range slices.Backward(r.cleanups) {
				f()
			}
		}()
		test(r)
	}()
	<-done
	return r
}

// failed returns the failures of the test, or "" if it passed.
func (r *recorder) failed() string { return strings.Join(r.failures, "\n") }

func (r *recorder) add(list *[]string, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*list = append(*list, text)
}

func (r *recorder) Helper()                        {}
func (r *recorder) Cleanup(f func())               { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Failed() bool                   { return len(r.failures) > 0 }
func (r *recorder) Logf(format string, a ...any)   { r.add(&r.logged, fmt.Sprintf(format, a...)) }
func (r *recorder) Error(a ...any)                 { r.add(&r.failures, fmt.Sprint(a...)) }
func (r *recorder) Errorf(format string, a ...any) { r.add(&r.failures, fmt.Sprintf(format, a...)) }

func (r *recorder) Fatal(a ...any) {
	r.Error(a...)
	runtime.Goexit()
}

func (r *recorder) Fatalf(format string, a ...any) {
	r.Errorf(format, a...)
	runtime.Goexit()
}

func (r *recorder) Skip(a ...any) {
	r.skipped = fmt.Sprint(a...)
	runtime.Goexit()
}

func (r *recorder) Skipf(format string, a ...any) {
	r.skipped = fmt.Sprintf(format, a...)
	runtime.Goexit()
}
