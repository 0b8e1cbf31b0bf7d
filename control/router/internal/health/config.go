package health

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/go-os/go-os/internal/fault"
)

// The defaults of Config. They are those of gRFC A50 and Envoy where these have one.
const (
	DefaultInterval     = 10 * time.Second
	DefaultBaseEjection = 30 * time.Second
	DefaultMaxEjection  = 5 * time.Minute
	DefaultMaxPercent   = 10
	DefaultConsecutive  = 5

	DefaultStdevFactor = 1.9
	DefaultGap         = 0.05
	DefaultThreshold   = 85
	DefaultMinHosts    = 5
	DefaultEnforcement = 100
	// Requests within one interval.
	DefaultSuccessRateRequests       = 100
	DefaultFailurePercentageRequests = 50

	DefaultWindow     = 10 * time.Second
	DefaultAggression = 1
	DefaultMinWeight  = 0.1
)

// Config configures a Monitor. Zero means the default everywhere.
type Config struct {
	// Off turns outlier ejection off. Eject and slow start remain.
	Off bool
	// Observe reports ejections to Changed and carries out none.
	Observe bool
	// Interval is the time between two statistical judgements. Default: DefaultInterval.
	Interval time.Duration
	// BaseEjection is the length of the first ejection. The n-th one takes n times as long. Each interval with a success that the endpoint
	// spends in service decreases n by one. Default: DefaultBaseEjection.
	BaseEjection time.Duration
	// MaxEjection is the length of the longest ejection. Default: DefaultMaxEjection.
	MaxEjection time.Duration
	// MaxPercent of the endpoints are ejected at most, rounded down; but one may always be ejected, and the last one never. Default:
	// DefaultMaxPercent.
	MaxPercent int
	// Consecutive gateway faults eject an endpoint at once. Default: DefaultConsecutive.
	Consecutive int
	// SuccessRate ejects endpoints whose success rate is far below that of the others.
	SuccessRate SuccessRate
	// FailurePercentage ejects endpoints that fail more often than a fixed limit.
	FailurePercentage FailurePercentage
	// SlowStart ramps up the weight of endpoints that are new or return from an ejection.
	SlowStart SlowStart

	// Random draws for the enforcement percentages. Default: math/rand/v2.
	Random func() uint64
	// Changed is called after each change, without a lock, by the goroutine that caused it. Default: none.
	Changed func(Change)
}

// SuccessRate configures the success-rate algorithm of gRFC A50.
type SuccessRate struct {
	// Off turns the algorithm off.
	Off bool
	// StdevFactor is how many standard deviations below the mean an outlier is. Default: DefaultStdevFactor.
	StdevFactor float64
	// Gap is how far below the mean an outlier is at least, such as 0.05 for five percentage points. A50 has no such limit: among five or
	// more endpoints without a failure, it ejects the one with a single failure (envoyproxy/envoy#18752, #37723). Default: DefaultGap.
	Gap float64
	// MinHosts is how many endpoints with MinRequests the algorithm needs. Default: DefaultMinHosts.
	MinHosts int
	// MinRequests within an interval. Default: DefaultSuccessRateRequests.
	MinRequests int
	// Enforcement is the percentage of outliers that are ejected. Default: DefaultEnforcement.
	Enforcement int
}

// FailurePercentage configures the failure-percentage algorithm of gRFC A50.
type FailurePercentage struct {
	// Off turns the algorithm off.
	Off bool
	// Threshold is the percentage of failures above which an endpoint is an outlier. Default: DefaultThreshold.
	Threshold int
	// MinHosts is how many endpoints with MinRequests the algorithm needs. Default: DefaultMinHosts.
	MinHosts int
	// MinRequests within an interval. Default: DefaultFailurePercentageRequests.
	MinRequests int
	// Enforcement is the percentage of outliers that are ejected. Default: DefaultEnforcement.
	Enforcement int
}

// SlowStart configures the ramp of weights. After a time t the weight is (t/Window)^(1/Aggression), and at least MinWeight, as in Envoy.
type SlowStart struct {
	// Window is the length of the ramp. Default: DefaultWindow.
	Window time.Duration
	// Aggression shapes the ramp: 1 is linear, more rises faster at first. Default: DefaultAggression.
	Aggression float64
	// MinWeight is the weight at the start of the ramp, at most 1. At 1 there is no ramp. Default: DefaultMinWeight.
	MinWeight float64
}

