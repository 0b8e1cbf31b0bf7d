package osgrpc_test

import (
	"context"
	"strings"
	"testing"

	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"

	"github.com/go-os/go-os/middleware/osgrpc"
	"github.com/go-os/go-os/telemetry"
)

// signalsOff returns the recorder's providers, complete and with each signal off in turn.
func (r *recorder) signalsOff() map[string]telemetry.Providers {
	off := telemetry.Off()
	turn := map[string]telemetry.Providers{"all on": r.Providers, "all off": off}
	for name, change := range map[string]func(*telemetry.Providers){
		"traces off":      func(p *telemetry.Providers) { p.TracerProvider = off.TracerProvider },
		"metrics off":     func(p *telemetry.Providers) { p.MeterProvider = off.MeterProvider },
		"events off":      func(p *telemetry.Providers) { p.LoggerProvider = off.LoggerProvider },
		"propagation off": func(p *telemetry.Providers) { p.Propagator = off.Propagator },
	} {
		p := r.Providers
		change(&p)
		turn[name] = p
	}
	return turn
}

// forwarding returns a service that forwards unary calls and streams with all received metadata, as a proxy does.
func forwarding(to testpb.TestServiceClient, seen func(context.Context)) *service {
	forward := func(ctx context.Context) error {
		seen(ctx)
		md, _ := metadata.FromIncomingContext(ctx)
		_, err := to.UnaryCall(metadata.NewOutgoingContext(ctx, md), &testpb.SimpleRequest{})
		return err
	}
	return &service{
		unary: func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
			return &testpb.SimpleResponse{}, forward(ctx)
		},
		duplex: func(stream testpb.TestService_FullDuplexCallServer) error { return forward(stream.Context()) },
	}
}

// strangersContext returns the context of an untrusted caller with trace context and baggage.
func strangersContext(ctx context.Context, parent string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "traceparent", parent, "tracestate", "stranger=1", "baggage", "tenant=admin", "kept", "yes")
}

// callBoth makes a unary call and a stream to the pair.
func callBoth(t *testing.T, ctx context.Context, pair peerPair) {
	t.Helper()
	if _, err := pair.UnaryCall(ctx, &testpb.SimpleRequest{}); err != nil {
		t.Fatal(err)
	}
	stream, err := pair.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = stream.Recv() // the end
}

// Whichever signal is off, an untrusted caller's trace context and baggage reach neither the handler of a public server nor the
// services behind it. This holds whether or not the server's proxy uses this package's client.
func TestPublicKeepsStrangersOut(t *testing.T) {
	for name, p := range newRecorder().signalsOff() {
		for _, parent := range []string{traceparent, "garbage"} {
			for _, ours := range []bool{true, false} {
				got := make(chan arrival, 2)
				var with setup
				if ours {
					with.client = &osgrpc.Options{Telemetry: p}
				}
				inner := connect(t, arriving(got), with)
				handled := 0
				edge := connect(t, forwarding(inner, func(ctx context.Context) {
					handled++
					a := arrivalOf(ctx)
					if a.bag.Len() > 0 || a.span.TraceID().String() == traceparent[3:35] {
						t.Errorf("%s: the handler has the baggage %q and is in the trace %s", name, a.bag, a.span.TraceID())
					}
				}), setup{server: &osgrpc.Options{Telemetry: p, Public: true, NoRecovery: true}})
				callBoth(t, strangersContext(t.Context(), parent), edge)
				if handled != 2 {
					t.Fatalf("%s: the handlers were called %d times, want 2", name, handled)
				}
				for range 2 {
					md := (<-got).md
					if len(md.Get("kept")) != 1 {
						t.Errorf("%s: the metadata that is no business of ours is %v", name, md)
					}
					if len(md.Get("tracestate")) > 0 || len(md.Get("baggage")) > 0 || strings.Contains(strings.Join(md.Get("traceparent"), ""), traceparent[3:35]) ||
						len(md.Get("traceparent")) > 0 && md.Get("traceparent")[0] == "garbage" {
						t.Errorf("%s: the inner service got %v", name, md)
					}
				}
			}
		}
	}
}

// The client's fields replace everything that a proxy forwarded, even where there are fewer.
func TestClientReplacesWhatWasForwarded(t *testing.T) {
	for name, p := range newRecorder().signalsOff() {
		got := make(chan arrival, 2)
		pair := connect(t, arriving(got), setup{client: &osgrpc.Options{Telemetry: p}})
		if _, err := pair.UnaryCall(strangersContext(t.Context(), traceparent), &testpb.SimpleRequest{}); err != nil {
			t.Fatal(err)
		}
		md := (<-got).md
		stale := len(md.Get("tracestate")) > 0 || len(md.Get("baggage")) > 0
		if propagates := len(p.TextMapPropagator().Fields()) > 0; stale == propagates {
			t.Errorf("%s: %v arrived", name, md)
		}
	}
}
