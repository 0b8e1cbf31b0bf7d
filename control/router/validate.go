package router

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/go-os/go-os/control/router/internal/placement"
)

// Validate returns nil if the policy can be used. Otherwise the error has every mistake: it joins errors that wrap ErrInvalid.
func (p Policy) Validate() error {
	var c checker
	c.balance(p.Balance)
	c.ejection(p.Ejection)
	c.duration("slow_start.window", p.SlowStart.Window)
	c.share("slow_start.min_weight", p.SlowStart.MinWeight)
	c.amount("slow_start.aggression", p.SlowStart.Aggression)
	c.count("zones.min_endpoints", p.Zones.MinEndpoints)
	c.atLeastOne("zones.overprovisioning", p.Zones.Overprovisioning)
	c.count("subset", p.Subset)
	if p.Subset > 0 && len(p.Labels.Allow) > 0 {
		c.add("subset", "it cannot be combined with labels.allow: the endpoints of a label may lie outside of the subset")
	}
	c.labels(p.Labels)
	c.split(p.Split)
	c.breaker("breaker", p.Breaker)
	c.breaker("endpoint_breaker", p.EndpointBreaker)
	c.atLeastOne("throttle.k", p.Throttle.K)
	c.duration("throttle.window", p.Throttle.Window)
	c.count("throttle.min_requests", p.Throttle.MinRequests)
	c.limits(p.Limits)
	c.duration("timeout", p.Timeout)
	c.retry(p.Retry)
	c.duration("hedge.after", p.Hedge.After)
	c.quantile("hedge.quantile", p.Hedge.Quantile)
	c.hedge(p)
	c.name("fallback", p.Fallback)
	if len(c.mistakes) == 0 {
		c.parts(p)
	}
	return join(c.mistakes)
}

// parts checks what the parts of the router accept: some limits are theirs.
func (c *checker) parts(p Policy) {
	compiled := policy{Policy: p}
	monitor := compiled.health(nil)
	c.part("ejection", monitor.Validate("ejection"))
	if p.Breaker.on() {
		c.part("breaker", p.Breaker.config(nil).Validate())
	}
	if p.EndpointBreaker.on() {
		c.part("endpoint_breaker", p.EndpointBreaker.config(nil).Validate())
	}
	if p.Throttle.on() {
		c.part("throttle", p.Throttle.config().Validate())
	}
	c.part("retry", p.Retry.withDefaults().config().Validate())
	c.part("split", compiled.compileSplit("service"))
	_, err := placement.NewAllowlist(p.Labels.Allow, placement.Limits{})
	c.part("labels.allow", err)
}

func (c *checker) part(field string, err error) {
	if err != nil {
		c.mistakes = append(c.mistakes, fmt.Errorf("%s: %w", field, err))
	}
}

// mistakes are several errors on one line.
type mistakes []error

// join returns the errors that are not nil as one.
func join(errs []error) error {
	all := slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return err == nil })
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	return mistakes(all)
}

