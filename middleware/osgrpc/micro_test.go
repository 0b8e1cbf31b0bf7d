package osgrpc

import (
	"context"
	"net"
	"testing"

	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/go-os/go-os/telemetry"
)

// BenchmarkInterceptor measures the unary interceptor of a server alone, without the noise of a connection.
func BenchmarkInterceptor(b *testing.B) {
	for name, sampler := range map[string]sdktrace.Sampler{"sampled": sdktrace.AlwaysSample(), "unsampled": sdktrace.NeverSample()} {
		b.Run(name, func(b *testing.B) {
			p := telemetry.Off()
			p.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSampler(sampler))
			p.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
			p.Propagator = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
			s := newServer((&Options{Telemetry: p}).withDefaults())
			ctx := metadata.NewIncomingContext(context.Background(), metadata.MD{
				"traceparent":  {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
				"content-type": {"application/grpc"}, ":authority": {"orders"}, "user-agent": {"grpc-go/1.85.0"},
			})
			ctx = peer.NewContext(ctx, &peer.Peer{
				Addr:      &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 40001},
				LocalAddr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 50051},
			})
			info := &grpc.UnaryServerInfo{FullMethod: "/shop.Orders/Place"}
			handler := func(context.Context, any) (any, error) { return nil, nil }
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.unary(ctx, nil, info, handler); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
