package statistics

import (
	"math"
	"math/bits"
	"slices"
	"time"
)

// A digest has perOctave buckets for each doubling of the latency. The bounds of bucket i are 2^(minExponent+i/perOctave) ns and 2^(1/8) =
// 1.09 times that. The first bucket has all shorter latencies, and the last one all longer ones.
const (
	perOctave   = 8
	minExponent = 10 // 1.02 µs
	octaves     = 28 // up to 275 s
	buckets     = perOctave * octaves
)

// Digest is a histogram of latencies with exponential buckets. All digests have the same buckets, so that merging loses nothing. The zero
// value is empty.
type Digest struct {
	// Offset is the index of the bucket of Counts[0]. Bucket i holds latencies from 2^(10+i/8) ns to 2^(10+(i+1)/8) ns.
	Offset int `json:"offset"`
	// Counts of buckets, without the empty ones before the first and after the last.
	Counts []uint64 `json:"counts"`
	// Sum of the latencies, in nanoseconds.
	Sum time.Duration `json:"sum"`
}

// fractions are the lower bounds of the buckets of an octave, as parts of 2^63 to 2^64.
var fractions = func() (bounds [perOctave]uint64) {
	for i := range bounds {
		bounds[i] = uint64(math.Ldexp(math.Exp2(float64(i)/perOctave), 63))
	}
	return bounds
}()

// bucketOf returns the index of the bucket of a latency.
func bucketOf(latency time.Duration) int {
	if latency < 1<<minExponent {
		return 0
	}
	zeros := bits.LeadingZeros64(uint64(latency))
	mantissa, part := uint64(latency)<<zeros, 0
	for _, step := range [...]int{4, 2, 1} {
		if mantissa >= fractions[part+step] {
			part += step
		}
	}
	return min((63-zeros-minExponent)*perOctave+part, buckets-1)
}

// middle returns the geometric mean of the bounds of a bucket.
func middle(bucket int) time.Duration {
	return time.Duration(math.Exp2(minExponent + (float64(bucket)+0.5)/perOctave))
}

// Count returns the number of latencies.
func (d *Digest) Count() (n uint64) {
	for _, c := range d.Counts {
		n += c
	}
	return n
}

// Mean returns the mean latency, or 0 if there is none.
func (d *Digest) Mean() time.Duration {
	if n := d.Count(); n > 0 {
		return d.Sum / time.Duration(min(n, math.MaxInt64))
	}
	return 0
}

// Quantile returns a quantile, such as 0.99, or 0 if there are no latencies. It is at most 4.5 % from the true one, if that is between 1 µs
// and 275 s: a bucket spans 9 %, and its middle stands for it.
func (d *Digest) Quantile(q float64) time.Duration {
	n := d.Count()
	if n == 0 || math.IsNaN(q) {
		return 0
	}
	rank := uint64(math.Ceil(min(max(q, 0), 1) * float64(n)))
	for i, c := range d.Counts {
		if c > 0 && c >= rank {
			return middle(clamp(d.Offset + i))
		}
		rank -= min(c, rank)
	}
	return middle(clamp(d.Offset + len(d.Counts) - 1)) // rounding of a huge count
}

// Merge adds the latencies of another digest. It does not keep the other's Counts.
func (d *Digest) Merge(other *Digest) {
	var all [buckets]uint64
	d.addTo(&all)
	other.addTo(&all)
	*d = digestOf(&all, d.Sum+other.Sum)
}

// addTo adds the counts to those of all buckets. Indices from outside the process may be wrong, and are clamped.
func (d *Digest) addTo(all *[buckets]uint64) {
	for i, c := range d.Counts {
		all[clamp(d.Offset+i)] += c
	}
}

func clamp(bucket int) int { return min(max(bucket, 0), buckets-1) }

// digestOf returns the digest with these counts.
func digestOf(all *[buckets]uint64, sum time.Duration) Digest {
	first, end := 0, buckets
	for first < end && all[first] == 0 {
		first++
	}
	for end > first && all[end-1] == 0 {
		end--
	}
	if first == end {
		return Digest{}
	}
	return Digest{Offset: first, Counts: slices.Clone(all[first:end]), Sum: sum}
}
