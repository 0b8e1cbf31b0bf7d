package health_test

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/go-os/go-os/control/router/internal/health"
)

// TestAgainstA50 compares random fleets with the text of gRFC A50, section "Ejection algorithm", with two differences of ours: the worst
// outliers are ejected first, and one endpoint may always go but never the last.
func TestAgainstA50(t *testing.T) {
	ejections := 0
	for seed := range uint64(800) {
		r := rand.New(rand.NewPCG(seed, 3))
		c := health.Config{MaxPercent: 1 + r.IntN(100)}
		c.SuccessRate = health.SuccessRate{StdevFactor: r.Float64() * 2.5, Gap: 1e-9, MinHosts: 1 + r.IntN(6), MinRequests: 1 + r.IntN(20)}
		c.FailurePercentage = health.FailurePercentage{Threshold: 1 + r.IntN(100), MinHosts: 1 + r.IntN(6), MinRequests: 1 + r.IntN(20)}
		f := newFleet(t, 1+r.IntN(12), c)
		counts := make([]count, len(f.targets))
		for i := range counts {
			counts[i] = count{good: r.IntN(30), bad: r.IntN(30) * r.IntN(2)}
			f.record(i, counts[i].bad, health.Fault)
			f.record(i, counts[i].good, health.Success)
		}
		f.interval()
		want := a50(c, counts)
		if got := f.ejected(); !slices.Equal(got, want) {
			t.Fatalf("seed %d: ejected %v, want %v\n%+v\n%v", seed, got, want, c, counts)
		}
		ejections += len(want)
	}
	if ejections < 400 {
		t.Errorf("only %d ejections: the fleets are too healthy to compare", ejections)
	}
}

// count is the requests of an endpoint in an interval.
type count struct{ good, bad int }

func (c count) total() float64 { return float64(c.good + c.bad) }

// a50 returns the endpoints that are ejected after an interval.
func a50(c health.Config, counts []count) (ejected []int) {
	allowed := min(max(len(counts)*c.MaxPercent/100, 1), len(counts)-1)
	worstFirst := make([]int, len(counts))
	for i := range worstFirst {
		worstFirst[i] = i
	}
	slices.SortStableFunc(worstFirst, func(a, b int) int {
		return cmp.Compare(float64(counts[b].bad)/max(counts[b].total(), 1), float64(counts[a].bad)/max(counts[a].total(), 1))
	})
	eject := func(minimum, hosts int, outlier func(count) bool) {
		var enough []int
		for _, i := range worstFirst {
			if counts[i].total() >= float64(minimum) {
				enough = append(enough, i)
			}
		}
		for _, i := range enough {
			if len(enough) >= hosts && len(ejected) < allowed && outlier(counts[i]) && !slices.Contains(ejected, i) {
				ejected = append(ejected, i)
			}
		}
	}
	mean, stdev := spreadOf(counts, c.SuccessRate.MinRequests)
	eject(c.SuccessRate.MinRequests, c.SuccessRate.MinHosts, func(n count) bool {
		return float64(n.good)/n.total() < mean-c.SuccessRate.StdevFactor*stdev-1e-9
	})
	eject(c.FailurePercentage.MinRequests, c.FailurePercentage.MinHosts, func(n count) bool {
		return n.bad*100 > c.FailurePercentage.Threshold*(n.good+n.bad)
	})
	slices.Sort(ejected)
	return ejected
}

// spreadOf returns the mean and the standard deviation of the success rates of the endpoints with enough requests.
func spreadOf(counts []count, minimum int) (mean, stdev float64) {
	var sum, squares, n float64
	for _, c := range counts {
		if c.total() >= float64(minimum) {
			rate := float64(c.good) / c.total()
			sum, squares, n = sum+rate, squares+rate*rate, n+1
		}
	}
	mean = sum / n
	return mean, math.Sqrt(max(squares/n-mean*mean, 0))
}
