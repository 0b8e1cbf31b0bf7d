package option_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/go-os/go-os/control/config/driver"
	"github.com/go-os/go-os/control/config/internal/option"
)

func TestDefault(t *testing.T) {
	for _, c := range []struct {
		value, want time.Duration
		err         string
	}{
		{0, time.Minute, ""},
		{time.Second, time.Second, ""},
		{-time.Second, -time.Second, "invalid: Options.Timeout is -1s: give a positive value, or 0 for the default, 1m0s"},
	} {
		got := c.value
		err := option.Default("Options.Timeout", &got, time.Minute)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && (err.Error() != c.err || !errors.Is(err, driver.ErrInvalid)) {
			t.Errorf("%v: got %v, %v", c.value, got, err)
		}
	}
	nan := math.NaN()
	if err := option.Default("Plan.Worse", &nan, 1.5); !errors.Is(err, driver.ErrInvalid) {
		t.Errorf("NaN: %v", err)
	}
}
