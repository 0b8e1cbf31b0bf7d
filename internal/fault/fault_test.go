package fault_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/go-os/go-os/internal/fault"
)

type broken struct{ text string }

func (b *broken) Error() string   { return b.text }
func (b *broken) Is(_ error) bool { return b.text == "" }

func TestType(t *testing.T) {
	fenced := fault.New("fenced", "fenced off")
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{fault.Unavailable, "unavailable"},
		{fmt.Errorf("kv: get: %w", fault.NotFound), "not_found"},
		{fault.Classify(fault.Unavailable, context.DeadlineExceeded), "unavailable"}, // the class counts, not the cause
		{fault.Classify(context.Canceled, errors.New("rpc error")), "canceled"},
		{fmt.Errorf("%w: %w", fault.Conflict, fault.Unavailable), "conflict"}, // the outermost
		{errors.Join(errors.New("first"), fault.TooLarge), "too_large"},
		{fmt.Errorf("fence: %w", fenced), "fenced"},
		{context.DeadlineExceeded, "timeout"},
		{errors.ErrUnsupported, "unsupported"},
		{errors.New("disk on fire"), "_OTHER"},
		{(*broken)(nil), "_OTHER"},
	} {
		if got := fault.Type(c.err); got != c.want {
			t.Errorf("the error.type of %T is %q, want %q", c.err, got, c.want)
		}
	}
}

// TestClassesDiffer: two classes with the same text are not the same error.
func TestClassesDiffer(t *testing.T) {
	if a, b := fault.New("a", "same"), fault.New("b", "same"); errors.Is(a, b) {
		t.Error("classes of the same text are the same error")
	}
}

func TestClassify(t *testing.T) {
	engine := errors.New("nats: nats: no responders")
	err := fault.Classify(fault.Unavailable, engine)
	if !errors.Is(err, fault.Unavailable) || !errors.Is(err, engine) {
		t.Error("the class or the error of the engine is out of reach")
	}
	if got, want := err.Error(), "unavailable: nats: no responders"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := fault.Classify(fault.NotFound, errors.New("key not found")).Error(), "key not found"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestTypeCost: the error.type of a miss, a frequent result, takes no allocation.
func TestTypeCost(t *testing.T) {
	err := fmt.Errorf("kv: get: %w", fault.NotFound)
	if n := testing.AllocsPerRun(100, func() { fault.Type(err) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestClassifyNothing(t *testing.T) {
	broken := errors.New("broken")
	if err := fault.Classify(fault.Unavailable, nil); err != nil {
		t.Errorf("success became %v", err)
	}
	if err := fault.Classify(nil, broken); err != broken {
		t.Errorf("without a class %v became %v", broken, err)
	}
}
