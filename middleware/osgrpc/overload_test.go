package osgrpc

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/internal/admission/admissiontest"
	"github.com/go-os/go-os/telemetry"
)

// overloadedServer has four places and a log sink that takes 1 ms a line.
func overloadedServer(sink slog.Handler) *server {
	p := telemetry.Off()
	p.Logger = slog.New(sink)
	return newServer((&Options{Telemetry: p, MaxConcurrent: 4, AccessLog: true}).withDefaults())
}

// testCall is one call of 5 ms, unary or streaming, as gRPC makes it through the interceptors.
func (s *server) testCall(ctx context.Context, stream bool) error {
	if stream {
		return s.stream(s, &serverStream{ctx: ctx}, &grpc.StreamServerInfo{FullMethod: "/a.B/C"}, func(any, grpc.ServerStream) error {
			time.Sleep(5 * time.Millisecond)
			return nil
		})
	}
	_, err := s.unary(ctx, nil, &grpc.UnaryServerInfo{FullMethod: "/a.B/C"}, func(context.Context, any) (any, error) {
		time.Sleep(5 * time.Millisecond)
		return nil, nil
	})
	return err
}

// TestGoodputUnderOverload offers 3 to 50 times its capacity to a server with a slow log sink, in synctest time. The server
// keeps its throughput.
func TestGoodputUnderOverload(t *testing.T) {
	const span = time.Second
	capacity := 0
	synctest.Test(t, func(t *testing.T) { // as many callers as places
		var served atomic.Int64
		var wg sync.WaitGroup
		s, end := overloadedServer(admissiontest.NewSink(time.Millisecond)), time.Now().Add(span)
		for range 4 {
			wg.Go(func() {
				for time.Now().Before(end) {
					_ = s.testCall(t.Context(), false)
					served.Add(1)
				}
			})
		}
		wg.Wait()
		capacity = int(served.Load())
	})
	for _, factor := range []int{3, 10, 50} {
		for _, stream := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				sink := admissiontest.NewSink(time.Millisecond)
				s, end := overloadedServer(sink), time.Now().Add(span)
				var served, refused atomic.Int64
				for time.Now().Before(end) {
					go func() {
						switch err := s.testCall(t.Context(), stream); {
						case status.Code(err) == codes.ResourceExhausted:
							refused.Add(1)
						case time.Now().Before(end):
							served.Add(1)
						}
					}()
					time.Sleep(5 * time.Millisecond / time.Duration(4*factor))
				}
				time.Sleep(time.Second) // calls in flight
				_ = s.testCall(t.Context(), stream)
				if got := float64(served.Load()) / float64(capacity); got < 0.9 {
					t.Errorf("%d× overload, stream %t: %d calls are served, %.0f %% of the capacity of %d", factor, stream, served.Load(), 100*got, capacity)
				}
				all, want := sink.Accounted(), served.Load()+refused.Load()
				if all < want || all > want+5 {
					t.Errorf("%d× overload, stream %t: the log accounts for %d calls of %d", factor, stream, all, want)
				}
			})
		}
	}
}

// slowService answers after 50 ms.
type slowService struct {
	testpb.UnimplementedTestServiceServer
}

func (slowService) EmptyCall(context.Context, *testpb.Empty) (*testpb.Empty, error) {
	time.Sleep(50 * time.Millisecond)
	return &testpb.Empty{}, nil
}

// BenchmarkGoodput measures calls served a second, over loopback, by a server that is offered up to 50 times its capacity,
// with a log sink that takes 5 ms a line. It fails if overload costs a fifth of the capacity.
func BenchmarkGoodput(b *testing.B) {
	const places = 4
	var capacity float64
	for _, factor := range []int{1, 3, 10, 50} {
		b.Run(fmt.Sprintf("%dx", factor), func(b *testing.B) {
			p := telemetry.Off()
			p.Logger = slog.New(admissiontest.NewSink(5 * time.Millisecond))
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			server := grpc.NewServer(ServerOptions(&Options{Telemetry: p, MaxConcurrent: places, AccessLog: true})...)
			testpb.RegisterTestServiceServer(server, slowService{})
			go func() { _ = server.Serve(listener) }()
			defer server.Stop()
			conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			goodput := drive(b, testpb.NewTestServiceClient(conn), places*factor)
			b.ReportMetric(goodput, "served/s")
			if factor == 1 {
				capacity = goodput
			} else if b.N >= 50 && goodput < 0.8*capacity {
				b.Errorf("%.0f calls a second are served, the capacity is %.0f", goodput, capacity)
			}
		})
	}
}

// drive makes calls from that many callers until b.N calls were served, and returns the number served a second.
func drive(b *testing.B, client testpb.TestServiceClient, callers int) float64 {
	var served atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range callers {
		wg.Go(func() {
			for served.Load() < int64(b.N) {
				switch _, err := client.EmptyCall(context.Background(), &testpb.Empty{}); status.Code(err) {
				case codes.OK:
					served.Add(1)
				case codes.ResourceExhausted:
					time.Sleep(50 * time.Millisecond) // the wait of a caller before it retries
				default:
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return float64(served.Load()) / b.Elapsed().Seconds()
}
