package health_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/go-os/go-os/control/router/internal/health"
	"github.com/go-os/go-os/internal/fault"
)

func TestValidate(t *testing.T) {
	if err := (&health.Config{}).Validate("Ejection"); err != nil {
		t.Errorf("the zero configuration: %v", err)
	}
	if err := (&health.Config{BaseEjection: time.Hour}).Validate("Ejection"); err != nil {
		t.Errorf("an ejection of an hour: %v", err)
	}
	for _, c := range []struct {
		config health.Config
		want   string
	}{
		{health.Config{MaxPercent: 101}, "Ejection.MaxPercent is 101: give a positive value, at most 100, or 0 for the default"},
		{health.Config{Interval: -time.Second}, "Ejection.Interval is -1s: give a positive value, or 0 for the default"},
		{health.Config{Consecutive: -1}, "Ejection.Consecutive is -1"},
		{health.Config{SuccessRate: health.SuccessRate{StdevFactor: math.NaN()}}, "Ejection.SuccessRate.StdevFactor is NaN"},
		{health.Config{SuccessRate: health.SuccessRate{Gap: 2}}, "Ejection.SuccessRate.Gap is 2: give a positive value, at most 1"},
		{health.Config{FailurePercentage: health.FailurePercentage{Enforcement: 200}}, "Ejection.FailurePercentage.Enforcement is 200"},
		{health.Config{SlowStart: health.SlowStart{MinWeight: 1.5}}, "Ejection.SlowStart.MinWeight is 1.5"},
		{health.Config{SlowStart: health.SlowStart{Aggression: math.Inf(1)}}, "Ejection.SlowStart.Aggression is +Inf"},
		{health.Config{BaseEjection: time.Minute, MaxEjection: time.Second}, "Ejection.MaxEjection is 1s: give at least BaseEjection, 1m0s"},
	} {
		err := c.config.Validate("Ejection")
		if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

// TestImpossibleValuesCountAsZero: a Monitor works even if nobody has validated its configuration.
func TestImpossibleValuesCountAsZero(t *testing.T) {
	f := newFleet(t, 3, health.Config{Interval: -1, BaseEjection: -1, MaxEjection: -1, MaxPercent: -1, Consecutive: -1,
		SlowStart: health.SlowStart{Window: -1, Aggression: math.NaN(), MinWeight: -1}})
	f.record(0, 4, health.GatewayFault)
	f.want()
	f.record(0, 1, health.GatewayFault)
	f.want(0)
	f.pass(health.DefaultBaseEjection)
	f.want()
	if w := f.targets[0].Weight(f.now); !near(w, health.DefaultMinWeight) {
		t.Errorf("the ramp starts at %v", w)
	}
}
