package osgrpc_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/middleware/osgrpc"
	"github.com/go-os/go-os/telemetry"
)

// seen returns the calls that the server's histogram counts, by method and code.
func seen(t *testing.T, r *recorder) map[string]uint64 {
	t.Helper()
	_, points := r.histogram(t, "rpc.server.call.duration")
	calls := map[string]uint64{}
	for _, p := range points {
		got := attrs(p.Attributes.ToSlice())
		calls[got[semconv.RPCMethodKey]+" "+got[semconv.RPCResponseStatusCodeKey]] += p.Count
	}
	return calls
}

// TestFailuresOutsideTheHandler breaks calls before and after the handler. An interceptor does not see the first at all,
// and sees the second as a success. An exact server reports the answer that the client received.
func TestFailuresOutsideTheHandler(t *testing.T) {
	const small = 64
	for _, test := range []struct {
		name  string
		exact bool
		want  map[string]uint64
	}{
		{"by default", false, map[string]uint64{unaryMethod + " OK": 2}},
		{"exact", true, map[string]uint64{
			"_OTHER RESOURCE_EXHAUSTED":         1, // nothing is known of the method yet
			unaryMethod + " OK":                 1,
			unaryMethod + " RESOURCE_EXHAUSTED": 2,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := newRecorder()
			pair := connect(t, &service{unary: func(_ context.Context, req *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
				return &testpb.SimpleResponse{Payload: payload(int(req.GetResponseSize()))}, nil
			}}, setup{
				server:        &osgrpc.Options{Telemetry: server.Providers, Exact: test.exact},
				serverOptions: []grpc.ServerOption{grpc.MaxRecvMsgSize(small), grpc.MaxSendMsgSize(small)},
			})
			for n, call := range []struct {
				req  *testpb.SimpleRequest
				want codes.Code
			}{
				{&testpb.SimpleRequest{Payload: payload(2 * small)}, codes.ResourceExhausted}, // before the handler
				{&testpb.SimpleRequest{}, codes.OK},
				{&testpb.SimpleRequest{Payload: payload(2 * small)}, codes.ResourceExhausted},
				{&testpb.SimpleRequest{ResponseSize: 2 * small}, codes.ResourceExhausted}, // after it
			} {
				if _, err := pair.UnaryCall(t.Context(), call.req); status.Code(err) != call.want {
					t.Fatalf("call %d: %v, want %v", n, err, call.want)
				}
				if test.exact { // gRPC ends a call after its client has the answer, maybe during the next one
					eventually(t, "the end of the call", func() bool { return len(server.spans.Ended()) == n+1 })
				}
			}
			pair.server.GracefulStop()
			got := seen(t, server)
			for key, n := range test.want {
				if got[key] != n {
					t.Errorf("%d calls of %q, want %d", got[key], key, n)
				}
			}
			total := uint64(0)
			for _, n := range got {
				total += n
			}
			if spans := len(server.spans.Ended()); uint64(spans) != total || spans != len(server.spans.Started()) {
				t.Errorf("%d calls are counted, %d spans ended and %d started", total, spans, len(server.spans.Started()))
			}
			if test.exact && total != 4 {
				t.Errorf("%d calls are counted, want 4: %v", total, got)
			}
		})
	}
}

func TestExactKeepsTheRest(t *testing.T) {
	server, client := newRecorder(), newRecorder()
	with := observed(server, client)
	with.server.Exact = true
	pair := connect(t, &service{
		unary:  func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) { panic("boom") },
		duplex: func(testpb.TestService_FullDuplexCallServer) error { return errors.New("plain") },
	}, with)
	if _, err := pair.UnaryCall(t.Context(), &testpb.SimpleRequest{}); status.Code(err) != codes.Internal {
		t.Fatalf("a panic gave %v, want Internal", err)
	}
	stream, err := pair.FullDuplexCall(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unknown {
		t.Fatalf("a plain error gave %v, want Unknown", err)
	}
	if got := invoke(t, pair, "/none.Such/Method"); got != codes.Unimplemented {
		t.Fatalf("an unknown method gave %v, want Unimplemented", got)
	}
	if got := invoke(t, pair, "/grpc.health.v1.Health/Check"); got != codes.OK {
		t.Fatalf("a health check gave %v, want OK", got)
	}
	pair.server.GracefulStop()
	got := seen(t, server)
	want := map[string]uint64{
		unaryMethod + " INTERNAL": 1, "grpc.testing.TestService/FullDuplexCall UNKNOWN": 1, "_OTHER UNIMPLEMENTED": 1,
	}
	for key, n := range want {
		if got[key] != n {
			t.Errorf("%d calls of %q, want %d", got[key], key, n)
		}
	}
	if len(got) != len(want) || len(server.spans.Ended()) != 3 || len(server.spans.Started()) != 3 {
		t.Errorf("calls are %v with %d spans of %d ended, want 3 calls", got, len(server.spans.Ended()), len(server.spans.Started()))
	}
	callers := map[trace.SpanID]bool{}
	for _, span := range client.spans.Ended() {
		callers[span.SpanContext().SpanID()] = true
	}
	for _, span := range server.spans.Ended() { // not in the client's order: they end after the answer is sent
		if !callers[span.Parent().SpanID()] {
			t.Errorf("the span %s is not the child of a client's", span.Name())
		}
	}
}

// stuckSink is a log handler whose first record blocks.
type stuckSink struct {
	slog.Handler
	entered chan struct{}
	leave   chan struct{}
	once    *sync.Once
}

func (s stuckSink) Enabled(context.Context, slog.Level) bool { return true }

func (s stuckSink) Handle(context.Context, slog.Record) error {
	s.once.Do(func() {
		close(s.entered)
		<-s.leave
	})
	return nil
}

// A call keeps its place until its record is written, even if that is after the answer.
func TestExactKeepsThePlaceUntilTheRecord(t *testing.T) {
	sink := stuckSink{slog.DiscardHandler, make(chan struct{}), make(chan struct{}), new(sync.Once)}
	p := telemetry.Off()
	p.Logger = slog.New(sink)
	pair := connect(t, &service{unary: func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		return &testpb.SimpleResponse{}, nil
	}}, setup{server: &osgrpc.Options{Telemetry: p, MaxConcurrent: 1, AccessLog: true, Exact: true}})
	call := func() codes.Code {
		_, err := pair.UnaryCall(t.Context(), &testpb.SimpleRequest{})
		return status.Code(err)
	}
	if code := call(); code != codes.OK {
		t.Fatalf("the first call: %v", code)
	}
	<-sink.entered
	for range 5 {
		if code := call(); code != codes.ResourceExhausted {
			t.Errorf("a call while the record of another waits: %v, want ResourceExhausted", code)
		}
	}
	close(sink.leave)
	eventually(t, "the place to be free", func() bool { return call() == codes.OK })
}
