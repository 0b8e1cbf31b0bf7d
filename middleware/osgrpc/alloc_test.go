//go:build !race

package osgrpc_test

import (
	"context"
	"testing"

	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/middleware/osgrpc"
)

// TestAllocations limits the allocations of a unary call beyond one without this package, both sides included. The race
// detector allocates by itself, so the test does not run under it. Each limit leaves one allocation for gRPC's own buffers,
// which vary.
func TestAllocations(t *testing.T) {
	limits := map[string]int64{
		"server/sampled":         13,
		"server/unsampled":       10,
		"server/off":             2,
		"server/off-unprotected": 0,
		"client/sampled":         18,
		"client/unsampled":       13,
		"client/off":             0,
	}
	cost := map[string]int64{}
	for _, w := range workloads() {
		if _, ok := limits[w.name]; ok || w.name == "bare" {
			cost[w.name] = allocations(t, w)
		}
	}
	for name, limit := range limits {
		added := cost[name] - cost["bare"]
		t.Logf("%s adds %d allocations", name, added)
		if added > limit {
			t.Errorf("%s adds %d allocations to a call of %d, want at most %d", name, added, cost["bare"], limit)
		}
	}
}

func allocations(t *testing.T, w workload) int64 {
	pair := connect(t, &service{}, w.with(t))
	ctx := metadata.AppendToOutgoingContext(context.Background(), "traceparent", traceparent)
	return int64(testing.AllocsPerRun(2000, func() {
		if _, err := pair.EmptyCall(ctx, &testpb.Empty{}); err != nil {
			t.Fatal(err)
		}
	}))
}

// Some programs dial for each request, which must not leak.
func TestOptionsForEachRequest(t *testing.T) {
	p := newRecorder().Providers
	use := func(n int) {
		for range n {
			options := &osgrpc.Options{Telemetry: p}
			_, _ = osgrpc.DialOptions(options), osgrpc.ServerOptions(options)
		}
	}
	use(100)
	before := testenv.Heap()
	use(2000)
	if grown := testenv.Heap() - before; grown > 256<<10 {
		t.Errorf("the options of 2,000 clients and servers leave %d KiB behind", grown>>10)
	}
}
