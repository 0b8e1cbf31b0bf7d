package placement_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/go-os/go-os/control/router/internal/placement"
)

func names(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%s-%d", prefix, i)
	}
	return all
}

// members returns the IDs of a client's subset.
func members(client string, ids []string, size int) (all []string) {
	for _, i := range placement.Subset(client, ids, size) {
		all = append(all, ids[i])
	}
	slices.Sort(all)
	return all
}

// TestSubsetChurn adds and removes one instance at a time. It moves at most one member of a client's subset.
func TestSubsetChurn(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for client := range 50 {
		client, ids := fmt.Sprint("client", client), names("server", 40)
		for range 40 {
			before := members(client, ids, 7)
			if at := random.IntN(len(ids)); random.IntN(2) == 0 && len(ids) > 8 {
				ids = slices.Delete(slices.Clone(ids), at, at+1)
			} else {
				ids = slices.Insert(slices.Clone(ids), at, fmt.Sprint("new", random.Uint64()))
			}
			after := members(client, ids, 7)
			kept := 0
			for _, id := range after {
				if slices.Contains(before, id) {
					kept++
				}
			}
			if len(after) != 7 || kept < 6 {
				t.Fatalf("%s: %v has become %v after one change", client, before, after)
			}
		}
	}
}

// TestSubsetOrder: neither the order of the instances nor that of the calls matters.
func TestSubsetOrder(t *testing.T) {
	ids := names("server", 30)
	want := members("client", ids, 10)
	rand.New(rand.NewPCG(5, 6)).Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	if got := members("client", ids, 10); !slices.Equal(got, want) {
		t.Errorf("%v after shuffling, want %v", got, want)
	}
}

func TestSubsetSizes(t *testing.T) {
	ids := names("server", 5)
	for size, want := range map[int]int{-1: 0, 0: 0, 1: 1, 5: 5, 9: 5} {
		if got := placement.Subset("client", ids, size); len(got) != want || !slices.IsSorted(got) {
			t.Errorf("size %d: %v, want %d in order", size, got, want)
		}
	}
}

// TestSubsetDistribution counts the clients of each server as in gRFC A68, with the numbers of clients, servers and members of its graphs.
// They must be as even as random choice makes them: the counts are binomial, with χ² near its degrees of freedom.
func TestSubsetDistribution(t *testing.T) {
	for _, c := range []struct{ clients, servers, size int }{
		{100, 100, 5}, {100, 100, 25}, {100, 10, 5}, {500, 10, 5}, {2000, 10, 5}, {2000, 100, 25},
	} {
		ids, counts := names("10.0.0.1:80", c.servers), map[string]int{}
		for _, client := range names("client", c.clients) {
			for _, id := range members(client, ids, c.size) {
				counts[id]++
			}
		}
		part := float64(c.size) / float64(c.servers)
		mean, variance := float64(c.clients)*part, float64(c.clients)*part*(1-part)
		square := 0.0
		for _, id := range ids {
			square += math.Pow(float64(counts[id])-mean, 2) / variance
		}
		// A χ² with k degrees of freedom has the standard deviation √(2k).
		if k := float64(c.servers); math.Abs(square-k) > 4*math.Sqrt(2*k) {
			t.Errorf("%d clients, %d servers, %d each: χ² is %.1f, want about %v", c.clients, c.servers, c.size, square, k)
		}
	}
}

// TestPlaceSubset: a subset has healthy members only, and keeps the share of each zone.
func TestPlaceSubset(t *testing.T) {
	candidates := fleet(10, 40, 50)
	candidates[4].Healthy = false
	place := func(client, local string) placement.Table {
		return placement.Place(candidates, &placement.Config{LocalZone: local, Client: client, SubsetSize: 20, PanicThreshold: 0.5})
	}
	for _, client := range names("client", 30) {
		whole := placement.Place(candidates, &placement.Config{LocalZone: "z0", PanicThreshold: 0.5})
		table := place(client, "z0")
		if table.Usable < 20 || table.Usable > 22 || table.Weights[4] != 0 {
			t.Fatalf("%s: %d members, want 20 and at most one more for each further zone", client, table.Usable)
		}
		want := shares(candidates, whole.Weights)
		for zone, share := range shares(candidates, table.Weights) {
			if !near(share, want[zone]) {
				t.Errorf("%s: zone %s has the share %.4f, want %.4f", client, zone, share, want[zone])
			}
		}
		if table := place(client, ""); table.Usable != 20 {
			t.Errorf("%s: %d members without zones, want 20", client, table.Usable)
		}
	}
	if a, b := place("a", ""), place("b", ""); slices.Equal(a.Weights, b.Weights) {
		t.Error("two clients have the same subset")
	}
}
