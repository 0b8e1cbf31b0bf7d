package osgrpc_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"testing"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/middleware/osgrpc"
	"github.com/go-os/go-os/telemetry"
)

// withTrace adds the id of the trace in the context, like a handler that correlates logs.
type withTrace struct{ slog.Handler }

func (h withTrace) Handle(ctx context.Context, r slog.Record) error {
	r.AddAttrs(slog.String("trace_id", trace.SpanContextFromContext(ctx).TraceID().String()))
	return h.Handler.Handle(ctx, r)
}

func TestAccessLog(t *testing.T) {
	var out bytes.Buffer
	server := newRecorder()
	server.Logger = slog.New(withTrace{slog.NewJSONHandler(&out, nil)})
	pair := connect(t, &service{
		unary: func(_ context.Context, req *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
			if req.GetResponseStatus() == nil {
				return &testpb.SimpleResponse{}, nil
			}
			return nil, status.Error(codes.Code(req.GetResponseStatus().GetCode()), "because")
		},
		duplex: func(testpb.TestService_FullDuplexCallServer) error { panic("boom") },
	}, setup{server: &osgrpc.Options{Telemetry: server.Providers, AccessLog: true}})

	for _, code := range []codes.Code{codes.OK, codes.NotFound, codes.Unavailable} {
		req := &testpb.SimpleRequest{}
		if code != codes.OK {
			req.ResponseStatus = &testpb.EchoStatus{Code: int32(code)}
		}
		if _, err := pair.UnaryCall(t.Context(), req); status.Code(err) != code {
			t.Fatalf("got %v, want %v", err, code)
		}
	}
	stream, err := pair.FullDuplexCall(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Internal {
		t.Fatal(err)
	}
	invoke(t, pair, "/none.Such/Method")
	pair.server.GracefulStop()

	lines := json.NewDecoder(&out)
	for n, want := range []struct{ level, method, code, err string }{
		{"INFO", unaryMethod, "OK", ""},
		{"INFO", unaryMethod, "NOT_FOUND", "rpc error: code = NotFound desc = because"},
		{"ERROR", unaryMethod, "UNAVAILABLE", "rpc error: code = Unavailable desc = because"},
		{"ERROR", "grpc.testing.TestService/FullDuplexCall", "INTERNAL", "rpc error: code = Internal desc = the server failed to process the call"},
		{"ERROR", "none.Such/Method", "UNIMPLEMENTED", `rpc error: code = Unimplemented desc = no method "/none.Such/Method" is registered on this server`},
	} {
		var got struct {
			Level, Msg, Error string
			Method            string  `json:"rpc.method"`
			Code              string  `json:"rpc.response.status_code"`
			Peer              string  `json:"network.peer.address"`
			Duration          float64 `json:"duration"`
			Trace             string  `json:"trace_id"`
		}
		if err := lines.Decode(&got); err != nil {
			t.Fatalf("line %d: %v", n, err)
		}
		if got.Level != want.level || got.Method != want.method || got.Code != want.code || got.Error != want.err || got.Msg != "grpc call" {
			t.Errorf("line %d is %+v, want %+v", n, got, want)
		}
		if got.Duration <= 0 || got.Peer != "bufconn" {
			t.Errorf("line %d has duration %v and peer %q", n, got.Duration, got.Peer)
		}
		if id := server.spans.Ended()[n].SpanContext().TraceID().String(); got.Trace != id {
			t.Errorf("line %d is in the trace %s, its span in %s", n, got.Trace, id)
		}
	}
	if _, err := lines.Token(); err != io.EOF {
		t.Errorf("more lines than calls (%v)", err)
	}
}

// TestAccessLogAlone runs the access log without other telemetry.
func TestAccessLogAlone(t *testing.T) {
	var out bytes.Buffer
	p := telemetry.Off()
	p.Logger = slog.New(slog.NewTextHandler(&out, nil))
	pair := connect(t, &service{}, setup{server: &osgrpc.Options{Telemetry: p, AccessLog: true, NoRecovery: true}})
	if _, err := pair.EmptyCall(t.Context(), &testpb.Empty{}); err != nil {
		t.Fatal(err)
	}
	pair.server.GracefulStop()
	if n := bytes.Count(out.Bytes(), []byte("\n")); n != 1 {
		t.Errorf("%d lines, want 1:\n%s", n, out.String())
	}
}
