package option_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"go.opentelemetry.io/otel"

	"github.com/go-os/go-os/internal/fault"
	"github.com/go-os/go-os/internal/option"
)

func TestCheck(t *testing.T) {
	err := option.Check("box.Options",
		option.Of("Size", -1), option.Of("Bytes", int64(0)), option.Of("Interval", -time.Second), option.Of("Depth", 1))
	want := "box.Options.Size: invalid: -1 is negative; zero means the default\n" +
		"box.Options.Interval: invalid: -1s is negative; zero means the default"
	if err == nil || err.Error() != want {
		t.Errorf("Check returned %q, want %q", err, want)
	}
	if !errors.Is(err, fault.Invalid) {
		t.Error("the error is not fault.Invalid")
	}
	if err := option.Check("box.Options", option.Of("Size", 0), option.Of("Interval", time.Second)); err != nil {
		t.Errorf("Check returned %q for options that are right", err)
	}
}

func TestFill(t *testing.T) {
	size, wait, share := 0, 3*time.Second, 0.0
	if err := errors.Join(option.Fill("Size", &size, 7), option.Fill("Wait", &wait, time.Minute), option.Fill("Share", &share, 0.5)); err != nil {
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
		{option.Fill("box.Options.Wait", &wait, time.Minute), "invalid: box.Options.Wait is -1ns: give a positive value, or 0 for the default, 1m0s"},
		{option.Fill("box.Options.Share", &share, 0.5), "invalid: box.Options.Share is NaN: give a positive value, or 0 for the default, 0.5"},
	} {
		if !errors.Is(c.err, fault.Invalid) || c.err.Error() != c.want {
			t.Errorf("%v, want %q", c.err, c.want)
		}
	}
}

func TestCopy(t *testing.T) {
	original := &struct{ Size int }{3}
	changed := option.Copy(original)
	changed.Size = 4
	if original.Size != 3 || option.Copy[int](nil) != 0 {
		t.Errorf("the original has become %d", original.Size)
	}
}

func TestGiven(t *testing.T) {
	if err := option.Given("box: New", "lid", new(int)); err != nil {
		t.Error(err)
	}
	err := option.Given[*int]("box: New", "lid", nil)
	if want := "invalid: box: New: the lid is nil"; !errors.Is(err, fault.Invalid) || err.Error() != want {
		t.Errorf("%v, want %q", err, want)
	}
}

func TestDefault(t *testing.T) {
	var reported []string
	before := otel.GetErrorHandler()
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { reported = append(reported, err.Error()) }))
	defer otel.SetErrorHandler(before)

	size, interval := 7, -time.Second
	option.Default("box.Options", "Size", &size)
	option.Default("box.Options", "Interval", &interval)
	if size != 7 || interval != 0 {
		t.Errorf("the options became %d and %v, want 7 and 0s", size, interval)
	}
	want := "box.Options.Interval: invalid: -1s is negative; zero means the default, which is used"
	if len(reported) != 1 || reported[0] != want {
		t.Errorf("reported %q, want %q", reported, want)
	}
}
