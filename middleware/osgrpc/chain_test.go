package osgrpc_test

import (
	"context"
	"maps"
	"testing"

	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"

	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/control/router/shed"
	"github.com/go-os/go-os/middleware/osgrpc"
	"github.com/go-os/go-os/telemetry"
)

// link is what a handler learns of a call.
type link struct {
	labels   map[string]string
	priority shed.Priority
	retries  bool
	metadata metadata.MD
}

// linking returns a service that records the links of its unary calls, and passes them on to another one if there is one.
func linking(to *testpb.TestServiceClient, seen chan<- link) *service {
	return &service{unary: func(ctx context.Context, r *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		a := link{labels: router.LabelsFrom(ctx), retries: router.RetriesAllowed(ctx)}
		a.priority, _ = shed.PriorityFrom(ctx)
		a.metadata, _ = metadata.FromIncomingContext(ctx)
		seen <- a
		if to != nil {
			return (*to).UnaryCall(ctx, r)
		}
		return &testpb.SimpleResponse{}, nil
	}}
}

func allowlist(t *testing.T, names ...string) *router.Allowlist {
	t.Helper()
	list, err := router.NewAllowlist(names...)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestChain passes labels, the priority and the mark of a retry on to the services behind a service.
func TestChain(t *testing.T) {
	f := newFleet(t)
	seen := make(chan link, 1)
	f.serve("back", "b", linking(nil, seen), osgrpc.ServerOptions(&osgrpc.Options{Telemetry: telemetry.Off(), Labels: allowlist(t, "tenant", "version")})...)
	client := f.dial("os:///back", osgrpc.DiscoveryOptions{Router: f.router(router.Policy{})})
	front := make(chan link, 1)
	pair := connect(t, linking(&client, front), setup{server: &osgrpc.Options{Telemetry: telemetry.Off(), Labels: allowlist(t, "tenant")}})
	tests := map[string]struct {
		sent metadata.MD
		want link
	}{
		"nothing": {nil, link{retries: true}},
		"first":   {metadata.Pairs("goos-attempt", "1"), link{retries: true}},
		"all": {
			metadata.Pairs("x-micro-label-tenant", "acme", "x-micro-label-version", "2", "goos-priority", "high", "goos-attempt", "2"),
			link{labels: map[string]string{"tenant": "acme"}, priority: shed.High},
		},
		"exempt": {metadata.Pairs("goos-priority", "exempt"), link{retries: true}},
		"twice":  {metadata.Pairs("goos-priority", "high", "goos-priority", "low"), link{retries: true}},
	}
	for name, test := range tests {
		if _, err := pair.UnaryCall(metadata.NewOutgoingContext(t.Context(), test.sent), &testpb.SimpleRequest{}); err != nil {
			t.Fatal(err)
		}
		for at, got := range map[string]link{"front": <-front, "back": <-seen} {
			if !maps.Equal(got.labels, test.want.labels) || got.priority != test.want.priority || got.retries != test.want.retries {
				t.Errorf("%s: %s has %+v, want %+v", name, at, got, test.want)
			}
		}
	}
}

// TestChainOfStrangers takes listed labels alone from callers that are not trusted, and passes nothing else on.
func TestChainOfStrangers(t *testing.T) {
	seen := make(chan link, 1)
	pair := connect(t, linking(nil, seen), setup{server: &osgrpc.Options{Telemetry: telemetry.Off(), Public: true, Labels: allowlist(t, "tenant")}})
	sent := metadata.Pairs("x-micro-label-tenant", "acme", "x-micro-label-version", "2", "goos-priority", "critical", "goos-attempt", "2", "kept", "yes")
	if _, err := pair.UnaryCall(metadata.NewOutgoingContext(t.Context(), sent), &testpb.SimpleRequest{}); err != nil {
		t.Fatal(err)
	}
	got := <-seen
	if !maps.Equal(got.labels, map[string]string{"tenant": "acme"}) || got.priority != shed.Normal || !got.retries {
		t.Errorf("%+v, want the listed label alone", got)
	}
	for key := range sent {
		if kept := len(got.metadata[key]) > 0; kept != (key == "kept") {
			t.Errorf("metadata %s: kept %v", key, kept)
		}
	}
}
