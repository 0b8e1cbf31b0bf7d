package breaker

import (
	"cmp"
	"fmt"
	"math"
	"time"

	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/fault"
)

// Defaults of Config.
const (
	DefaultRatio     = 0.5
	DefaultMinVolume = 20
	DefaultWindow    = 10 * time.Second
	DefaultSlowRatio = 0.5
	DefaultOpen      = 5 * time.Second
	DefaultMaxOpen   = time.Minute
	DefaultHalfOpen  = 5
)

// shortest is the shortest window: a window has buckets, and a bucket must be much longer than a clock tick.
const shortest = 10 * time.Millisecond

// Config configures a Breaker.
type Config struct {
	// Ratio is the share of failures, above 0 and up to 1, that opens the breaker. Default: 0.5.
	Ratio float64
	// MinVolume is the number of results in the window below which the breaker stays closed. Default: 20.
	MinVolume int
	// Window is how far back results count, to a tenth of it. At least 10 ms. Default: 10 s.
	Window time.Duration
	// SlowCall is the latency from which a call is slow. Default: 0, no call is slow.
	SlowCall time.Duration
	// SlowRatio is the share of slow calls, above 0 and up to 1, that opens the breaker. Default: 0.5.
	SlowRatio float64
	// Open is how long the breaker stays open the first time. The time doubles each time the trials fail. A random part of up to a
	// quarter is then taken off, so that the callers of a service do not all try again at once. Default: 5 s.
	Open time.Duration
	// MaxOpen is the longest time that the breaker stays open. Default: 1 min, or Open if that is longer.
	MaxOpen time.Duration
	// HalfOpen is the number of trials. Default: 5.
	HalfOpen int
	// PermitTime is how long the trials stay reserved for calls that do not end. Default: Open.
	PermitTime time.Duration
	// Observe makes the breaker allow every call, and only report what it would have rejected.
	Observe bool
	// Random is the source of randomness. Default: math/rand/v2.Uint64.
	Random func() uint64
	// Changed is called after each transition, without a lock, by the call that caused it. Calls may overlap.
	Changed func(from, to State, reason string)
}

// Validate returns fault.Invalid if New would not take the configuration.
func (c Config) Validate() error {
	_, err := c.withDefaults()
	return err
}

func (c Config) withDefaults() (Config, error) {
	err := cmp.Or(
		share("breaker.Config.Ratio", &c.Ratio, DefaultRatio),
		defaults.Fill("breaker.Config.MinVolume", &c.MinVolume, DefaultMinVolume),
		length("breaker.Config.Window", &c.Window, DefaultWindow),
		notNegative("breaker.Config.SlowCall", c.SlowCall),
		share("breaker.Config.SlowRatio", &c.SlowRatio, DefaultSlowRatio),
		defaults.Fill("breaker.Config.Open", &c.Open, DefaultOpen),
		defaults.Fill("breaker.Config.MaxOpen", &c.MaxOpen, max(DefaultMaxOpen, c.Open)),
		defaults.Fill("breaker.Config.HalfOpen", &c.HalfOpen, DefaultHalfOpen),
		defaults.Fill("breaker.Config.PermitTime", &c.PermitTime, c.Open),
	)
	if err == nil && c.MaxOpen < c.Open {
		err = invalid("breaker.Config.MaxOpen is %v, less than Open, %v: give at least Open", c.MaxOpen, c.Open)
	}
	c.Random = randomOr(c.Random)
	return c, err
}

// slow reports whether a call was slow.
func (c *Config) slow(latency time.Duration) bool { return c.SlowCall > 0 && latency >= c.SlowCall }

// openTime returns how long to stay open after having opened n times in a row.
func (c *Config) openTime(n int) time.Duration {
	t := c.Open
	for range n {
		if t >= c.MaxOpen/2 {
			t = c.MaxOpen
			break
		}
		t *= 2
	}
	return t - time.Duration(unit(c.Random)*float64(t)/4)
}

func share(name string, value *float64, standard float64) error {
	if err := defaults.Fill(name, value, standard); err != nil {
		return err
	}
	if *value > 1 {
		return invalid("%s is %v: give a share above 0 and up to 1", name, *value)
	}
	return nil
}

func length(name string, value *time.Duration, standard time.Duration) error {
	if err := defaults.Fill(name, value, standard); err != nil {
		return err
	}
	if *value < shortest {
		return invalid("%s is %v: give at least %v", name, *value, shortest)
	}
	return nil
}

// finite is defaults.Fill that also rejects infinity.
func finite(name string, value *float64, standard float64) error {
	if math.IsInf(*value, 1) {
		return invalid("%s is %v: give a finite value, or 0 for the default, %v", name, *value, standard)
	}
	return defaults.Fill(name, value, standard)
}

func notNegative(name string, value time.Duration) error {
	if value < 0 {
		return invalid("%s is %v: give a positive value, or 0 to turn it off", name, value)
	}
	return nil
}

func invalid(format string, args ...any) error {
	return fault.Classify(fault.Invalid, fmt.Errorf(format, args...))
}
