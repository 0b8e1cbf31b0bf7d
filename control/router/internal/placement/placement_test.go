package placement_test

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/go-os/go-os/control/router/internal/placement"
)

// fleet returns healthy candidates of weight 1: perZone[i] of them in zone "z<i>".
func fleet(perZone ...int) (all []placement.Candidate) {
	for zone, n := range perZone {
		for i := range n {
			all = append(all, placement.Candidate{
				ID: fmt.Sprintf("z%d-%d", zone, i), Zone: fmt.Sprintf("z%d", zone), Weight: 1, Healthy: true,
			})
		}
	}
	return all
}

// shares returns the part of the weights in each zone.
func shares(candidates []placement.Candidate, weights []float64) map[string]float64 {
	byZone, sum := map[string]float64{}, 0.0
	for i, w := range weights {
		byZone[candidates[i].Zone] += w
		sum += w
	}
	for zone := range byZone {
		byZone[zone] /= sum
	}
	return byZone
}

func near(a, b float64) bool { return math.Abs(a-b) < 1e-6 }

// TestOrder shows that panic is computed before zones: the healthy instances of the local zone do not get the requests of all.
func TestOrder(t *testing.T) {
	candidates := fleet(3, 3, 3)
	for i := 3; i < 9; i++ {
		candidates[i].Healthy = false
	}
	table := placement.Place(candidates, &placement.Config{LocalZone: "z0", PanicThreshold: 0.5})
	if !table.Panic || table.Usable != 9 || table.Zoning.Reason != placement.ZonesPanic {
		t.Errorf("panic %v, usable %d, zones %q: want panic with all 9", table.Panic, table.Usable, table.Zoning.Reason)
	}
	table = placement.Place(candidates, &placement.Config{LocalZone: "z0"})
	if table.Panic || table.Usable != 3 {
		t.Errorf("with panic off: panic %v, usable %d: want the 3 healthy ones", table.Panic, table.Usable)
	}
}

// TestPanic covers the threshold, and weights of zero on both sides of it.
func TestPanic(t *testing.T) {
	for name, c := range map[string]struct {
		healthy   []bool
		weights   []float64
		threshold float64
		panics    bool
		want      []float64
	}{
		"at the threshold":          {[]bool{true, false}, []float64{1, 1}, 0.5, false, []float64{1, 0}},
		"below it":                  {[]bool{true, false, false}, []float64{1, 1, 1}, 0.5, true, []float64{1, 1, 1}},
		"off":                       {[]bool{true, false, false}, []float64{1, 1, 1}, 0, false, []float64{1, 0, 0}},
		"all ejected":               {[]bool{false, false}, []float64{3, 1}, 0.5, true, []float64{3, 1}},
		"all ejected, off":          {[]bool{false, false}, []float64{3, 1}, 0, false, []float64{0, 0}},
		"weight zero is none":       {[]bool{true, true}, []float64{2, 0}, 0.5, false, []float64{2, 0}},
		"zero counts for no side":   {[]bool{true, false, false}, []float64{1, 0, 0}, 0.5, false, []float64{1, 0, 0}},
		"weight zero in panic":      {[]bool{false, true}, []float64{4, 0}, 0.5, true, []float64{4, 4}},
		"all of weight zero":        {[]bool{true, true}, []float64{0, 0}, 0.5, true, []float64{1, 1}},
		"all of weight zero, off":   {[]bool{true, true}, []float64{0, 0}, 0, false, []float64{0, 0}},
		"impossible weights":        {[]bool{true, true, true, true}, []float64{math.NaN(), math.Inf(1), -5, 2}, 0.5, false, []float64{0, 0, 0, 2}},
		"impossible weights, panic": {[]bool{true, true}, []float64{math.NaN(), -1}, 0.5, true, []float64{1, 1}},
		"nobody":                    {nil, nil, 0.5, false, []float64{}},
	} {
		candidates := make([]placement.Candidate, len(c.weights))
		for i := range candidates {
			candidates[i] = placement.Candidate{ID: fmt.Sprint(i), Weight: c.weights[i], Healthy: c.healthy[i]}
		}
		table := placement.Place(candidates, &placement.Config{PanicThreshold: c.threshold})
		if table.Panic != c.panics || !slices.Equal(table.Weights, c.want) {
			t.Errorf("%s: panic %v with weights %v, want %v with %v", name, table.Panic, table.Weights, c.panics, c.want)
		}
		usable := 0
		for _, w := range c.want {
			if w > 0 {
				usable++
			}
		}
		if table.Usable != usable {
			t.Errorf("%s: %d usable, want %d", name, table.Usable, usable)
		}
	}
}

// TestPlaceChangesNothing guards against the fault of the ancestor, whose filter changed the shared nodes of a service.
func TestPlaceChangesNothing(t *testing.T) {
	candidates := fleet(4, 4)
	candidates[1].Healthy, candidates[2].Weight = false, 0
	candidates[3].Labels = map[string]string{"tenant": "acme"}
	before := slices.Clone(candidates)
	labels := map[string]string{"tenant": "ACME", "zone": "z9"}
	given := maps.Clone(labels)
	s := placement.MatchAll.Selector(labels)
	chosen, _ := placement.Choose(candidates, s, placement.FallbackAny, nil)
	placement.Place(placement.At(candidates, chosen), &placement.Config{LocalZone: "z0", PanicThreshold: 0.5, Client: "c", SubsetSize: 2})
	placement.NewIndex(candidates).AppendKey(nil, labels)
	for i := range candidates {
		a, b := candidates[i], before[i]
		if a.ID != b.ID || a.Zone != b.Zone || a.Weight != b.Weight || a.Healthy != b.Healthy || !maps.Equal(a.Labels, b.Labels) {
			t.Errorf("candidate %d has become %+v, was %+v", i, a, b)
		}
	}
	if !maps.Equal(labels, given) {
		t.Errorf("the labels have become %v, were %v", labels, given)
	}
}

// FuzzPlace looks for weights that are not finite, and for candidates that must not get requests.
func FuzzPlace(f *testing.F) {
	f.Add([]byte{1, 0, 3, 7, 255, 4, 8, 100, 31}, 0.5, 2, 1.4)
	f.Add([]byte{}, 0.0, 0, 0.0)
	f.Fuzz(func(t *testing.T, data []byte, threshold float64, size int, factor float64) {
		scales := []float64{0, 1, 1e-300, 1e18, math.MaxFloat64, math.NaN(), -1, 100}
		var candidates []placement.Candidate
		for i, b := range data {
			candidates = append(candidates, placement.Candidate{
				ID: fmt.Sprint(i), Zone: fmt.Sprint(b >> 6), Healthy: b&1 == 0, Weight: scales[b>>3&7],
			})
		}
		cfg := &placement.Config{LocalZone: "1", PanicThreshold: threshold, Client: "c", SubsetSize: size}
		cfg.Zones.Overprovisioning = factor
		table := placement.Place(candidates, cfg)
		usable := 0
		for i, w := range table.Weights {
			if w < 0 || math.IsNaN(w) || math.IsInf(w, 0) {
				t.Fatalf("weight %d is %v", i, w)
			}
			if w > 0 {
				usable++
			}
			if w > 0 && !table.Panic && !candidates[i].Healthy {
				t.Fatalf("candidate %d is ejected, and has weight %v", i, w)
			}
		}
		if usable != table.Usable {
			t.Fatalf("usable is %d, want %d", table.Usable, usable)
		}
		if usable == 0 && !table.Panic && placement.Panic(candidates, threshold) {
			t.Fatal("panic without effect")
		}
	})
}
