package osgrpc_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/middleware/osgrpc"
)

// ending is the report that each side must make of one call, once.
type ending struct{ server, client string }

// check waits until both sides reported the call, closes everything, and asserts that nothing was reported twice.
func (want ending) check(t *testing.T, pair peerPair, server, client *recorder) {
	t.Helper()
	for _, side := range []struct {
		name, code string
		*recorder
	}{{"server", want.server, server}, {"client", want.client, client}} {
		if side.code == "" {
			continue
		}
		got := attrs(side.span(t).Attributes())[semconv.RPCResponseStatusCodeKey]
		if got != side.code {
			t.Errorf("the %s's span ended with %q, want %q", side.name, got, side.code)
		}
	}
	if err := pair.conn.Close(); err != nil && status.Code(err) != codes.Canceled {
		t.Error(err)
	}
	pair.server.Stop() // waits for the handlers
	for name, r := range map[string]*recorder{"server": server, "client": client} {
		started, ended := r.spans.Started(), r.spans.Ended()
		if len(started) != len(ended) || len(ended) > 1 {
			t.Errorf("the %s started %d spans and ended %d, want one each", name, len(started), len(ended))
		}
		_, points := r.histogram(t, "rpc."+name+".call.duration")
		var calls uint64
		for _, p := range points {
			calls += p.Count
		}
		if calls != uint64(len(ended)) {
			t.Errorf("the %s's histogram counts %d calls and %d spans ended", name, calls, len(ended))
		}
	}
}

func TestStreams(t *testing.T) {
	tests := []struct {
		name string
		call func(*testing.T, peerPair)
	}{
		{"server stream", func(t *testing.T, pair peerPair) {
			stream, err := pair.StreamingOutputCall(t.Context(), &testpb.StreamingOutputCallRequest{
				ResponseParameters: make([]*testpb.ResponseParameters, 3), Payload: payload(5),
			})
			if err != nil {
				t.Fatal(err)
			}
			for n := 0; ; n++ {
				resp, err := stream.Recv()
				if err == io.EOF && n == 3 {
					return
				}
				if err != nil || len(resp.GetPayload().GetBody()) != 5 {
					t.Fatalf("message %d is %v, %v", n, resp, err)
				}
			}
		}},
		{"client stream", func(t *testing.T, pair peerPair) {
			stream, err := pair.StreamingInputCall(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if err := stream.Send(&testpb.StreamingInputCallRequest{Payload: payload(7)}); err != nil {
					t.Fatal(err)
				}
			}
			resp, err := stream.CloseAndRecv()
			if err != nil || resp.GetAggregatedPayloadSize() != 21 {
				t.Fatalf("the answer is %v, %v; want the size 21", resp, err)
			}
		}},
		{"both ways", func(t *testing.T, pair peerPair) {
			stream, err := pair.FullDuplexCall(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for n := range 3 {
				if err := stream.Send(&testpb.StreamingOutputCallRequest{Payload: payload(n)}); err != nil {
					t.Fatal(err)
				}
				if resp, err := stream.Recv(); err != nil || len(resp.GetPayload().GetBody()) != n {
					t.Fatalf("message %d is %v, %v", n, resp, err)
				}
			}
			if err := stream.CloseSend(); err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); err != io.EOF {
				t.Fatalf("the stream ended with %v, want io.EOF", err)
			}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server, client := newRecorder(), newRecorder()
			pair := connect(t, &service{}, observed(server, client))
			test.call(t, pair)
			ending{"OK", "OK"}.check(t, pair, server, client)
			if got, want := server.spans.Ended()[0].Parent().SpanID(), client.spans.Ended()[0].SpanContext().SpanID(); got != want {
				t.Errorf("the server's span has parent %s, want %s", got, want)
			}
		})
	}
}

func observed(server, client *recorder) setup {
	return setup{server: &osgrpc.Options{Telemetry: server.Providers}, client: &osgrpc.Options{Telemetry: client.Providers}}
}

