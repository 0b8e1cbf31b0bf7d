package osgrpc_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/control/router/shed"
	"github.com/go-os/go-os/middleware/osgrpc"
	"github.com/go-os/go-os/telemetry"
)

// strict is a Shedder that refuses calls below a priority.
type strict struct {
	*shed.Shedder
	least shed.Priority
	asked atomic.Int64
}

func (s *strict) Admit(ctx context.Context, p shed.Priority) (shed.Admission, bool) {
	s.asked.Add(1)
	if p < s.least {
		return shed.Admission{}, false
	}
	return s.Shedder.Admit(ctx, p)
}

func newShedder(t *testing.T) *shed.Shedder {
	t.Helper()
	s, err := shed.New(&shed.Options{Telemetry: telemetry.Off()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// TestShedding refuses calls and streams by their priority, and says when to try again. All places are given back.
func TestShedding(t *testing.T) {
	shedder := &strict{Shedder: newShedder(t), least: shed.High}
	pair := connect(t, &service{unary: func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) { panic("bug") }}, setup{server: &osgrpc.Options{
		Telemetry: telemetry.Off(), Shedder: shedder, MaxConcurrent: 1, ReportLoad: osgrpc.NewLoad(), Services: []string{"orders"},
	}})
	unary := func(ctx context.Context, opts ...grpc.CallOption) error {
		_, err := pair.UnaryCall(ctx, &testpb.SimpleRequest{}, opts...)
		return err
	}
	stream := func(ctx context.Context, opts ...grpc.CallOption) error {
		s, err := pair.FullDuplexCall(ctx, opts...)
		if err != nil {
			return err
		}
		_ = s.CloseSend()
		_, err = s.Recv()
		return err
	}
	high := metadata.AppendToOutgoingContext(t.Context(), "goos-priority", "high")
	for name, send := range map[string]func(context.Context, ...grpc.CallOption) error{"call": unary, "stream": stream} {
		for range 3 {
			if err := send(high); status.Code(err) == codes.ResourceExhausted {
				t.Errorf("%s of high priority: %v", name, err)
			}
			var trailer metadata.MD
			err := send(t.Context(), grpc.Trailer(&trailer))
			details := status.Convert(err).Details()
			if status.Code(err) != codes.ResourceExhausted || len(details) != 1 {
				t.Fatalf("%s of normal priority: %v, want RESOURCE_EXHAUSTED with one detail", name, err)
			}
			if info, ok := details[0].(*errdetails.RetryInfo); !ok || info.GetRetryDelay().AsDuration() < time.Second {
				t.Errorf("%s: details %v, want a delay", name, details)
			}
			if len(trailer["grpc-retry-pushback-ms"]) != 1 {
				t.Errorf("%s: trailer %v, want a pushback", name, trailer)
			}
		}
	}
	asked := shedder.asked.Load()
	if _, _, err := probe(t.Context(), pair.conn); err != nil || shedder.asked.Load() != asked {
		t.Errorf("a probe was shed: %v", err)
	}
	if err := unary(metadata.AppendToOutgoingContext(high, "goos-service", "payments")); status.Code(err) != codes.FailedPrecondition || shedder.asked.Load() != asked {
		t.Errorf("a call for another service was shed: %v", err)
	}
	if n := shedder.Status().InFlight; n != 0 {
		t.Errorf("%d places are taken after all calls", n)
	}
}
