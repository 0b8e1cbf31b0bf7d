package statistics

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// digest returns the digest of these latencies.
func digest(latencies ...time.Duration) Digest {
	c := newCell()
	for _, l := range latencies {
		c.record(Success, l)
	}
	return c.take("").Latency
}

// TestBuckets compares the bounds of all buckets with the formula of the documentation.
func TestBuckets(t *testing.T) {
	for i := range buckets {
		low := time.Duration(math.Ceil(math.Exp2(minExponent + float64(i)/perOctave)))
		if i > 0 && (bucketOf(low) != i || bucketOf(low-1) != i-1) {
			t.Errorf("%d ns is in bucket %d, and 1 ns less in %d: want %d and one less", low, bucketOf(low), bucketOf(low-1), i)
		}
		if m := middle(i); bucketOf(m) != i {
			t.Errorf("the middle of bucket %d, %v, is in bucket %d", i, m, bucketOf(m))
		}
	}
	for latency, want := range map[time.Duration]int{0: 0, 1: 0, -1: 0, 1023: 0, 1024: 0, math.MaxInt64: buckets - 1, 275 * time.Second: buckets - 1} {
		if got := bucketOf(latency); got != want {
			t.Errorf("%d ns is in bucket %d, want %d", latency, got, want)
		}
	}
}

// TestQuantile compares quantiles with the exact ones, for latencies of several distributions.
func TestQuantile(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for name, draw := range map[string]func() float64{
		"exponential": func() float64 { return 5e6 * random.ExpFloat64() },
		"log-normal":  func() float64 { return 2e6 * math.Exp(2*random.NormFloat64()) },
		"two modes":   func() float64 { return []float64{1e6, 400e6}[random.IntN(50)/49] * (1 + random.Float64()) },
		"constant":    func() float64 { return 3e6 },
	} {
		all := make([]time.Duration, 20000)
		for i := range all {
			all[i] = min(max(time.Duration(draw()), 1100), 270*time.Second)
		}
		d := digest(all...)
		slices.Sort(all)
		for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.99, 0.999, 1} {
			exact := all[max(int(math.Ceil(q*float64(len(all))))-1, 0)]
			if ratio := float64(d.Quantile(q)) / float64(exact); ratio < 1/1.045 || ratio > 1.045 {
				t.Errorf("%s: quantile %v is %v, exactly %v: off by more than 4.5 %%", name, q, d.Quantile(q), exact)
			}
		}
		if d.Count() != uint64(len(all)) {
			t.Errorf("%s: %d latencies, want %d", name, d.Count(), len(all))
		}
	}
}

func TestQuantileEdges(t *testing.T) {
	var empty Digest
	one, three := digest(time.Millisecond), digest(time.Millisecond, time.Second, time.Second)
	for name, c := range map[string]struct{ got, want time.Duration }{
		"empty":         {empty.Quantile(0.5), 0},
		"not a number":  {one.Quantile(math.NaN()), 0},
		"below zero":    {one.Quantile(-1), one.Quantile(0.5)},
		"above one":     {one.Quantile(7), one.Quantile(0.5)},
		"between two":   {three.Quantile(0.5), middle(bucketOf(time.Second))},
		"the first":     {three.Quantile(0.33), middle(bucketOf(time.Millisecond))},
		"mean of none":  {empty.Mean(), 0},
		"mean of one":   {one.Mean(), time.Millisecond},
		"short":         {func() time.Duration { d := digest(1); return d.Quantile(1) }(), middle(0)},
		"long":          {func() time.Duration { d := digest(time.Hour); return d.Quantile(1) }(), middle(buckets - 1)},
		"hostile count": {(&Digest{Counts: []uint64{math.MaxUint64}}).Quantile(1), middle(0)},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
}

// TestMerge: a merged digest is that of all latencies.
func TestMerge(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var parts [3][]time.Duration
	for i := range 3000 {
		parts[i%3] = append(parts[i%3], time.Duration(random.ExpFloat64()*math.Pow(100, float64(i%3))*1e4))
	}
	merged := Digest{}
	for _, part := range parts {
		d := digest(part...)
		merged.Merge(&d)
	}
	want := digest(slices.Concat(parts[:]...)...)
	if merged.Offset != want.Offset || merged.Sum != want.Sum || !slices.Equal(merged.Counts, want.Counts) {
		t.Errorf("merged %+v, want %+v", merged, want)
	}
	none := Digest{}
	none.Merge(&Digest{})
	if none.Count() != 0 || none.Counts != nil {
		t.Errorf("two empty digests make %+v", none)
	}
}

// TestMergeHostile merges digests with impossible indices, as a broken peer could send. Nothing is lost, and nothing panics.
func TestMergeHostile(t *testing.T) {
	d := digest(time.Millisecond)
	for _, other := range []Digest{
		{Offset: -5, Counts: []uint64{1, 2, 3}}, {Offset: buckets, Counts: []uint64{4}}, {Offset: math.MaxInt - 1, Counts: []uint64{1}},
		{Offset: math.MinInt, Counts: make([]uint64, 2*buckets)}, {Offset: 3},
	} {
		want := d.Count() + other.Count()
		other.Quantile(0.5)
		if d.Merge(&other); d.Count() != want {
			t.Errorf("after %+v: %d latencies, want %d", other, d.Count(), want)
		}
	}
}

func BenchmarkBucketOf(b *testing.B) {
	latency := time.Duration(1)
	for b.Loop() {
		bucketOf(latency)
		latency = (latency*7 + 13) & (1<<34 - 1)
	}
}
