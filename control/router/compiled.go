package router

import (
	"cmp"
	"maps"
	"math"

	"github.com/go-os/go-os/control/router/internal/balance"
	"github.com/go-os/go-os/control/router/internal/breaker"
	"github.com/go-os/go-os/control/router/internal/health"
	"github.com/go-os/go-os/control/router/internal/placement"
)

// anyService is the name of the policy of all services without one.
const anyService = "*"

// RestArm is the arm of the requests outside of all arms of a split.
const RestArm = "rest"

// DefaultPanic is the default of Ejection.Panic.
const DefaultPanic = 0.5

// policy is a Policy that is ready for use. It is immutable.
type policy struct {
	Policy
	retry     Retry // with its defaults
	placement placement.Config
	arms      []string             // names by index; the last one is for the requests outside of all arms
	selectors []placement.Selector // of the arms but the last
	split     *placement.Assignment
	standard  *placement.Selector // of FallbackDefault
}

// compile returns a valid policy of a service, ready for use.
func (r *Router) compile(service string, p Policy) (*policy, error) {
	if err := p.Validate(); err != nil {
		return nil, &Error{Op: "policy", Service: service, Err: err}
	}
	p = p.clone()
	c := &policy{Policy: p, retry: p.Retry.withDefaults(), standard: &placement.Selector{All: p.Labels.Default}}
	c.placement = placement.Config{
		LocalZone:  r.opts.Zone,
		Zones:      placement.Zones{Off: p.Zones.Off, MinCandidates: p.Zones.MinEndpoints, Overprovisioning: p.Zones.Overprovisioning},
		Client:     r.opts.Client,
		SubsetSize: p.Subset,
	}
	if !p.Ejection.NoPanic {
		c.placement.PanicThreshold = cmp.Or(p.Ejection.Panic, DefaultPanic)
	}
	if err := c.compileSplit(service); err != nil {
		return nil, &Error{Op: "policy", Service: service, Err: err}
	}
	return c, nil
}

// compileSplit adds an arm for the requests outside of all arms.
func (c *policy) compileSplit(service string) (err error) {
	if len(c.Split.Arms) == 0 {
		return nil
	}
	split, rest := placement.Split{Salt: c.Split.Salt}, placement.Whole
	for _, arm := range c.Split.Arms {
		weight := min(int(math.Round(arm.Percent*placement.Whole/100)), rest)
		rest -= weight
		selector := placement.Selector{All: maps.Clone(arm.Labels)}
		c.arms, c.selectors = append(c.arms, arm.Name), append(c.selectors, selector)
		split.Arms = append(split.Arms, placement.Arm{Name: arm.Name, Weight: weight, Select: selector})
	}
	c.arms = append(c.arms, RestArm)
	split.Arms = append(split.Arms, placement.Arm{Name: RestArm, Weight: rest})
	c.split, err = split.Compile(service)
	return err
}

// allowed returns the labels that matter. It does not change labels.
func (c *policy) allowed(labels map[string]string) map[string]string {
	var kept map[string]string
	for _, name := range c.Labels.Allow {
		if value, ok := labels[name]; ok {
			if kept == nil {
				kept = make(map[string]string, len(c.Labels.Allow))
			}
			kept[name] = value
		}
	}
	return kept
}

func (r Retry) withDefaults() Retry {
	r.Attempts = cmp.Or(r.Attempts, DefaultAttempts)
	r.Ratio = cmp.Or(r.Ratio, DefaultRetryRatio)
	r.MinPerSecond = cmp.Or(r.MinPerSecond, DefaultRetryMin)
	r.Longest = max(cmp.Or(r.Longest, DefaultRetryLongest), r.Wait)
	r.Wait = min(cmp.Or(r.Wait, DefaultRetryWait), r.Longest)
	return r
}

// algorithms are the policies of package balance by name.
var algorithms = map[string]balance.Policy{
	"": balance.Auto, Auto: balance.Auto, PeakEWMA: balance.PeakEWMA, Prequal: balance.Prequal, LeastRequest: balance.LeastRequest,
	Weighted: balance.Weighted, RoundRobin: balance.RoundRobin, ConsistentHash: balance.ConsistentHash,
}

// config returns the configuration of the balancer. Auto without probes is PeakEWMA.
func (b Balance) config(probing bool) balance.Config {
	algorithm := algorithms[b.Algorithm]
	if algorithm == balance.Auto && !probing {
		algorithm = balance.PeakEWMA
	}
	return balance.Config{
		Policy: algorithm, Choices: b.Choices, Decay: b.Decay, LoadBound: b.LoadBound,
		Probes: balance.Probes{Rate: b.ProbeRate, Hot: b.HotQuantile},
	}
}

func (b Breaker) config(changed func(from, to breaker.State, reason string)) breaker.Config {
	return breaker.Config{
		Ratio: b.Ratio, MinVolume: b.MinRequests, Window: b.Window, SlowCall: b.Slow, SlowRatio: b.SlowRatio, Open: b.Open,
		HalfOpen: b.Trials, Observe: b.Observe, Changed: changed,
	}
}

func (t Throttle) on() bool { return t != Throttle{} }

func (t Throttle) config() breaker.ThrottleConfig {
	return breaker.ThrottleConfig{K: t.K, Window: t.Window, MinVolume: t.MinRequests}
}

func (r Retry) config() breaker.BudgetConfig {
	return breaker.BudgetConfig{Ratio: r.Ratio, MinPerSecond: r.MinPerSecond}
}

// health returns the configuration of the monitor.
func (c *policy) health(changed func(health.Change)) health.Config {
	e, start := c.Ejection, c.SlowStart
	config := health.Config{
		Off: e.Off, Observe: e.Observe, Interval: e.Interval, BaseEjection: e.Base, MaxEjection: e.Longest,
		MaxPercent: percent(e.MaxShare), Consecutive: e.Consecutive, Changed: changed,
		SuccessRate:       health.SuccessRate{StdevFactor: e.StdevFactor},
		FailurePercentage: health.FailurePercentage{Threshold: percent(e.FailureShare)},
		SlowStart:         health.SlowStart{Window: start.Window, Aggression: start.Aggression, MinWeight: start.MinWeight},
	}
	if start.Off {
		config.SlowStart = health.SlowStart{MinWeight: 1}
	}
	return config
}

// percent returns a share as a percentage. A share that is set is at least one percent: zero means the default.
func percent(share float64) int {
	if share == 0 {
		return 0
	}
	return max(int(math.Round(share*100)), 1)
}