// TestStreamEndings breaks streams in every possible way. Each side must end its span once, with the outcome that
// it saw.
func TestStreamEndings(t *testing.T) {
	untilCancelled := func(stream testpb.TestService_FullDuplexCallServer) error {
		if err := stream.Send(&testpb.StreamingOutputCallResponse{}); err != nil {
			return err
		}
		<-stream.Context().Done()
		return stream.Context().Err()
	}
	tests := []struct {
		name    string
		handler func(testpb.TestService_FullDuplexCallServer) error
		client  func(*testing.T, peerPair, testpb.TestService_FullDuplexCallClient, context.CancelFunc)
		want    ending
	}{
		{"error of the handler", func(testpb.TestService_FullDuplexCallServer) error {
			return status.Error(codes.NotFound, "none")
		}, func(t *testing.T, _ peerPair, stream testpb.TestService_FullDuplexCallClient, _ context.CancelFunc) {
			if _, err := stream.Recv(); status.Code(err) != codes.NotFound {
				t.Fatalf("Recv: %v, want NotFound", err)
			}
		}, ending{"NOT_FOUND", "NOT_FOUND"}},

		{"cancelled by the client while it reads", untilCancelled,
			func(t *testing.T, _ peerPair, stream testpb.TestService_FullDuplexCallClient, cancel context.CancelFunc) {
				if _, err := stream.Recv(); err != nil {
					t.Fatal(err)
				}
				cancel()
				if _, err := stream.Recv(); status.Code(err) != codes.Canceled {
					t.Fatalf("Recv: %v, want Canceled", err)
				}
			}, ending{"CANCELLED", "CANCELLED"}},

		{"abandoned by the client, which never reads again", untilCancelled,
			func(t *testing.T, _ peerPair, stream testpb.TestService_FullDuplexCallClient, cancel context.CancelFunc) {
				if _, err := stream.Recv(); err != nil {
					t.Fatal(err)
				}
				cancel()
			}, ending{"CANCELLED", "CANCELLED"}},

		{"the client's connection is closed", untilCancelled,
			func(t *testing.T, pair peerPair, stream testpb.TestService_FullDuplexCallClient, _ context.CancelFunc) {
				if _, err := stream.Recv(); err != nil {
					t.Fatal(err)
				}
				if err := pair.conn.Close(); err != nil {
					t.Fatal(err)
				}
			}, ending{"CANCELLED", "CANCELLED"}},

		{"the server is stopped", untilCancelled,
			func(t *testing.T, pair peerPair, stream testpb.TestService_FullDuplexCallClient, _ context.CancelFunc) {
				if _, err := stream.Recv(); err != nil {
					t.Fatal(err)
				}
				pair.server.Stop()
				if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
					t.Fatalf("Recv: %v, want Unavailable", err)
				}
			}, ending{"CANCELLED", "UNAVAILABLE"}},

		{"panic of the handler", func(testpb.TestService_FullDuplexCallServer) error {
			panic("boom")
		}, func(t *testing.T, _ peerPair, stream testpb.TestService_FullDuplexCallClient, _ context.CancelFunc) {
			if _, err := stream.Recv(); status.Code(err) != codes.Internal {
				t.Fatalf("Recv: %v, want Internal", err)
			}
		}, ending{"INTERNAL", "INTERNAL"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server, client := newRecorder(), newRecorder()
			pair := connect(t, &service{duplex: test.handler}, observed(server, client))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stream, err := pair.FullDuplexCall(ctx)
			if err != nil {
				t.Fatal(err)
			}
			test.client(t, pair, stream, cancel)
			test.want.check(t, pair, server, client)
		})
	}
}

