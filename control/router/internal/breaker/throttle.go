package breaker

import (
	"cmp"
	"sync/atomic"
	"time"

	"github.com/go-os/go-os/internal/defaults"
)

// Defaults of ThrottleConfig.
const (
	DefaultThrottleK         = 2.0
	DefaultThrottleWindow    = 2 * time.Minute
	DefaultThrottleMinVolume = 20
	DefaultForcePass         = time.Second
)

// ThrottleConfig configures a Throttle.
type ThrottleConfig struct {
	// K is how many requests are sent for each one that is accepted, above 1. A lower K rejects more at the client. Default: 2.
	K float64
	// Window is how far back requests count. At least 10 ms. Default: 2 min.
	Window time.Duration
	// MinVolume is the number of requests in the window below which nothing is rejected. Default: 20.
	MinVolume int
	// ForcePass is the interval at which a request passes whatever the probability is, so that a service that was away for long is found
	// again. Default: 1 s.
	ForcePass time.Duration
	// Random is the source of randomness. Default: math/rand/v2.Uint64.
	Random func() uint64
}

// Validate returns fault.Invalid if NewThrottle would not take the configuration.
func (c ThrottleConfig) Validate() error {
	_, err := c.withDefaults()
	return err
}

func (c ThrottleConfig) withDefaults() (ThrottleConfig, error) {
	err := cmp.Or(
		finite("breaker.ThrottleConfig.K", &c.K, DefaultThrottleK),
		length("breaker.ThrottleConfig.Window", &c.Window, DefaultThrottleWindow),
		defaults.Fill("breaker.ThrottleConfig.MinVolume", &c.MinVolume, DefaultThrottleMinVolume),
		defaults.Fill("breaker.ThrottleConfig.ForcePass", &c.ForcePass, DefaultForcePass),
	)
	if err == nil && c.K <= 1 {
		err = invalid("breaker.ThrottleConfig.K is %v: give more than 1, or a healthy service is throttled", c.K)
	}
	c.Random = randomOr(c.Random)
	return c, err
}

// Throttle rejects requests at the client with the probability that the service would reject them (Site Reliability Engineering, chapter
// 21): max(0, (requests - K*accepts) / (requests + 1)). The requests include those rejected here. A request counts when it has been
// answered, so that one whose caller gave up counts as nothing.
//
// The probability is computed over the window and over its last eighth, and the lower one counts. Over two minutes alone, a client would
// need about five minutes to trust a service again that was away for one.
type Throttle struct {
	settings atomic.Pointer[ThrottleConfig]
	window   *window
	passed   atomic.Int64 // when a request was last let through
	rejected atomic.Int64
}

// What a Throttle's window counts.
const (
	kindRequests = iota
	kindAccepts
)

// The buckets of a Throttle's window, and of its recent part.
const (
	throttleBuckets = 24
	throttleRecent  = 3
)

// NewThrottle returns a Throttle, or fault.Invalid.
func NewThrottle(c ThrottleConfig) (*Throttle, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	t := &Throttle{window: newWindow(c.Window, throttleBuckets, 0)}
	t.window.late = throttleRecent
	t.settings.Store(&c)
	return t, nil
}

// SetConfig changes the configuration and keeps the counts.
func (t *Throttle) SetConfig(now time.Duration, c ThrottleConfig) error {
	c, err := c.withDefaults()
	if err != nil {
		return err
	}
	t.settings.Store(&c)
	t.window.resize(c.Window, throttleBuckets, now)
	return nil
}

// Allow reports whether a request may be sent, and counts it if not.
func (t *Throttle) Allow(now time.Duration) bool {
	c := t.settings.Load()
	t.window.advance(now)
	p := t.probability(c)
	if p <= 0 {
		return true
	}
	if last := t.passed.Load(); unit(c.Random) >= p {
		t.passed.Store(int64(now))
		return true
	} else if now-time.Duration(last) >= c.ForcePass && t.passed.CompareAndSwap(last, int64(now)) {
		return true
	}
	t.window.add(kindRequests, 1)
	t.rejected.Add(1)
	return false
}

// Record counts a request that was sent: whether the service accepted it, even if its answer was an error of another kind than overload.
// A request whose outcome says nothing about the service is not recorded.
func (t *Throttle) Record(now time.Duration, accepted bool) {
	t.window.advance(now)
	if accepted {
		t.window.add(kindAccepts, 1)
	}
	t.window.add(kindRequests, 1)
}

func (t *Throttle) probability(c *ThrottleConfig) float64 {
	p := c.probability(t.window.in(kindRequests), t.window.in(kindAccepts))
	if p == 0 {
		return 0
	}
	if requests := t.window.recent(kindRequests); requests >= int64(c.MinVolume) {
		return min(p, c.probability(requests, t.window.recent(kindAccepts)))
	}
	return p
}

func (c *ThrottleConfig) probability(requests, accepts int64) float64 {
	if requests < int64(c.MinVolume) {
		return 0
	}
	return max((float64(requests)-c.K*float64(accepts))/float64(requests+1), 0)
}

// ThrottleCounts are the numbers behind a Throttle.
type ThrottleCounts struct {
	Requests, Accepts int64   // in the window
	Probability       float64 // that a request is rejected
	Rejected          int64   // since NewThrottle
}

// Counts returns the numbers behind the decisions.
func (t *Throttle) Counts(now time.Duration) ThrottleCounts {
	t.window.advance(now)
	return ThrottleCounts{
		Requests:    t.window.in(kindRequests),
		Accepts:     t.window.in(kindAccepts),
		Probability: t.probability(t.settings.Load()),
		Rejected:    t.rejected.Load(),
	}
}
