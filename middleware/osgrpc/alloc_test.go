//go:build !race

package osgrpc_test

import (
	"context"
	"testing"

	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
)

// TestAllocations pins what a unary call costs beyond one without this package, both sides included. The race detector
// allocates by itself, so the test is not for it. Each limit leaves one allocation for gRPC's own buffers, which come and go.
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
