package osgrpc_test

import (
	"context"
	"io"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/go-os/go-os/middleware/osgrpc"
	"github.com/go-os/go-os/telemetry"
)

// probe asks a server for its load.
func probe(ctx context.Context, conn *grpc.ClientConn) (inFlight, latency string, err error) {
	var trailer metadata.MD
	err = conn.Invoke(ctx, osgrpc.ProbeMethod, new(emptypb.Empty), new(emptypb.Empty), grpc.Trailer(&trailer))
	inFlight, latency = reported(trailer)
	return inFlight, latency, err
}

// reported returns the report in a trailer.
func reported(trailer metadata.MD) (inFlight, latency string) {
	for _, v := range trailer["x-prequal-rif"] {
		inFlight += v
	}
	for _, v := range trailer["x-prequal-latency-us"] {
		latency += v
	}
	return inFlight, latency
}

// TestReportLoad reports calls in flight in trailers and to probes, which are not counted, observed, limited or shed themselves.
func TestReportLoad(t *testing.T) {
	rec := newRecorder()
	entered, leave := make(chan struct{}), make(chan struct{})
	block := func(context.Context) { entered <- struct{}{}; <-leave }
	pair := connect(t, &service{
		unary: func(ctx context.Context, r *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
			if r.GetFillUsername() {
				block(ctx)
			}
			time.Sleep(2 * time.Millisecond)
			return &testpb.SimpleResponse{}, nil
		},
		duplex: func(s testpb.TestService_FullDuplexCallServer) error { block(s.Context()); return nil },
	}, setup{server: &osgrpc.Options{Telemetry: rec.Providers, ReportLoad: osgrpc.NewLoad(), MaxConcurrent: 2, Exact: true}})

	if inFlight, latency, err := probe(t.Context(), pair.conn); err != nil || inFlight != "0" || latency != "0" {
		t.Fatalf("probe of an idle server: %q, %q, %v", inFlight, latency, err)
	}
	var trailer metadata.MD
	if _, err := pair.UnaryCall(t.Context(), &testpb.SimpleRequest{}, grpc.Trailer(&trailer)); err != nil {
		t.Fatal(err)
	}
	if inFlight, latency := reported(trailer); inFlight != "0" || len(latency) < 4 {
		t.Errorf("the trailer of a call of 2 ms reports %q in flight and %q µs", inFlight, latency)
	}

	held := make(chan metadata.MD, 1)
	go func() {
		var trailer metadata.MD
		_, _ = pair.UnaryCall(t.Context(), &testpb.SimpleRequest{FillUsername: true}, grpc.Trailer(&trailer))
		held <- trailer
	}()
	<-entered
	stream, err := pair.FullDuplexCall(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	<-entered
	if inFlight, _, err := probe(t.Context(), pair.conn); err != nil || inFlight != "2" {
		t.Errorf("probe of a full server: %q in flight, %v", inFlight, err)
	}
	if _, err := pair.UnaryCall(t.Context(), &testpb.SimpleRequest{}, grpc.Trailer(&trailer)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("%v, want RESOURCE_EXHAUSTED", err)
	}
	if inFlight, _ := reported(trailer); inFlight != "2" {
		t.Errorf("a refusal reports %q in flight, want the 2 that are served", inFlight)
	}
	leave <- struct{}{}
	leave <- struct{}{}
	<-held
	if _, err := stream.Recv(); err != io.EOF {
		t.Error(err)
	}
	if inFlight, _ := reported(stream.Trailer()); inFlight == "" {
		t.Error("the trailer of a stream has no report")
	}
	if inFlight, latency, err := probe(t.Context(), pair.conn); err != nil || inFlight != "0" || len(latency) < 4 {
		t.Errorf("probe after the calls: %q, %q, %v", inFlight, latency, err)
	}
	eventually(t, "spans", func() bool { return len(rec.spans.Ended()) >= 4 })
	if n := len(rec.spans.Ended()); n != 4 {
		t.Errorf("%d spans, want those of 4 calls and none of a probe", n)
	}
}

// TestReportLoadIsOptional has other servers answer UNIMPLEMENTED, and report nothing.
func TestReportLoadIsOptional(t *testing.T) {
	for name, options := range map[string]*osgrpc.Options{
		"none": nil, "off": {Telemetry: telemetry.Off()}, "public": {Telemetry: telemetry.Off(), ReportLoad: osgrpc.NewLoad(), Public: true},
	} {
		pair := connect(t, &service{}, setup{server: options})
		if _, _, err := probe(t.Context(), pair.conn); status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: %v, want UNIMPLEMENTED", name, err)
		}
		var trailer metadata.MD
		if _, err := pair.UnaryCall(t.Context(), &testpb.SimpleRequest{}, grpc.Trailer(&trailer)); err != nil || len(trailer) != 0 {
			t.Errorf("%s: trailer %v, %v", name, trailer, err)
		}
	}
}

// TestProbeOfAnotherService refuses a probe that is for the former service of the address.
func TestProbeOfAnotherService(t *testing.T) {
	pair := connect(t, &service{}, setup{server: &osgrpc.Options{Telemetry: telemetry.Off(), ReportLoad: osgrpc.NewLoad(), Services: []string{"payments"}}})
	for name, want := range map[string]codes.Code{"payments": codes.OK, "orders": codes.FailedPrecondition} {
		_, _, err := probe(metadata.AppendToOutgoingContext(t.Context(), "goos-service", name), pair.conn)
		if status.Code(err) != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}