// Validate returns fault.Invalid if a value is impossible. name precedes the names of the fields, such as "router.Policy.Ejection".
func (c *Config) Validate(name string) error {
	return errors.Join(
		least(name+".Interval", c.Interval),
		least(name+".BaseEjection", c.BaseEjection),
		least(name+".MaxEjection", c.MaxEjection),
		within(name+".MaxPercent", c.MaxPercent, 100),
		least(name+".Consecutive", c.Consecutive),
		least(name+".SuccessRate.StdevFactor", c.SuccessRate.StdevFactor),
		within(name+".SuccessRate.Gap", c.SuccessRate.Gap, 1),
		least(name+".SuccessRate.MinHosts", c.SuccessRate.MinHosts),
		least(name+".SuccessRate.MinRequests", c.SuccessRate.MinRequests),
		within(name+".SuccessRate.Enforcement", c.SuccessRate.Enforcement, 100),
		within(name+".FailurePercentage.Threshold", c.FailurePercentage.Threshold, 100),
		least(name+".FailurePercentage.MinHosts", c.FailurePercentage.MinHosts),
		least(name+".FailurePercentage.MinRequests", c.FailurePercentage.MinRequests),
		within(name+".FailurePercentage.Enforcement", c.FailurePercentage.Enforcement, 100),
		least(name+".SlowStart.Window", c.SlowStart.Window),
		least(name+".SlowStart.Aggression", c.SlowStart.Aggression),
		within(name+".SlowStart.MinWeight", c.SlowStart.MinWeight, 1),
		c.order(name),
	)
}

func (c *Config) order(name string) error {
	all := c.withDefaults()
	if all.MaxEjection < all.BaseEjection {
		return invalid("%s.MaxEjection is %v: give at least BaseEjection, %v", name, all.MaxEjection, all.BaseEjection)
	}
	return nil
}

func least[T ~int | ~int64 | ~float64](name string, value T) error {
	if v := float64(value); !(v >= 0) || math.IsInf(v, 0) {
		return invalid("%s is %v: give a positive value, or 0 for the default", name, value)
	}
	return nil
}

func within[T ~int | ~float64](name string, value, most T) error {
	if !(value >= 0 && value <= most) {
		return invalid("%s is %v: give a positive value, at most %v, or 0 for the default", name, value, most)
	}
	return nil
}

func invalid(format string, args ...any) error {
	return fault.Classify(fault.Invalid, fmt.Errorf(format, args...))
}

// withDefaults returns the configuration with its defaults. Impossible values count as zero.
func (c *Config) withDefaults() *Config {
	all := *c
	fill(&all.Interval, DefaultInterval)
	fill(&all.BaseEjection, DefaultBaseEjection)
	fill(&all.MaxEjection, max(DefaultMaxEjection, all.BaseEjection))
	fill(&all.MaxPercent, DefaultMaxPercent)
	fill(&all.Consecutive, DefaultConsecutive)
	fill(&all.SuccessRate.StdevFactor, DefaultStdevFactor)
	fill(&all.SuccessRate.Gap, DefaultGap)
	fill(&all.SuccessRate.MinHosts, DefaultMinHosts)
	fill(&all.SuccessRate.MinRequests, DefaultSuccessRateRequests)
	fill(&all.SuccessRate.Enforcement, DefaultEnforcement)
	fill(&all.FailurePercentage.Threshold, DefaultThreshold)
	fill(&all.FailurePercentage.MinHosts, DefaultMinHosts)
	fill(&all.FailurePercentage.MinRequests, DefaultFailurePercentageRequests)
	fill(&all.FailurePercentage.Enforcement, DefaultEnforcement)
	fill(&all.SlowStart.Window, DefaultWindow)
	fill(&all.SlowStart.Aggression, DefaultAggression)
	fill(&all.SlowStart.MinWeight, DefaultMinWeight)
	return &all
}

func fill[T ~int | ~int64 | ~float64](value *T, standard T) {
	if !(*value > 0) {
		*value = standard
	}
}

// weight returns the weight at a time after the start of the ramp.
func (s *SlowStart) weight(elapsed time.Duration) float64 {
	if elapsed >= s.Window {
		return 1
	}
	w := float64(elapsed) / float64(s.Window)
	if s.Aggression != 1 {
		w = math.Pow(w, 1/s.Aggression)
	}
	return max(w, s.MinWeight)
}
