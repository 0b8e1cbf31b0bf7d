package health

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// sample is what a target did in an interval.
type sample struct {
	target   *Target
	requests uint64
	rate     float64 // of successes
}

// judge ends an interval: it ejects the outliers, by both algorithms of gRFC A50. A Sweep that is late, because there were no requests, judges as
// of the time it was due: what failed an hour ago ejects nobody now.
func (m *Monitor) judge(now time.Duration) (changed bool) {
	c := m.config.Load()
	due := m.end
	m.end = never // schedule sets it
	samples := m.collect()
	if c.Off {
		return false
	}
	if s := &c.SuccessRate; !s.Off {
		for _, o := range s.outliers(samples) {
			changed = m.ejectFor(now, due, o.target, ReasonSuccessRate, s.Enforcement) || changed
		}
	}
	if f := &c.FailurePercentage; !f.Off {
		for _, o := range f.outliers(samples) {
			if !o.target.ejection.active {
				changed = m.ejectFor(now, due, o.target, ReasonFailurePercentage, f.Enforcement) || changed
			}
		}
	}
	for _, s := range samples {
		if t := s.target; !t.ejection.active && s.rate > 0 {
			t.multiplier = max(t.multiplier-1, 0)
		}
	}
	return changed
}

// collect takes the counters of the interval. Ejected targets are left out.
func (m *Monitor) collect() (samples []sample) {
	for _, t := range m.present {
		counts := t.counts.Swap(0)
		t.requests = counts % failure
		if t.requests == 0 {
			continue
		}
		t.rate = 1 - float64(counts/failure)/float64(t.requests)
		if !t.ejection.active {
			samples = append(samples, sample{t, t.requests, t.rate})
		}
	}
	return samples
}

// outliers returns the samples whose rate is far below the mean, the worst first.
func (c *SuccessRate) outliers(all []sample) []sample {
	samples := enough(all, c.MinRequests, c.MinHosts)
	mean, stdev := spread(samples)
	required := mean - max(c.StdevFactor*stdev, c.Gap)
	return below(samples, required)
}

// outliers returns the samples that fail more often than the threshold, the worst first.
func (c *FailurePercentage) outliers(all []sample) []sample {
	return below(enough(all, c.MinRequests, c.MinHosts), 1-float64(c.Threshold)/100)
}

// enough returns the samples with enough requests, or none if they are too few.
func enough(all []sample, requests, hosts int) (samples []sample) {
	for _, s := range all {
		if s.requests >= uint64(requests) {
			samples = append(samples, s)
		}
	}
	if len(samples) < hosts {
		return nil
	}
	return samples
}

// spread returns the mean and the standard deviation of the rates, each target weighing the same.
func spread(samples []sample) (mean, stdev float64) {
	n := float64(len(samples))
	for _, s := range samples {
		mean += s.rate / n
	}
	for _, s := range samples {
		stdev += (s.rate - mean) * (s.rate - mean) / n
	}
	return mean, math.Sqrt(stdev)
}

func below(samples []sample, required float64) (outliers []sample) {
	for _, s := range samples {
		if s.rate < required {
			outliers = append(outliers, s)
		}
	}
	slices.SortStableFunc(outliers, func(a, b sample) int { return cmp.Compare(a.rate, b.rate) })
	return outliers
}
