package placement

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/fault"
)

// The defaults of Zones. They are those of Envoy's zone-aware routing and of its overprovisioning factor.
const (
	DefaultMinCandidates    = 6
	DefaultOverprovisioning = 1.4
)

// Zones are the parameters of zone-aware routing: requests stay in the caller's zone as far as its capacity allows.
//
// The capacity of a zone is its weight, times the part of it that is healthy, times Overprovisioning, and at most its weight. A zone keeps
// its whole capacity until less than 1/Overprovisioning (71 %) of it is healthy. A zone without a healthy instance has none.
//
// A zone whose part of the capacity is at least its part of the callers keeps all its requests. Another zone keeps what it can serve, and
// spills the rest to the zones with spare capacity, in proportion to that. If all callers do so, every zone gets requests in proportion to
// its capacity (Envoy, "Zone aware routing").
type Zones struct {
	// Off turns zone-aware routing off.
	Off bool
	// MinCandidates is how many candidates of positive weight it takes. With fewer, small numbers make zones too unequal. Zero means
	// DefaultMinCandidates.
	MinCandidates int
	// Overprovisioning is how many times its normal load an instance can serve. Zero means DefaultOverprovisioning.
	Overprovisioning float64
	// Callers are the numbers of callers by zone. Nil means that they are unknown: every zone of the candidates then counts as having the
	// same number.
	Callers map[string]float64
}

// Validate returns fault.Invalid for a value without meaning.
func (z Zones) Validate() error {
	_, err := z.withDefaults()
	return err
}

func (z Zones) withDefaults() (Zones, error) {
	err := cmp.Or(
		defaults.Fill("zones.min_candidates", &z.MinCandidates, DefaultMinCandidates),
		defaults.Fill("zones.overprovisioning", &z.Overprovisioning, DefaultOverprovisioning),
	)
	if err == nil && !(z.Overprovisioning >= 1 && z.Overprovisioning <= maxWeight) {
		err = fmt.Errorf("%w: zones.overprovisioning is %v: use 1 or more", fault.Invalid, z.Overprovisioning)
	}
	for _, zone := range slices.Sorted(maps.Keys(z.Callers)) {
		if n := z.Callers[zone]; err == nil && !(n >= 0 && n <= maxWeight) {
			err = fmt.Errorf("%w: zones.callers has %v callers in zone %q: use 0 or more", fault.Invalid, n, zone)
		}
	}
	return z, err
}

// ZoneReason is why requests are divided between zones as they are.
type ZoneReason string

// The reasons. Only with ZonesLocal and ZonesSpill do zones matter.
const (
	ZonesOff    ZoneReason = "off"       // turned off, or invalid parameters
	ZonesPanic  ZoneReason = "panic"     // all candidates are used
	ZonesAbsent ZoneReason = "no_local"  // the caller's zone is unknown, or has no candidates
	ZonesOne    ZoneReason = "one_zone"  // all candidates are in the caller's zone
	ZonesFew    ZoneReason = "too_few"   // fewer candidates than Zones.MinCandidates
	ZonesNone   ZoneReason = "unhealthy" // no zone has capacity
	ZonesLocal  ZoneReason = "local"     // all requests stay in the caller's zone
	ZonesSpill  ZoneReason = "spill"     // the caller's zone lacks capacity
)

// Zoning is how the requests of a caller are divided between zones.
type Zoning struct {
	// Reason for the division.
	Reason ZoneReason
	// Shares of the requests by zone, of sum 1. Nil if zones do not matter.
	Shares map[string]float64
	// Spilled is the share of requests that leaves the caller's zone for lack of capacity there. It is 0 if zones do not matter.
	Spilled float64
}

func (z *Zoning) active() bool { return z.Shares != nil }

// divide returns how requests from the local zone are divided. weights are those of the healthy candidates, and zero for the others.
func (z Zones) divide(candidates []Candidate, weights []float64, local string) Zoning {
	z, err := z.withDefaults()
	if z.Off || err != nil {
		return Zoning{Reason: ZonesOff}
	}
	capacity, weighted := z.capacity(candidates, weights)
	_, present := capacity[local]
	switch {
	case local == "" || !present:
		return Zoning{Reason: ZonesAbsent}
	case len(capacity) == 1:
		return Zoning{Reason: ZonesOne}
	case weighted < z.MinCandidates:
		return Zoning{Reason: ZonesFew}
	}
	normalize(capacity)
	if capacity[local] == 0 && total(capacity) == 0 {
		return Zoning{Reason: ZonesNone}
	}
	shares := route(capacity, z.callers(capacity), local)
	zoning := Zoning{Reason: ZonesLocal, Shares: shares, Spilled: 1 - shares[local]}
	if zoning.Spilled > 0 {
		zoning.Reason = ZonesSpill
	}
	return zoning
}

// capacity returns the capacity of each zone, and the number of candidates of positive weight.
func (z Zones) capacity(candidates []Candidate, weights []float64) (capacity map[string]float64, weighted int) {
	whole := map[string]float64{}
	capacity = map[string]float64{}
	for i := range candidates {
		weight := candidates[i].weight()
		if weight == 0 {
			continue
		}
		weighted++
		whole[candidates[i].Zone] += weight
		capacity[candidates[i].Zone] += weights[i]
	}
	for zone, healthy := range capacity {
		capacity[zone] = min(healthy*z.Overprovisioning, whole[zone])
	}
	return capacity, weighted
}

// callers returns the part of the callers in each zone of the candidates, and in no other.
func (z Zones) callers(capacity map[string]float64) map[string]float64 {
	callers := map[string]float64{}
	for zone := range capacity {
		callers[zone] = 1
		if z.Callers != nil {
			callers[zone] = z.Callers[zone]
		}
	}
	normalize(callers)
	return callers
}

// route returns the shares of the zones in the requests of the local one.
func route(capacity, callers map[string]float64, local string) map[string]float64 {
	shares := map[string]float64{local: 1}
	if capacity[local] >= callers[local]-epsilon {
		return shares
	}
	shares[local] = capacity[local] / callers[local]
	spare := map[string]float64{}
	for zone := range capacity {
		if s := capacity[zone] - callers[zone]; s > epsilon {
			spare[zone] = s
		}
	}
	normalize(spare)
	for zone, s := range spare {
		shares[zone] += (1 - shares[local]) * s
	}
	return shares
}

// epsilon is below every difference that matters between two parts of 1, and above the errors of their rounding.
const epsilon = 1e-9

// normalize scales values to the sum 1, unless their sum is 0.
func normalize(values map[string]float64) {
	if sum := total(values); sum > 0 {
		for key := range values {
			values[key] /= sum
		}
	}
}

// total adds values in the order of their keys, so that equal maps have equal sums.
func total(values map[string]float64) (sum float64) {
	for _, key := range slices.Sorted(maps.Keys(values)) {
		sum += values[key]
	}
	return sum
}

// apply scales the weights of each zone to its share of the sum of all.
func (z *Zoning) apply(candidates []Candidate, weights []float64) {
	if !z.active() {
		return
	}
	byZone := map[string]float64{}
	for i, weight := range weights {
		byZone[candidates[i].Zone] += weight
	}
	all := total(byZone)
	for i := range weights {
		if zone := candidates[i].Zone; weights[i] > 0 {
			weights[i] *= z.Shares[zone] * all / byZone[zone]
		}
	}
}
