package option_test

import (
	"errors"
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
