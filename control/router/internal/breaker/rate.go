package breaker

import (
	"math"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// RateConfig configures a limit of rate: a token bucket.
type RateConfig struct {
	// PerSecond is how many requests a second are allowed. Required.
	PerSecond float64
	// Burst is how many may come at once. Default: PerSecond, at least 1.
	Burst int
}

// Validate returns fault.Invalid if NewRateLimit would not take the configuration.
func (c RateConfig) Validate() error {
	_, err := c.withDefaults()
	return err
}

func (c RateConfig) withDefaults() (RateConfig, error) {
	switch {
	case !(c.PerSecond > 0) || math.IsInf(c.PerSecond, 1):
		return c, invalid("breaker.RateConfig.PerSecond is %v: give the requests a second, above 0", c.PerSecond)
	case c.Burst < 0:
		return c, invalid("breaker.RateConfig.Burst is %d: give a positive value, or 0 for the default, PerSecond", c.Burst)
	case c.Burst == 0:
		c.Burst = int(min(max(math.Ceil(c.PerSecond), 1), math.MaxInt32))
	}
	return c, nil
}

// RateLimit limits the rate of calls to a service or to an endpoint.
type RateLimit struct {
	bucket   *rate.Limiter
	rejected atomic.Int64
}

// NewRateLimit returns a RateLimit, or fault.Invalid.
func NewRateLimit(c RateConfig) (*RateLimit, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	return &RateLimit{bucket: newBucket(c)}, nil
}

// SetConfig changes the configuration and keeps the tokens, up to the new burst.
func (l *RateLimit) SetConfig(now time.Duration, c RateConfig) error {
	c, err := c.withDefaults()
	if err != nil {
		return err
	}
	setBucket(l.bucket, now, c)
	return nil
}

// Allow takes a token and reports whether there was one. If not, wait is the time until there is one.
func (l *RateLimit) Allow(now time.Duration) (wait time.Duration, ok bool) {
	wait, ok = take(l.bucket, now)
	if !ok {
		l.rejected.Add(1)
	}
	return wait, ok
}

// RateCounts are the numbers behind a RateLimit.
type RateCounts struct {
	Tokens   float64 // how many requests may come at once
	Rejected int64   // since NewRateLimit
}

// Counts returns the numbers behind the decisions.
func (l *RateLimit) Counts(now time.Duration) RateCounts {
	return RateCounts{Tokens: l.bucket.TokensAt(instant(now)), Rejected: l.rejected.Load()}
}

func newBucket(c RateConfig) *rate.Limiter { return rate.NewLimiter(rate.Limit(c.PerSecond), c.Burst) }

func setBucket(b *rate.Limiter, now time.Duration, c RateConfig) {
	b.SetLimitAt(instant(now), rate.Limit(c.PerSecond))
	b.SetBurstAt(instant(now), c.Burst)
}

func take(b *rate.Limiter, now time.Duration) (wait time.Duration, ok bool) {
	at := instant(now)
	if b.AllowN(at, 1) {
		return 0, true
	}
	missing := max(1-b.TokensAt(at), 0)
	return max(time.Duration(missing/float64(b.Limit())*float64(time.Second)), 1), false
}

// full reports whether a bucket has all its tokens, and so is no different from a new one.
func full(b *rate.Limiter, now time.Duration) bool {
	return b.TokensAt(instant(now)) >= float64(b.Burst())
}

// instant is the time of x/time/rate, which takes a zero time for one long past.
func instant(now time.Duration) time.Time { return time.Unix(0, int64(now)) }