// Error implements error.
func (m mistakes) Error() string {
	texts := make([]string, len(m))
	for i, err := range m {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap returns the errors.
func (m mistakes) Unwrap() []error { return m }

// checker collects the mistakes of a policy.
type checker struct{ mistakes []error }

func (c *checker) add(field, format string, args ...any) {
	c.mistakes = append(c.mistakes, fmt.Errorf("%w: %s: %s", ErrInvalid, field, fmt.Sprintf(format, args...)))
}

func (c *checker) count(field string, n int) {
	if n < 0 {
		c.add(field, "%d is negative", n)
	}
}

// longest is the longest duration in a policy. Sums and products of a few of them do not overflow.
const longest = 365 * 24 * time.Hour

func (c *checker) duration(field string, d time.Duration) {
	if d < 0 || d > longest {
		c.add(field, "%v: use 0 to %v", d, longest)
	}
}

// amount accepts finite numbers from zero.
func (c *checker) amount(field string, v float64) {
	if !(v >= 0 && v <= math.MaxInt32) {
		c.add(field, "%v: use 0 to %d", v, math.MaxInt32)
	}
}

func (c *checker) share(field string, v float64) {
	if !(v >= 0 && v <= 1) {
		c.add(field, "%v: use 0 to 1", v)
	}
}

func (c *checker) quantile(field string, v float64) {
	if !(v >= 0 && v < 1) {
		c.add(field, "%v: use 0 to below 1, such as 0.95", v)
	}
}

func (c *checker) atLeastOne(field string, v float64) {
	if v != 0 && !(v >= 1 && v <= 1000) {
		c.add(field, "%v: use 1 to 1000", v)
	}
}

func (c *checker) oneOf(field, value string, names ...string) {
	if value != "" && !slices.Contains(names, value) {
		c.add(field, "%q: use one of %s", cut(value), strings.Join(names, ", "))
	}
}

func (c *checker) name(field, value string) {
	if len(value) > maxName {
		c.add(field, "%d bytes: use %d at most", len(value), maxName)
	}
}

func cut(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "…"
	}
	return s
}

func (c *checker) balance(b Balance) {
	c.oneOf("balance.algorithm", b.Algorithm, Auto, PeakEWMA, Prequal, LeastRequest, Weighted, RoundRobin, ConsistentHash)
	if b.Choices != 0 && (b.Choices < 2 || b.Choices > 10) {
		c.add("balance.choices", "%d: use 2 to 10", b.Choices)
	}
	c.duration("balance.decay", b.Decay)
	if !(b.ProbeRate >= 0 && b.ProbeRate <= 10) {
		c.add("balance.probe_rate", "%v: use 0 to 10", b.ProbeRate)
	}
	c.share("balance.hot_quantile", b.HotQuantile)
	c.atLeastOne("balance.load_bound", b.LoadBound)
}

func (c *checker) ejection(e Ejection) {
	c.duration("ejection.interval", e.Interval)
	c.duration("ejection.base", e.Base)
	c.duration("ejection.longest", e.Longest)
	if e.Base > 0 && e.Longest > 0 && e.Longest < e.Base {
		c.add("ejection.longest", "%v is below ejection.base, %v", e.Longest, e.Base)
	}
	c.share("ejection.max_share", e.MaxShare)
	c.count("ejection.consecutive", e.Consecutive)
	c.share("ejection.failure_share", e.FailureShare)
	c.amount("ejection.stdev_factor", e.StdevFactor)
	c.share("ejection.panic", e.Panic)
	if e.NoPanic && e.Panic > 0 {
		c.add("ejection.no_panic", "it contradicts ejection.panic: remove one of them")
	}
}

func (c *checker) labels(l Labels) {
	c.oneOf("labels.match", l.Match, MatchAll, MatchAny, MatchNone)
	c.oneOf("labels.fallback", l.Fallback, FallbackAny, FallbackNone, FallbackDefault)
	if l.Fallback == FallbackDefault && len(l.Default) == 0 {
		c.add("labels.default", "labels.fallback is %q: set the labels of the default endpoints", FallbackDefault)
	}
	for _, name := range l.Allow {
		if name == "" {
			c.add("labels.allow", "a name is empty")
		}
		c.name("labels.allow", name)
	}
}

func (c *checker) split(s Split) {
	sum, names := 0.0, map[string]bool{}
	for _, arm := range s.Arms {
		switch {
		case arm.Name == "":
			c.add("split.arms", "an arm has no name")
		case names[arm.Name]:
			c.add("split.arms", "two arms are named %q", cut(arm.Name))
		}
		c.name("split.arms", arm.Name)
		names[arm.Name] = true
		if !(arm.Percent >= 0 && arm.Percent <= 100) {
			c.add("split.arms", "arm %q has %v percent: use 0 to 100", cut(arm.Name), arm.Percent)
			continue
		}
		if len(arm.Labels) == 0 {
			c.add("split.arms", "arm %q has no labels: set those of its endpoints, such as version", cut(arm.Name))
		}
		sum += arm.Percent
	}
	if sum > 100+1e-9 {
		c.add("split.arms", "the arms have %v percent together: use 100 at most", sum)
	}
}

func (c *checker) breaker(field string, b Breaker) {
	c.share(field+".ratio", b.Ratio)
	c.duration(field+".slow", b.Slow)
	c.share(field+".slow_ratio", b.SlowRatio)
	if b.SlowRatio > 0 && b.Slow == 0 {
		c.add(field+".slow_ratio", "set %s.slow too: the duration from which a request is slow", field)
	}
	c.count(field+".min_requests", b.MinRequests)
	c.duration(field+".window", b.Window)
	c.duration(field+".open", b.Open)
	c.count(field+".trials", b.Trials)
}

func (c *checker) limits(l Limits) {
	c.count("limits.concurrent", l.Concurrent)
	c.count("limits.endpoint_concurrent", l.EndpointConcurrent)
	c.rate("limits.rate", "limits.burst", l.Rate, l.Burst)
	c.rate("limits.endpoint_rate", "limits.endpoint_burst", l.EndpointRate, l.EndpointBurst)
	c.rate("limits.key_rate", "limits.key_burst", l.KeyRate, l.KeyBurst)
}

func (c *checker) rate(field, burst string, rate float64, n int) {
	c.amount(field, rate)
	c.count(burst, n)
	if n > 0 && rate == 0 {
		c.add(burst, "set %s too", field)
	}
}

func (c *checker) retry(r Retry) {
	if r.Attempts < 0 || r.Attempts > MaxAttempts {
		c.add("retry.attempts", "%d: use 1 to %d", r.Attempts, MaxAttempts)
	}
	c.share("retry.ratio", r.Ratio)
	c.amount("retry.min_per_second", r.MinPerSecond)
	c.duration("retry.wait", r.Wait)
	c.duration("retry.longest", r.Longest)
	if r.Wait > 0 && r.Longest > 0 && r.Longest < r.Wait {
		c.add("retry.longest", "%v is below retry.wait, %v", r.Longest, r.Wait)
	}
	c.duration("retry.timeout", r.Timeout)
}

func (c *checker) hedge(p Policy) {
	if p.Hedge.on() && p.Retry.Attempts == 1 {
		c.add("hedge", "retry.attempts is 1: a hedge is a second attempt")
	}
}