// TestStreamThatIsNeverMade covers a failing interceptor. To the interceptors outside it, gRPC reports neither an
// end nor an error.
func TestStreamThatIsNeverMade(t *testing.T) {
	refusal := errors.New("refused here")
	tests := map[string]struct {
		with   []grpc.DialOption
		cancel bool
		code   string
	}{
		"an interceptor further in refuses": {[]grpc.DialOption{grpc.WithChainStreamInterceptor(
			func(context.Context, *grpc.StreamDesc, *grpc.ClientConn, string, grpc.Streamer, ...grpc.CallOption) (grpc.ClientStream, error) {
				return nil, refusal
			})}, false, "UNKNOWN"},
		"the context is done": {nil, true, "CANCELLED"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			server, client := newRecorder(), newRecorder()
			with := observed(server, client)
			with.dialOptions = test.with
			pair := connect(t, &service{}, with)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if test.cancel {
				cancel()
			}
			if _, err := pair.FullDuplexCall(ctx); err == nil {
				t.Fatal("the stream was made")
			}
			ending{"", test.code}.check(t, pair, server, client)
		})
	}
}

// TestPanickingCallers checks that a panic in a client's own code continues, and leaves no span open.
func TestPanickingCallers(t *testing.T) {
	r := newRecorder()
	pair := connect(t, &service{}, setup{
		client: &osgrpc.Options{Telemetry: r.Providers},
		dialOptions: []grpc.DialOption{
			grpc.WithChainUnaryInterceptor(func(context.Context, string, any, any, *grpc.ClientConn, grpc.UnaryInvoker, ...grpc.CallOption) error {
				panic("unary")
			}),
			grpc.WithChainStreamInterceptor(func(context.Context, *grpc.StreamDesc, *grpc.ClientConn, string, grpc.Streamer, ...grpc.CallOption) (grpc.ClientStream, error) {
				panic("stream")
			}),
		},
	})
	for want, call := range map[string]func(){
		"unary":  func() { _, _ = pair.UnaryCall(t.Context(), &testpb.SimpleRequest{}) },
		"stream": func() { _, _ = pair.FullDuplexCall(t.Context()) },
	} {
		func() {
			defer func() {
				if got := recover(); got != want {
					t.Errorf("recovered %v, want %q", got, want)
				}
			}()
			call()
		}()
	}
	if n := len(r.spans.Ended()); n != 2 {
		t.Fatalf("%d spans ended, want 2", n)
	}
	for _, span := range r.spans.Ended() {
		if got := attrs(span.Attributes())[semconv.ErrorTypeKey]; got != "UNKNOWN" {
			t.Errorf("%s: error.type = %q, want UNKNOWN", span.Name(), got)
		}
	}
}

// TestHandlersSeeTheSpan checks that a handler's telemetry belongs to the span of its call.
func TestHandlersSeeTheSpan(t *testing.T) {
	server, client := newRecorder(), newRecorder()
	var seen []trace.SpanContext
	pair := connect(t, &service{
		unary: func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
			seen = append(seen, trace.SpanContextFromContext(ctx))
			trace.SpanFromContext(ctx).SetAttributes(attribute.Bool("mine", true))
			return &testpb.SimpleResponse{}, nil
		},
		duplex: func(stream testpb.TestService_FullDuplexCallServer) error {
			seen = append(seen, trace.SpanContextFromContext(stream.Context()))
			return nil
		},
	}, observed(server, client))
	if _, err := pair.UnaryCall(t.Context(), &testpb.SimpleRequest{}); err != nil {
		t.Fatal(err)
	}
	stream, err := pair.FullDuplexCall(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != io.EOF {
		t.Fatal(err)
	}
	eventually(t, "both spans to end", func() bool { return len(server.spans.Ended()) == 2 })
	for i, span := range server.spans.Ended() {
		if seen[i].SpanID() != span.SpanContext().SpanID() {
			t.Errorf("handler %d saw the span %s, want %s", i, seen[i].SpanID(), span.SpanContext().SpanID())
		}
	}
	if attrs(server.spans.Ended()[0].Attributes())["mine"] != "true" {
		t.Error("the handler's attribute is not on the span")
	}
}
