package main

import (
	"bytes"
	"fmt"
	"os"
	"time"

	"github.com/go-os/go-os/internal/tooling/bench"
)

// blocks is how many blocks of a pair are compared for the table.
const blocks = 40

// failovers is how many times the leader is killed.
const failovers = 20

// pairs writes the cost of a store compared with its engine's own client. If measure is false, the figures are zero.
func pairs(out *bytes.Buffer, measure bool) {
	fmt.Fprintf(out, `
## Key-value beside the engine's client

The client itself and a kv.Store on the same client run the same operation in turns, on one server on loopback. Metrics and traces are on, and
one request in a hundred is sampled. Values have 128 bytes. The ratios of the mean times (the inverse of the throughputs) and of the 99th
percentiles are medians over %d blocks.

On loopback, Redis, NATS and memcached answer within some tens of microseconds. A span and a metric point of the OpenTelemetry SDK take up to a
tenth of that, because their code and data are cold after a round trip. For these engines the limit is therefore an absolute time, and the ratio
with a network delay of one millisecond.

| operation | client | store | added | time | 99th percentile | at most |
|---|---:|---:|---:|---:|---:|---:|
`, blocks)
	for _, p := range bench.Pairs {
		var c bench.Compared
		if measure {
			fmt.Fprintln(os.Stderr, "measuring:", p.Name)
			bench.With(func(h *bench.Host) { c = p.Compare(h, blocks) })
		}
		fmt.Fprintf(out, "| %s | %d ns | %d ns | %d ns | %.3f× | %.3f× | %s |\n",
			p.Name, c.Raw.Nanoseconds(), c.Ours.Nanoseconds(), (c.Ours - c.Raw).Nanoseconds(), c.Time, c.P99, p.Limit())
	}
}

// hot writes the gain of client-side caching. If measure is false, the figures are zero.
func hot(out *bytes.Buffer, rounds int, each time.Duration, measure bool) {
	fmt.Fprintf(out, `
## Client-side caching

A Get of one of 1,000 hot keys from Redis: over the network (loopback), and by rediskv from its client-side cache, which the server invalidates.
With telemetry off the cache must be %d times as fast.

| read | time | times as fast |
|---|---:|---:|
`, bench.LeastHot)
	figures := make([]bench.Figure, len(bench.HotNames()))
	if measure {
		fmt.Fprintln(os.Stderr, "measuring: client-side caching")
		bench.With(func(h *bench.Host) { figures = bench.HotReads(h, rounds, each) })
	}
	for i, name := range bench.HotNames() {
		times := float64(figures[0].Time) / max(float64(figures[i].Time), 1)
		fmt.Fprintf(out, "| %s | %d ns | %.1f× |\n", name, figures[i].Time.Nanoseconds(), times)
	}
}

// fanOut writes how soon many watchers of one process see updates.
func fanOut(out *bytes.Buffer, measure bool) {
	fmt.Fprint(out, `
## Watchers

1,000 watchers of one key in one process (memkv) each see all of 10,000 updates. The delay counts from the beginning of the write.

| updates | delay, median | delay, 99th percentile | memory of a watcher | events a second |
|---|---:|---:|---:|---:|
`)
	for _, f := range bench.FanOuts {
		var s bench.Spread
		if measure {
			fmt.Fprintln(os.Stderr, "measuring: watchers,", f.Name())
			var err error
			if s, err = f.Measure(); err != nil {
				fail(err)
			}
			if s.Seen != f.Watchers*f.Updates {
				fail(fmt.Errorf("%d events were seen", s.Seen))
			}
		}
		fmt.Fprintf(out, "| %s | %d ns | %d ns | %d B | %.0f / s |\n", f.Name(), s.P50.Nanoseconds(), s.P99.Nanoseconds(), s.PerWatcher, s.Rate)
	}
}

// staleness writes how stale an item of a near cache can be.
func staleness(out *bytes.Buffer, measure bool) {
	fmt.Fprint(out, `
## Near cache

One client of an etcd writes, and a near cache on another client, whose watch is connected, still shows the old value for this long after the
write was acknowledged. Once the watch has lost its connection, the cache serves nothing. If the loss goes unnoticed, it serves an item for at
most near.Options.MaxStale.

| near cache on etcd | median | 99th percentile | most |
|---|---:|---:|---:|
`)
	var s bench.Staleness
	if measure {
		fmt.Fprintln(os.Stderr, "measuring: near cache")
		bench.With(func(h *bench.Host) { s = bench.MeasureStaleness(h, 2000) })
	}
	fmt.Fprintf(out, "| out of date for | %d ns | %d ns | %d ns |\n", s.P50.Nanoseconds(), s.P99.Nanoseconds(), s.Max.Nanoseconds())
}

// locks writes the cost of a lock compared with etcd's own, and how long nobody leads after a leader was killed. If measure is false, the
// figures are zero.
func locks(out *bytes.Buffer, measure bool) {
	fmt.Fprintf(out, `
## Locks and elections

An uncontended lock on etcd is taken and released, in turns, by concurrency.Mutex of etcd's client and by sync.Mutex on etcdsync with metrics and
traces on. The times are medians of %d blocks.

| operation | concurrency.Mutex | sync.Mutex | median | at most |
|---|---:|---:|---:|---:|
`, blocks)
	var c bench.Compared
	if measure {
		fmt.Fprintln(os.Stderr, "measuring:", bench.Lock.Name)
		bench.With(func(h *bench.Host) { c = bench.Lock.Compare(h, blocks) })
	}
	fmt.Fprintf(out, "| %s | %d ns | %d ns | %.3f× | %s |\n", bench.Lock.Name, c.Raw.Nanoseconds(), c.Ours.Nanoseconds(), c.Middle(), bench.Lock.Limit())

	fmt.Fprintf(out, `
The process that leads an election on etcd is killed (SIGKILL) %d times, with a TTL of %s. The time is until another process leads. The median
may be at most the TTL plus a second.

| failover | least | median | most |
|---|---:|---:|---:|
`, failovers, bench.FailoverTTL)
	took := make([]time.Duration, failovers)
	if measure {
		fmt.Fprintln(os.Stderr, "measuring: failover")
		bench.With(func(h *bench.Host) { took = bench.Failover(h, failovers) })
	}
	fmt.Fprintf(out, "| etcdsync | %d ns | %d ns | %d ns |\n", took[0].Nanoseconds(), took[len(took)/2].Nanoseconds(), took[len(took)-1].Nanoseconds())
}
