package options_test

import (
	"errors"
	"testing"
	"time"

	"github.com/go-os/go-os/internal/fault"
	"github.com/go-os/go-os/state/internal/options"
)

func TestDefault(t *testing.T) {
	for _, c := range []struct {
		given, want time.Duration
		err         string
	}{
		{0, time.Minute, ""},
		{time.Second, time.Second, ""},
		{-1, -1, "invalid: p.Options.Wait is -1ns: give a positive value, or zero for the default"},
	} {
		got := c.given
		err := options.Default("p.Options.Wait", &got, time.Minute)
		if got != c.want || c.err == "" && err != nil || c.err != "" && (err == nil || err.Error() != c.err || !errors.Is(err, fault.Invalid)) {
			t.Errorf("Default(%s) = %s, %v; want %s, %q", c.given, got, err, c.want, c.err)
		}
	}
}

func TestCopy(t *testing.T) {
	type opts struct{ n int }
	given := &opts{7}
	copied := options.Copy(given)
	if given.n = 8; copied.n != 7 || options.Copy[opts](nil) != (opts{}) {
		t.Errorf("Copy = %v, and of nil %v", copied, options.Copy[opts](nil))
	}
}

func TestGiven(t *testing.T) {
	if err := options.Given("p: New", "client", &struct{ n int }{}); err != nil {
		t.Error(err)
	}
	var none *int
	if err := options.Given("p: New", "client", none); !errors.Is(err, fault.Invalid) || err.Error() != "invalid: p: New: the client is nil" {
		t.Errorf("of a nil pointer: %v", err)
	}
	var nothing error
	if err := options.Given("p: New", "client", nothing); !errors.Is(err, fault.Invalid) {
		t.Errorf("of a nil interface: %v", err)
	}
}
