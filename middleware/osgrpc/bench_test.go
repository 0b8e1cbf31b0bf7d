package osgrpc_test

import (
	"context"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"

	"github.com/go-os/go-os/middleware/osgrpc"
	"github.com/go-os/go-os/telemetry"
)

// workload is one configuration to measure per unary call.
type workload struct {
	name string
	with func(testing.TB) setup
}

const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func sdk(sampler sdktrace.Sampler) telemetry.Providers {
	p := newRecorder().Providers
	p.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSampler(sampler)) // no processor: only the cost of spans
	return p
}

func workloads() []workload {
	sampled, unsampled := sdk(sdktrace.AlwaysSample()), sdk(sdktrace.NeverSample())
	server := func(o osgrpc.Options) func(testing.TB) setup {
		return func(testing.TB) setup { return setup{server: &o} }
	}
	client := func(o osgrpc.Options) func(testing.TB) setup {
		return func(testing.TB) setup { return setup{client: &o} }
	}
	return []workload{
		{"bare", func(testing.TB) setup { return setup{} }},
		{"server/sampled", server(osgrpc.Options{Telemetry: sampled})},
		{"server/unsampled", server(osgrpc.Options{Telemetry: unsampled})},
		{"server/exact", server(osgrpc.Options{Telemetry: sampled, Exact: true})},
		{"server/off", server(osgrpc.Options{Telemetry: telemetry.Off()})},
		{"server/off-unprotected", server(osgrpc.Options{Telemetry: telemetry.Off(), NoRecovery: true})},
		{"client/sampled", client(osgrpc.Options{Telemetry: sampled})},
		{"client/unsampled", client(osgrpc.Options{Telemetry: unsampled})},
		{"client/off", client(osgrpc.Options{Telemetry: telemetry.Off()})},
	}
}

// BenchmarkUnary measures a whole unary call, both sides included, over a connection in memory. The cost of osgrpc is
// the difference to the bare case, which receives the trace context as well.
func BenchmarkUnary(b *testing.B) {
	for _, w := range workloads() {
		b.Run(w.name, func(b *testing.B) {
			pair := connect(b, &service{}, w.with(b))
			ctx := metadata.AppendToOutgoingContext(context.Background(), "traceparent", traceparent)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := pair.EmptyCall(ctx, &testpb.Empty{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
