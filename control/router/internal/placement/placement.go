// Package placement decides which instances of a service may get a request, and with what weight.
//
//	chosen, _ := placement.Choose(candidates, arm.Select, placement.FallbackNone, nil)
//	table := placement.Place(placement.At(candidates, chosen), &placement.Config{LocalZone: "eu-1a", PanicThreshold: 0.5})
//	for i, weight := range table.Weights { … }
//
// The order is: labels or split ([Choose], [Assignment]), then panic, ejections, zones and subset ([Place]). The caller leaves out drained
// instances before, and balances by the weights after.
//
// All functions are pure: they read no clock, start no goroutine and change no argument. Tables are built when instances, health or policy
// change. Only [Assignment.Arm], [Assignment.Random] and [Allowlist.Labels] are meant to be called for each request.
package placement

// Candidate is an instance that could get a request.
type Candidate struct {
	// ID identifies the instance within its service.
	ID string
	// Zone is where the instance runs. It may be empty. Selectors see it as the label "zone", unless there is a label of that name.
	Zone string
	// Version of the program. It may be empty. Selectors see it as the label "version", unless there is a label of that name.
	Version string
	// Labels are further properties. They are only read.
	Labels map[string]string
	// Weight is the share of requests relative to the others. Zero means none, except in panic. A weight that is negative, infinite or not a
	// number counts as zero.
	Weight float64
	// Healthy is false while the instance is ejected, or reports itself as unhealthy.
	Healthy bool
}

// label returns the value of a label, or of a field under its name.
func (c *Candidate) label(key string) (value string, ok bool) {
	if value, ok = c.Labels[key]; ok {
		return value, true
	}
	switch key {
	case "zone":
		return c.Zone, c.Zone != ""
	case "version":
		return c.Version, c.Version != ""
	}
	return "", false
}

// weight returns Weight, or 0 if it is not a positive, finite number.
func (c *Candidate) weight() float64 {
	if c.Weight > 0 && c.Weight <= maxWeight {
		return c.Weight
	}
	return 0
}

// maxWeight keeps sums of weights finite.
const maxWeight = 1e18

// At returns copies of the candidates with these indices.
func At(candidates []Candidate, indices []int) []Candidate {
	chosen := make([]Candidate, len(indices))
	for i, index := range indices {
		chosen[i] = candidates[index]
	}
	return chosen
}

// Config describes how Place distributes requests.
type Config struct {
	// LocalZone is the zone of the caller. Empty means that zones do not matter.
	LocalZone string
	// Zones are the parameters of zone-aware routing.
	Zones Zones
	// PanicThreshold is the share of healthy candidates, from 0 to 1, below which all are used. Zero turns panic off.
	PanicThreshold float64
	// Client identifies the caller. Callers with different names use different subsets.
	Client string
	// SubsetSize is how many candidates a caller uses. Zero means all.
	SubsetSize int
}

// Table is the result of Place.
type Table struct {
	// Weights has a weight for each candidate. Zero means that it gets no requests. Only the ratio of weights matters.
	Weights []float64
	// Usable is how many weights are above zero. If it is zero, no request can be placed.
	Usable int
	// Panic reports that ejections and zero weights are ignored, because too few candidates are left without them.
	Panic bool
	// Zoning says how requests are divided between zones.
	Zoning Zoning
}

// Place returns the weights of the candidates, which labels and splits have chosen before.
func Place(candidates []Candidate, cfg *Config) Table {
	weights, panicking := available(candidates, cfg.PanicThreshold)
	table := Table{Weights: weights, Panic: panicking}
	if panicking {
		table.Zoning = Zoning{Reason: ZonesPanic}
	} else {
		table.Zoning = cfg.Zones.divide(candidates, weights, cfg.LocalZone)
		table.Zoning.apply(candidates, weights)
	}
	if cfg.SubsetSize > 0 {
		reduce(candidates, weights, cfg.Client, cfg.SubsetSize, table.Zoning.active())
	}
	table.Usable = len(weights) - count(weights, 0)
	return table
}

// available returns the weights of the healthy candidates. In panic it returns weights above zero for all.
func available(candidates []Candidate, threshold float64) (weights []float64, panicking bool) {
	weights = make([]float64, len(candidates))
	if panicking = Panic(candidates, threshold); panicking {
		spare := meanWeight(candidates)
		for i := range candidates {
			if weights[i] = candidates[i].weight(); weights[i] == 0 {
				weights[i] = spare
			}
		}
		return weights, true
	}
	for i := range candidates {
		if candidates[i].Healthy {
			weights[i] = candidates[i].weight()
		}
	}
	return weights, false
}

// Panic reports whether the share of healthy candidates is below threshold. Candidates of weight zero count for neither side. If all have
// weight zero, there is panic whenever threshold is above zero.
func Panic(candidates []Candidate, threshold float64) bool {
	weighted, healthy := 0, 0
	for i := range candidates {
		if candidates[i].weight() == 0 {
			continue
		}
		weighted++
		if candidates[i].Healthy {
			healthy++
		}
	}
	if weighted == 0 {
		return threshold > 0 && len(candidates) > 0
	}
	return float64(healthy) < threshold*float64(weighted)
}

// meanWeight returns the mean of the weights above zero, or 1 if there are none. In panic, a candidate of weight zero gets it.
func meanWeight(candidates []Candidate) float64 {
	sum, n := 0.0, 0
	for i := range candidates {
		if w := candidates[i].weight(); w > 0 {
			sum += w
			n++
		}
	}
	if n == 0 {
		return 1
	}
	return sum / float64(n)
}

// count returns how often a value occurs.
func count(values []float64, value float64) (n int) {
	for _, v := range values {
		if v == value {
			n++
		}
	}
	return n
}
