package statistics

import (
	"runtime"
	"sync/atomic"
	"time"
)

// cell has the counts of one endpoint and method. It starts with one shard, and gets one for each core once two cores meet on a bucket
// (as java.util.concurrent.atomic.LongAdder does): most cells never need them.
type cell struct{ shards atomic.Pointer[[]*shard] }

// shard is a part of a cell's counts.
type shard struct {
	counts  [outcomes]atomic.Uint64
	sum     atomic.Int64 // of the sampled latencies, in nanoseconds
	buckets [buckets]atomic.Uint64
}

func newCell() *cell {
	c := new(cell)
	c.shards.Store(&[]*shard{new(shard)})
	return c
}

// record counts a request. A latency below zero is no sample.
func (c *cell) record(o Outcome, latency time.Duration) {
	shards := *c.shards.Load()
	s := shards[0]
	if n := len(shards); n > 1 {
		s = shards[scatter(latency)&(n-1)]
	}
	count := &s.counts[o]
	n := count.Load()
	if !count.CompareAndSwap(n, n+1) {
		count.Add(1)
		c.widen(shards)
	}
	if latency >= 0 && o.sampled() {
		s.sum.Add(int64(latency))
		s.buckets[bucketOf(latency)].Add(1)
	}
}

// scatter returns a number from 0 to maxShards - 1 that differs between latencies which differ by nanoseconds. It is cheaper than a random
// number, and as good: no two requests take the same time.
func scatter(latency time.Duration) int { return int(uint64(latency) * 0x9e3779b97f4a7c15 >> 61) }

// maxShards bounds the memory of a cell, at 2 kB a shard.
const maxShards = 8

// widen replaces one shard by several.
func (c *cell) widen(shards []*shard) {
	if len(shards) > 1 {
		return
	}
	n := 1
	for n < min(runtime.GOMAXPROCS(0), maxShards) {
		n *= 2
	}
	all := append(make([]*shard, 0, n), shards[0])
	for len(all) < n {
		all = append(all, new(shard))
	}
	if old := c.shards.Load(); len(*old) == 1 {
		c.shards.CompareAndSwap(old, &all)
	}
}

// take returns the counts and sets them to zero. A request that is recorded meanwhile may be divided between two takes, but is never lost.
func (c *cell) take(method string) MethodReport {
	var counts [outcomes]uint64
	var all [buckets]uint64
	sum := time.Duration(0)
	for _, s := range *c.shards.Load() {
		for i := range s.counts {
			counts[i] += reset(&s.counts[i])
		}
		for i := range s.buckets {
			all[i] += reset(&s.buckets[i])
		}
		sum += time.Duration(s.sum.Swap(0))
	}
	return MethodReport{
		Method: method, Success: counts[Success], Error: counts[Fault] + counts[Timeout] + counts[Overload],
		Timeout: counts[Timeout], Overload: counts[Overload], Dropped: counts[Dropped], Latency: digestOf(&all, sum),
	}
}

// reset returns a count and sets it to zero. Most counts are zero already.
func reset(count *atomic.Uint64) uint64 {
	if count.Load() == 0 {
		return 0
	}
	return count.Swap(0)
}

// idle reports whether all counts are zero.
func (c *cell) idle() bool {
	for _, s := range *c.shards.Load() {
		for i := range s.counts {
			if s.counts[i].Load() != 0 {
				return false
			}
		}
	}
	return true
}

// restore adds counts that take has returned.
func (c *cell) restore(m *MethodReport) {
	s := (*c.shards.Load())[0]
	s.counts[Success].Add(m.Success)
	s.counts[Fault].Add(m.Error - m.Timeout - m.Overload)
	s.counts[Timeout].Add(m.Timeout)
	s.counts[Overload].Add(m.Overload)
	s.counts[Dropped].Add(m.Dropped)
	s.sum.Add(int64(m.Latency.Sum))
	for i, n := range m.Latency.Counts {
		s.buckets[clamp(m.Latency.Offset+i)].Add(n)
	}
}
