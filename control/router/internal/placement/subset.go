package placement

import (
	"cmp"
	"math"
	"slices"
)

// Subset returns the positions, in ascending order, of the size instances that a client uses, of those with the given IDs. The order of the
// IDs does not matter.
//
// It is rendezvous hashing (gRFC A68): one instance more or fewer changes at most one member of a client's subset, and many clients spread
// evenly over the instances.
func Subset(client string, ids []string, size int) []int {
	kept := make([]int, len(ids))
	for i := range kept {
		kept[i] = i
	}
	if size >= len(ids) {
		return kept
	}
	seed := hash(setSeed, client)
	scores := make([]uint64, len(ids))
	for i, id := range ids {
		scores[i] = hash(seed, id)
	}
	slices.SortFunc(kept, func(a, b int) int {
		return cmp.Or(cmp.Compare(scores[a], scores[b]), cmp.Compare(ids[a], ids[b]))
	})
	kept = kept[:max(size, 0)]
	slices.Sort(kept)
	return kept
}

// reduce sets the weights outside the client's subset to zero. With byZone, each zone keeps its part of the weights, and its part of the
// subset is as large, rounded up: a subset that is drawn from all zones at once could miss the local zone.
func reduce(candidates []Candidate, weights []float64, client string, size int, byZone bool) {
	groups, all := map[string][]int{}, 0.0
	for i, weight := range weights {
		if weight == 0 {
			continue
		}
		zone := ""
		if byZone {
			zone = candidates[i].Zone
		}
		groups[zone] = append(groups[zone], i)
		all += weight
	}
	for _, members := range groups {
		part := sum(weights, members)
		reduceGroup(candidates, weights, members, client, int(math.Ceil(float64(size)*part/all-epsilon)))
		if byZone {
			scale(weights, members, part/sum(weights, members))
		}
	}
}

// reduceGroup sets the weights of the members outside the client's subset to zero.
func reduceGroup(candidates []Candidate, weights []float64, members []int, client string, size int) {
	ids := make([]string, len(members))
	for at, i := range members {
		ids[at] = candidates[i].ID
	}
	kept := Subset(client, ids, max(size, 1))
	for at, i := range members {
		if _, found := slices.BinarySearch(kept, at); !found {
			weights[i] = 0
		}
	}
}

func sum(weights []float64, members []int) (all float64) {
	for _, i := range members {
		all += weights[i]
	}
	return all
}

func scale(weights []float64, members []int, factor float64) {
	for _, i := range members {
		weights[i] *= factor
	}
}
