package life_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/go-os/go-os/internal/fault"
	"github.com/go-os/go-os/internal/life"
)

func TestEnd(t *testing.T) {
	var l life.Life
	done := l.Done()
	within, cancel := l.Within(t.Context())
	defer cancel()
	if l.Err() != nil || within.Err() != nil || l.Cause(within) != nil {
		t.Errorf("a life that lasts: Err %v, context %v, cause %v", l.Err(), within.Err(), l.Cause(within))
	}
	if !l.End() || l.End() {
		t.Error("want true from the first End, and false from the second")
	}
	if within.Err() == nil { // at once: a driver that is closed next must find its calls canceled
		t.Error("the context of a running call outlives End")
	}
	if l.Err() != fault.Closed || context.Cause(within) != fault.Closed || l.Cause(within) != fault.Closed {
		t.Errorf("after End: Err %v, cause of the context %v, Cause %v; want closed", l.Err(), context.Cause(within), l.Cause(within))
	}
	for _, c := range []<-chan struct{}{done, l.Done()} {
		select {
		case <-c:
		default:
			t.Error("Done is open after End")
		}
	}
}

func TestWithinAfterEnd(t *testing.T) {
	var l life.Life
	l.End()
	within, cancel := l.Within(t.Context())
	defer cancel()
	if within.Err() == nil || context.Cause(within) != fault.Closed {
		t.Errorf("a call after End: context %v, cause %v", within.Err(), context.Cause(within))
	}
	var unasked life.Life
	unasked.End()
	select {
	case <-unasked.Done():
	default:
		t.Error("Done is open after End")
	}
}

// TestCause distinguishes the end of the life, of the caller's context, and of a context derived from Within.
func TestCause(t *testing.T) {
	var l life.Life
	late, cancelLate := context.WithTimeout(t.Context(), -time.Second)
	defer cancelLate()
	within, cancel := l.Within(late)
	defer cancel()
	if err := l.Cause(within); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the caller's context has ended: %v", err)
	}
	open, cancelOpen := l.Within(t.Context())
	defer cancelOpen()
	derived, cancelDerived := context.WithCancel(open)
	defer cancelDerived()
	l.End()
	if err := l.Cause(derived); err != fault.Closed {
		t.Errorf("of a derived context: %v", err)
	}
	if err := l.Cause(t.Context()); err != fault.Closed {
		t.Errorf("of a context without the life: %v", err)
	}
	if err := l.Cause(within); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the caller's context had ended before: %v", err)
	}
}

// TestNested nests one life in another, as a namespace does. The end of either ends the call.
func TestNested(t *testing.T) {
	for _, outerFirst := range []bool{true, false} {
		var outer, inner life.Life
		ctx, cancel := outer.Within(t.Context())
		defer cancel()
		ctx, cancel = inner.Within(ctx)
		defer cancel()
		if outerFirst {
			outer.End()
		} else {
			inner.End()
		}
		if context.Cause(ctx) != fault.Closed {
			t.Errorf("outer %t: cause %v", outerFirst, context.Cause(ctx))
		}
	}
}

// TestConcurrent ends a life while calls start and end. No running call may remain.
func TestConcurrent(t *testing.T) {
	var l life.Life
	var group, begun sync.WaitGroup
	for range 8 {
		begun.Add(2)
		group.Go(func() {
			begun.Done()
			for l.Err() == nil {
				_, cancel := l.Within(context.Background())
				cancel()
			}
			within, cancel := l.Within(context.Background())
			defer cancel()
			<-within.Done()
			<-l.Done()
		})
		group.Go(func() {
			within, cancel := l.Within(context.Background())
			defer cancel()
			begun.Done()
			<-within.Done()
		})
	}
	begun.Wait()
	l.End()
	group.Wait()
}

func TestErrAllocatesNothing(t *testing.T) {
	var l life.Life
	if n := testing.AllocsPerRun(100, func() { _ = l.Err() }); n != 0 {
		t.Errorf("Err allocates %v times", n)
	}
}

func TestRunning(t *testing.T) {
	var r life.Running
	for range 2 {
		end, err := r.Begin()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Begin(); !errors.Is(err, fault.Invalid) || err.Error() != "invalid: already running" {
			t.Errorf("a second Begin: %v", err)
		}
		end()
	}
}
