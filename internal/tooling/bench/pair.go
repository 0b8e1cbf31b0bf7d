package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/go-os/go-os/internal/tooling/testenv"
)

// Share is the limit of a store's time, as a multiple of the client's time, in general.
const Share = 1.05

// Pair is an operation on a server, made by the engine's own client and through a kv.Store with metrics and traces. It is made in the
// context of requests, as middleware passes them on. One request in a hundred is sampled.
type Pair struct {
	// Name of the row.
	Name string
	// Most limits the time and the 99th percentile of the store, as multiples of the client's. Zero means that Added counts.
	Most float64
	// Added limits how much longer than the client the store may take in the median, unless its time is within Share.
	Added time.Duration
	// Far adds a millisecond of network between the server and both.
	Far bool
	// Setup returns the two operations; what it starts ends with t. way is the way to the server.
	Setup func(t testing.TB, way way) (raw, ours func() error)
	// Block is how many operations of either kind a block has, at least 200. The 99th percentile of fewer operations is their maximum, and
	// shows only the moment at which something else ran.
	Block int
}

// Compared is the measurement of a pair. Both ratios are medians over blocks.
type Compared struct {
	// Raw and Ours are the medians of one operation.
	Raw, Ours time.Duration
	// Time is the ratio of the mean times, which is the inverse ratio of the throughputs.
	Time float64
	// P99 is the ratio of the 99th percentiles.
	P99 float64
}

// way returns the address to use for a server.
type way func(addr string) string

func (p Pair) way(t testing.TB) way {
	if !p.Far {
		return func(addr string) string { return addr }
	}
	return func(addr string) string {
		network := testenv.Proxy(t, addr)
		network.Slow(time.Millisecond, 0)
		return network.Endpoint()
	}
}

// Holds reports whether the store is within its limit.
func (p Pair) Holds(c Compared) bool {
	if p.Most > 0 {
		return c.Time <= p.Most && c.P99 <= p.Most
	}
	return c.Ours-c.Raw <= p.Added || c.Time <= Share
}

// Limit returns the limit of the store as text.
func (p Pair) Limit() string {
	if p.Most > 0 {
		return fmt.Sprintf("%.2f×", p.Most)
	}
	return fmt.Sprintf("%d ns added, or %.2f×", p.Added.Nanoseconds(), Share)
}

// sampleOne is the number of requests for each sampled one.
const sampleOne = 100

var telemetryOn = measured(sdktrace.ParentBased(sdktrace.AlwaysSample()))

// requests returns the contexts of requests, one after another. They can be cancelled, like those of a server.
func requests(t testing.TB) func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	var parents [2]context.Context
	for flags := range parents {
		parents[flags] = trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, TraceFlags: trace.TraceFlags(flags), Remote: true,
		}))
	}
	n := 0
	return func() context.Context {
		n++
		if n%sampleOne == 0 {
			return parents[1]
		}
		return parents[0]
	}
}

// Compare sets the pair up and compares it once.
func (p Pair) Compare(t testing.TB, blocks int) Compared { return p.Start(t).Compare(t, blocks) }

// Started is a pair on a running server. It can be compared more than once.
type Started struct {
	Pair

	raw, ours func() error
}

// Start sets up the pair. Everything that it starts ends with t.
func (p Pair) Start(t testing.TB) *Started {
	raw, ours := p.Setup(t, p.way(t))
	return &Started{Pair: p, raw: raw, ours: ours}
}

// Compare alternates between the two operations, in random order. Other work of the machine and the server affects both alike. The ratios
// are taken for each block, so that one bad moment spoils only one block.
func (p *Started) Compare(t testing.TB, blocks int) Compared {
	times := [2][]float64{make([]float64, p.Block), make([]float64, p.Block)}
	var all [2][]float64
	var time, p99 []float64
	for block := range blocks + 1 {
		for i := range p.Block {
			first := rand.IntN(2)
			for _, which := range []int{first, 1 - first} {
				times[which][i] = clock(t, [2]func() error{p.raw, p.ours}[which])
			}
		}
		if block == 0 {
			continue // connections, caches and the allocator warm up
		}
		for which := range times {
			all[which] = append(all[which], times[which]...)
			slices.Sort(times[which])
		}
		time = append(time, sum(times[1])/sum(times[0]))
		p99 = append(p99, percentile(times[1], 99)/percentile(times[0], 99))
	}
	return Compared{Raw: middle(all[0]), Ours: middle(all[1]), Time: median(time), P99: median(p99)}
}

// clock returns how long an operation took, in nanoseconds.
func clock(t testing.TB, operation func() error) float64 {
	began := time.Now()
	err := operation()
	took := time.Since(began)
	if err != nil {
		t.Fatal(err)
	}
	return float64(took)
}

func sum(all []float64) (s float64) {
	for _, v := range all {
		s += v
	}
	return s
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// percentile returns the nearest-rank percentile of sorted values: the 99th percentile of 100 values is the second largest.
func percentile(sorted []float64, p int) float64 { return sorted[(len(sorted)*p+99)/100-1] }

func middle(all []float64) time.Duration { return time.Duration(median(all)) }

// turn returns keys in turn.
func turn() func() string {
	all, i := keys(), 0
	return func() string {
		i++
		return all[i%kvItems]
	}
}

// fill writes every key once.
func fill(t testing.TB, put func(context.Context, string, []byte) error) {
	t.Helper()
	for _, key := range keys() {
		if err := put(context.Background(), key, make([]byte, kvSize)); err != nil {
			t.Fatal(fmt.Errorf("filling the store: %w", err))
		}
	}
}
