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

// Share is how much of the client's time a store may take in general.
const Share = 1.05

// Pair is an operation on a server, done by the engine's own client and through a kv.Store that measures and traces. It is done in
// the course of requests, as middleware hands them on; one request in a hundred is sampled.
type Pair struct {
	// Name of the row.
	Name string
	// Most is how much of the client's time and of its 99th percentile the store may take. Zero means that Added counts.
	Most float64
	// Added is how much longer than the client the store may take in the median, unless its time is within Share.
	Added time.Duration
	// Far puts a millisecond of network between the server and both.
	Far bool
	// Setup returns the two; what it starts ends with t. The way it is given is that to the server.
	Setup func(t testing.TB, way way) (raw, ours func() error)
	// Block is how many operations of either kind a block holds. The 99th percentile of few operations is their maximum, and shows
	// nothing but the moment at which something else ran: at least 200.
	Block int
}

// Compared is what was measured of a pair. Both ratios are medians over blocks.
type Compared struct {
	// Raw and Ours are the medians of one operation.
	Raw, Ours time.Duration
	// Time is the ratio of the mean times, the inverse of that of the throughputs.
	Time float64
	// P99 is the ratio of the 99th percentiles.
	P99 float64
}

// way returns the address at which a server is reached.
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

// Holds reports whether the store took no more than it may.
func (p Pair) Holds(c Compared) bool {
	if p.Most > 0 {
		return c.Time <= p.Most && c.P99 <= p.Most
	}
	return c.Ours-c.Raw <= p.Added || c.Time <= Share
}

// Limit says what the store may take.
func (p Pair) Limit() string {
	if p.Most > 0 {
		return fmt.Sprintf("%.2f×", p.Most)
	}
	return fmt.Sprintf("%d ns added, or %.2f×", p.Added.Nanoseconds(), Share)
}

// sampleOne is how many requests there are for each that is sampled.
const sampleOne = 100

var telemetryOn = measured(sdktrace.ParentBased(sdktrace.AlwaysSample()))

// requests returns the contexts of requests, one after the other. They can be cancelled, like those of a server.
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

// Compare sets a pair up and compares it once.
func (p Pair) Compare(t testing.TB, blocks int) Compared { return p.Start(t).Compare(t, blocks) }

// Started is a pair on a server that runs. It can be compared more than once.
type Started struct {
	Pair

	raw, ours func() error
}

// Start sets a pair up. What it starts ends with t.
func (p Pair) Start(t testing.TB) *Started {
	raw, ours := p.Setup(t, p.way(t))
	return &Started{Pair: p, raw: raw, ours: ours}
}

// Compare alternates between the two operations, in random order. Whatever else the machine and the server do affects both
// alike. The ratios are taken block by block, so that one bad moment spoils one block only.
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

// percentile returns the nearest-rank percentile of sorted values: of 100 values the 99th percentile is the second largest.
func percentile(sorted []float64, p int) float64 { return sorted[(len(sorted)*p+99)/100-1] }

func middle(all []float64) time.Duration { return time.Duration(median(all)) }

// turn returns keys one after the other.
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
