package defaults_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/fault"
)

func TestFill(t *testing.T) {
	size, wait, share := 0, 3*time.Second, 0.0
	if err := errors.Join(defaults.Fill("Size", &size, 7), defaults.Fill("Wait", &wait, time.Minute), defaults.Fill("Share", &share, 0.5)); err != nil {
		t.Fatal(err)
	}
	if size != 7 || wait != 3*time.Second || share != 0.5 {
		t.Errorf("the options became %d, %v and %v, want 7, 3s and 0.5", size, wait, share)
	}
	wait, share = -1, math.NaN()
	for _, c := range []struct {
		err  error
		want string
	}{
		{defaults.Fill("box.Options.Wait", &wait, time.Minute), "invalid: box.Options.Wait is -1ns: give a positive value, or 0 for the default, 1m0s"},
		{defaults.Fill("box.Options.Share", &share, 0.5), "invalid: box.Options.Share is NaN: give a positive value, or 0 for the default, 0.5"},
	} {
		if !errors.Is(c.err, fault.Invalid) || c.err.Error() != c.want {
			t.Errorf("%v, want %q", c.err, c.want)
		}
	}
}

func TestCopy(t *testing.T) {
	original := &struct{ Size int }{3}
	changed := defaults.Copy(original)
	changed.Size = 4
	if original.Size != 3 || defaults.Copy[int](nil) != 0 {
		t.Errorf("the original has become %d", original.Size)
	}
}

func TestGiven(t *testing.T) {
	if err := defaults.Given("box: New", "lid", new(int)); err != nil {
		t.Error(err)
	}
	err := defaults.Given[*int]("box: New", "lid", nil)
	if want := "invalid: box: New: the lid is nil"; !errors.Is(err, fault.Invalid) || err.Error() != want {
		t.Errorf("%v, want %q", err, want)
	}
}
