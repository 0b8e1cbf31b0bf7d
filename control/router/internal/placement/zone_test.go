package placement_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/go-os/go-os/control/router/internal/placement"
	"github.com/go-os/go-os/internal/fault"
)

// TestZones covers every reason, and how much spills.
func TestZones(t *testing.T) {
	sick := func(candidates []placement.Candidate, indices ...int) []placement.Candidate {
		for _, i := range indices {
			candidates[i].Healthy = false
		}
		return candidates
	}
	for name, c := range map[string]struct {
		candidates []placement.Candidate
		local      string
		zones      placement.Zones
		reason     placement.ZoneReason
		spilled    float64
	}{
		"equal zones":          {fleet(4, 4, 4), "z1", placement.Zones{}, placement.ZonesLocal, 0},
		"large local zone":     {fleet(8, 2, 2), "z0", placement.Zones{}, placement.ZonesLocal, 0},
		"small local zone":     {fleet(2, 5, 5), "z0", placement.Zones{}, placement.ZonesSpill, 0.5},
		"a quarter is sick":    {sick(fleet(4, 4, 4), 0), "z0", placement.Zones{}, placement.ZonesLocal, 0},
		"half is sick":         {sick(fleet(4, 4, 4), 0, 1), "z0", placement.Zones{}, placement.ZonesSpill, 1 - 3*0.7/2.7},
		"all of it is sick":    {sick(fleet(4, 4, 4), 0, 1, 2, 3), "z0", placement.Zones{}, placement.ZonesSpill, 1},
		"another zone is sick": {sick(fleet(4, 4, 4), 0, 1, 2, 3), "z1", placement.Zones{}, placement.ZonesLocal, 0},
		"too few":              {fleet(2, 2, 1), "z0", placement.Zones{}, placement.ZonesFew, 0},
		"few are enough":       {fleet(1, 1), "z0", placement.Zones{MinCandidates: 2}, placement.ZonesLocal, 0},
		"one zone":             {fleet(7), "z0", placement.Zones{}, placement.ZonesOne, 0},
		"a zone without any":   {fleet(4, 4), "z7", placement.Zones{}, placement.ZonesAbsent, 0},
		"unknown local zone":   {fleet(4, 4), "", placement.Zones{}, placement.ZonesAbsent, 0},
		"off":                  {fleet(4, 4), "z0", placement.Zones{Off: true}, placement.ZonesOff, 0},
		"invalid":              {fleet(4, 4), "z0", placement.Zones{Overprovisioning: 0.5}, placement.ZonesOff, 0},
		"nobody is healthy":    {sick(fleet(3, 3), 0, 1, 2, 3, 4, 5), "z0", placement.Zones{}, placement.ZonesNone, 0},
		"most callers are here": {
			fleet(4, 4), "z0", placement.Zones{Callers: map[string]float64{"z0": 90, "z1": 10}}, placement.ZonesSpill, 1 - 0.5/0.9,
		},
		"callers of zones without instances do not count": {
			fleet(4, 4), "z0", placement.Zones{Callers: map[string]float64{"z0": 1, "z1": 1, "z2": 7}}, placement.ZonesLocal, 0,
		},
	} {
		table := placement.Place(c.candidates, &placement.Config{LocalZone: c.local, Zones: c.zones})
		if z := table.Zoning; z.Reason != c.reason || !near(z.Spilled, c.spilled) {
			t.Errorf("%s: %s with %.4f spilled, want %s with %.4f", name, z.Reason, z.Spilled, c.reason, c.spilled)
		}
		if actual := shares(c.candidates, table.Weights); table.Zoning.Shares != nil && !near(actual[c.local], 1-c.spilled) {
			t.Errorf("%s: the local zone has %.4f of the weights, want %.4f", name, actual[c.local], 1-c.spilled)
		}
	}
}

// TestZonesLoad lets the callers of all zones route. Every zone must get requests in proportion to its capacity, and within a zone every
// healthy instance in proportion to its weight.
func TestZonesLoad(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var perZone []int
		for range 2 + random.IntN(4) {
			perZone = append(perZone, 3+random.IntN(20))
		}
		candidates := fleet(perZone...)
		capacity, sum := map[string]float64{}, 0.0
		for i := range candidates {
			candidates[i].Weight = 0.1 + random.Float64()
		}
		for zone := range perZone {
			name, whole, healthy := fmt.Sprintf("z%d", zone), 0.0, 0.0
			sick := random.Float64()
			for i := range candidates {
				if c := &candidates[i]; c.Zone == name {
					whole += c.Weight
					if c.Healthy = random.Float64() > sick; c.Healthy {
						healthy += c.Weight
					}
				}
			}
			capacity[name] = min(whole, 1.4*healthy)
			sum += capacity[name]
		}
		if sum == 0 {
			continue
		}
		load := map[string]float64{}
		for zone := range perZone {
			table := placement.Place(candidates, &placement.Config{LocalZone: fmt.Sprintf("z%d", zone)})
			for name, share := range shares(candidates, table.Weights) {
				load[name] += share / float64(len(perZone))
			}
			factors := map[string]float64{}
			for i, w := range table.Weights {
				c := &candidates[i]
				if w == 0 {
					continue
				}
				if f, ok := factors[c.Zone]; ok && !near(f, w/c.Weight) {
					t.Fatalf("%s: %v times its weight, others in the zone %v", c.ID, w/c.Weight, f)
				}
				factors[c.Zone] = w / c.Weight
			}
		}
		for name := range capacity {
			if !near(load[name], capacity[name]/sum) {
				t.Fatalf("zones %v: %s has %.4f of the load, want %.4f: its part of the capacity", perZone, name, load[name], capacity[name]/sum)
			}
		}
	}
}

func TestZonesValidate(t *testing.T) {
	if err := (placement.Zones{}).Validate(); err != nil {
		t.Error(err)
	}
	for want, z := range map[string]placement.Zones{
		"invalid: zones.min_candidates is -1: give a positive value, or 0 for the default, 6":      {MinCandidates: -1},
		"invalid: zones.overprovisioning is NaN: give a positive value, or 0 for the default, 1.4": {Overprovisioning: math.NaN()},
		"invalid: zones.overprovisioning is 0.5: use 1 or more":                                    {Overprovisioning: 0.5},
		"invalid: zones.callers has -1 callers in zone \"a\": use 0 or more":                       {Callers: map[string]float64{"a": -1}},
		"invalid: zones.overprovisioning is +Inf: use 1 or more":                                   {Overprovisioning: math.Inf(1)},
		"invalid: zones.callers has NaN callers in zone \"b\": use 0 or more":                      {Callers: map[string]float64{"b": math.NaN()}},
	} {
		if err := z.Validate(); !errors.Is(err, fault.Invalid) || err.Error() != want {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
