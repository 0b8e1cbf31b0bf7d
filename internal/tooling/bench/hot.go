package bench

import (
	"context"
	"testing"
	"time"

	"github.com/redis/rueidis"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/rediskv"
	"github.com/go-os/go-os/telemetry"
)

// LeastHot is how many times faster than a read over the network a hot read must be, with telemetry off. Metrics add as much as the read
// itself. Loopback answers in 13 to 23 µs, faster on a busier machine.
const LeastHot = 20

// hotNames are the rows of HotReads. The first is the read over the network.
var hotNames = []string{"client, over the network", "cached Get, telemetry off", "cached Get, metrics", "cached Get, metrics and unsampled traces"}

// HotNames are the rows.
func HotNames() []string { return hotNames }

// HotReads measures reads of 1,000 keys: over the network, and by rediskv with client-side caching.
func HotReads(t testing.TB, rounds int, each time.Duration) []Figure {
	const hot = 1000
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{testenv.Redis(t).Addr(0)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	all := keys()[:hot]
	d := rediskv.New(client, &rediskv.Options{CacheTTL: time.Hour})
	fill(t, func(ctx context.Context, key string, value []byte) error {
		_, err := rediskv.New(client, nil).Put(ctx, putRequest(key, value))
		return err
	})
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	turns := func(read func(string) error) func() (func(), func()) {
		return func() (body, cleanup func()) {
			i := 0
			return func() { i++; must(read(all[i%hot])) }, func() {}
		}
	}
	through := func(p telemetry.Providers) func(string) error {
		s := kv.New(d, &kv.Options{Name: "bench", Telemetry: p})
		return func(key string) error { _, err := s.Get(context.Background(), key); return err }
	}
	return Measure([]Case{
		{hotNames[0], turns(func(key string) error {
			_, err := client.Do(context.Background(), client.B().Get().Key(key).Build()).AsBytes()
			return err
		})},
		{hotNames[1], turns(through(telemetry.Off()))},
		{hotNames[2], turns(through(measured(nil)))},
		{hotNames[3], turns(through(measured(sdktrace.NeverSample())))},
	}, rounds, each)
}
