package osgrpc_test

import (
	"context"
	"maps"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"

	"github.com/go-os/go-os/middleware/osgrpc"
)

// arrival is the data that a handler received.
type arrival struct {
	md   metadata.MD
	span trace.SpanContext
	bag  baggage.Baggage
}

func arrivalOf(ctx context.Context) arrival {
	md, _ := metadata.FromIncomingContext(ctx)
	return arrival{md, trace.SpanContextFromContext(ctx), baggage.FromContext(ctx)}
}

func arriving(to chan<- arrival) *service {
	return &service{unary: func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		to <- arrivalOf(ctx)
		return &testpb.SimpleResponse{}, nil
	}}
}

func TestCallersMetadataIsLeftAlone(t *testing.T) {
	server, client := newRecorder(), newRecorder()
	got := make(chan arrival, 1)
	pair := connect(t, arriving(got), observed(server, client))

	member, err := baggage.NewMember("tenant", "42")
	if err != nil {
		t.Fatal(err)
	}
	bag, err := baggage.New(member)
	if err != nil {
		t.Fatal(err)
	}
	// A proxy that forwards all metadata forwards the trace context of the call it received, which is not this call's.
	md := metadata.Pairs("traceparent", traceparent, "color", "red", "color", "blue", "blob-bin", "\x00\xff")
	before := md.Copy()
	ctx := metadata.AppendToOutgoingContext(metadata.NewOutgoingContext(t.Context(), md), "late", "yes")
	if _, err := pair.UnaryCall(baggage.ContextWithBaggage(ctx, bag), &testpb.SimpleRequest{}); err != nil {
		t.Fatal(err)
	}
	if !maps.EqualFunc(md, before, func(a, b []string) bool { return strings.Join(a, "|") == strings.Join(b, "|") }) {
		t.Errorf("the caller's metadata became %v, was %v", md, before)
	}
	a := <-got
	for key, want := range map[string]string{"color": "red|blue", "blob-bin": "\x00\xff", "late": "yes", "baggage": "tenant=42"} {
		if have := strings.Join(a.md[key], "|"); have != want {
			t.Errorf("the handler got %s = %q, want %q", key, have, want)
		}
	}
	if a.bag.Member("tenant").Value() != "42" {
		t.Errorf("the handler's baggage is %v", a.bag)
	}
	sent := client.span(t).SpanContext()
	if want := "00-" + sent.TraceID().String() + "-" + sent.SpanID().String() + "-01"; len(a.md["traceparent"]) != 1 || a.md["traceparent"][0] != want {
		t.Errorf("traceparent %q arrived, want only %q", a.md["traceparent"], want)
	}
	if server.span(t).Parent().SpanID() != sent.SpanID() {
		t.Error("the server's span is not the child of the client's")
	}
}

// TestContextPassesThroughWithoutSpans checks that a service without spans of its own does not cut the trace.
func TestContextPassesThroughWithoutSpans(t *testing.T) {
	server := newRecorder()
	got := make(chan arrival, 2)
	second := connect(t, arriving(got), setup{server: &osgrpc.Options{Telemetry: server.Providers}})
	middle := newRecorder().Providers
	middle.TracerProvider = tracenoop.NewTracerProvider()
	out := connect(t, arriving(got), setup{
		server:      &osgrpc.Options{Telemetry: middle},
		dialOptions: osgrpc.DialOptions(&osgrpc.Options{Telemetry: middle}),
		serverOptions: []grpc.ServerOption{grpc.ChainUnaryInterceptor(
			func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
				if _, err := second.UnaryCall(withContextOf(ctx, middle.TextMapPropagator()), &testpb.SimpleRequest{}); err != nil {
					return nil, err
				}
				return h(ctx, req)
			})},
	})
	ctx := middle.Propagator.Extract(t.Context(), propagation.MapCarrier{"traceparent": traceparent})
	if _, err := out.UnaryCall(ctx, &testpb.SimpleRequest{}); err != nil {
		t.Fatal(err)
	}
	<-got
	if a := <-got; a.span.SpanID().String() != "b7ad6b7169203331" || !a.span.IsRemote() {
		t.Errorf("the handler without spans sees %v, want the caller's span", a.span)
	}
	if got := server.span(t).SpanContext().TraceID().String(); got != "0af7651916cd43dd8448eb211c80319c" {
		t.Errorf("the second service is in the trace %s, want the caller's", got)
	}
}

// withContextOf does the work of the client's interceptor, for a client without it.
func withContextOf(ctx context.Context, p propagation.TextMapPropagator) context.Context {
	carrier := propagation.MapCarrier{}
	p.Inject(ctx, carrier)
	for k, v := range carrier {
		ctx = metadata.AppendToOutgoingContext(ctx, k, v)
	}
	return ctx
}

func TestPublicServersBeginTheirOwnTrace(t *testing.T) {
	server := newRecorder()
	got := make(chan arrival, 1)
	pair := connect(t, arriving(got), setup{server: &osgrpc.Options{Telemetry: server.Providers, Public: true}})
	ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", traceparent, "baggage", "admin=true")
	if _, err := pair.UnaryCall(ctx, &testpb.SimpleRequest{}); err != nil {
		t.Fatal(err)
	}
	span := server.span(t)
	if span.Parent().IsValid() || span.SpanContext().TraceID().String() == "0af7651916cd43dd8448eb211c80319c" {
		t.Errorf("the span continues the caller's trace: parent %v", span.Parent())
	}
	if links := span.Links(); len(links) != 1 || links[0].SpanContext.SpanID().String() != "b7ad6b7169203331" {
		t.Errorf("the span's links are %v, want the caller's span", links)
	}
	if a := <-got; a.bag.Len() != 0 {
		t.Errorf("the handler's baggage is %v, want none", a.bag)
	}
}

// broken writes pairs that gRPC refuses to send.
type broken struct{ propagation.TraceContext }

func (b broken) Inject(ctx context.Context, c propagation.TextMapCarrier) {
	b.TraceContext.Inject(ctx, c)
	c.Set("", "empty key")
	c.Set("ключ", "not ASCII")
	c.Set("new\nline", "x")
	c.Set("value", "line\nbreak")
	c.Set("unicode", "świat")
	c.Set("trace-bin", "binary")
	c.Set("grpc-timeout", "1n")
	c.Set(":authority", "evil")
	c.Set("Upper-Case", "kept")
}

func TestPropagatorsCannotBreakCalls(t *testing.T) {
	server, client := newRecorder(), newRecorder()
	client.Propagator = broken{}
	got := make(chan arrival, 1)
	pair := connect(t, arriving(got), observed(server, client))
	if _, err := pair.UnaryCall(t.Context(), &testpb.SimpleRequest{}); err != nil {
		t.Fatal(err)
	}
	a := <-got
	if a.md.Get("upper-case") == nil || a.md.Get("traceparent") == nil {
		t.Errorf("the good pairs did not arrive: %v", map[string][]string(a.md))
	}
	for _, key := range []string{"value", "unicode", "trace-bin", "grpc-timeout"} {
		if a.md.Get(key) != nil {
			t.Errorf("%s arrived: %q", key, a.md.Get(key))
		}
	}
}

// binary reads a context from binary metadata, as OpenCensus did.
type binary struct{ read *string }

func (b binary) Inject(context.Context, propagation.TextMapCarrier) {}
func (b binary) Fields() []string                                   { return []string{"grpc-trace-bin"} }
func (b binary) Extract(ctx context.Context, c propagation.TextMapCarrier) context.Context {
	*b.read = c.Get("grpc-trace-bin") + c.Get("Grpc-Trace-BIN")
	for _, key := range c.Keys() {
		if strings.HasSuffix(key, "-bin") {
			*b.read += key
		}
	}
	return ctx
}

func TestBinaryMetadataIsIgnored(t *testing.T) {
	server, read := newRecorder(), "unread"
	server.Propagator = binary{&read}
	pair := connect(t, &service{}, setup{server: &osgrpc.Options{Telemetry: server.Providers}})
	ctx := metadata.AppendToOutgoingContext(t.Context(), "grpc-trace-bin", "\x00\x01\x02")
	if _, err := pair.UnaryCall(ctx, &testpb.SimpleRequest{}); err != nil {
		t.Fatal(err)
	}
	if read != "" {
		t.Errorf("the propagator read %q", read)
	}
}

// TestRepeatedHeaders checks that several tracestate lines are one list, and that two parents are none.
func TestRepeatedHeaders(t *testing.T) {
	server := newRecorder()
	pair := connect(t, &service{}, setup{server: &osgrpc.Options{Telemetry: server.Providers}})
	for _, md := range []metadata.MD{
		metadata.Pairs("traceparent", traceparent, "tracestate", "a=1", "tracestate", "b=2"),
		metadata.Pairs("traceparent", traceparent, "traceparent", traceparent),
	} {
		if _, err := pair.UnaryCall(metadata.NewOutgoingContext(t.Context(), md), &testpb.SimpleRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "both spans to end", func() bool { return len(server.spans.Ended()) == 2 })
	if got := server.spans.Ended()[0].Parent().TraceState().String(); got != "a=1,b=2" {
		t.Errorf("tracestate = %q, want a=1,b=2", got)
	}
	if parent := server.spans.Ended()[1].Parent(); parent.IsValid() {
		t.Errorf("a repeated traceparent gave the parent %v, want none", parent)
	}
}

// FuzzPropagation sends any trace context and baggage that gRPC can carry. The call works, and invalid context begins a new
// trace.
func FuzzPropagation(f *testing.F) {
	for _, seed := range [][3]string{
		{traceparent, "vendor=value", "k=v;p"},
		{"", "", ""},
		{"00-00000000000000000000000000000000-0000000000000000-01", "", ""},
		{"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "a=1", "=;,=%"},
		{"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331", "=", "%zz=%zz"},
		{"00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01", strings.Repeat("a=1,", 600), strings.Repeat("k=v,", 9000)},
		{traceparent + "-extra", "k\x00=v", "k=\xff"},
		{"01" + traceparent[2:] + "-more", "a=b,a=b", strings.Repeat("x", 9000)},
		{strings.Repeat("0", 9000), "\x7f", " , ,"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	server := newRecorder()
	got := make(chan arrival, 1)
	pair := connect(f, arriving(got), setup{server: &osgrpc.Options{Telemetry: server.Providers}})
	f.Fuzz(func(t *testing.T, parent, state, bag string) {
		for _, v := range []string{parent, state, bag} {
			if strings.ContainsFunc(v, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
				t.Skip("gRPC does not send it")
			}
		}
		ctx := metadata.NewOutgoingContext(t.Context(), metadata.Pairs("traceparent", parent, "tracestate", state, "baggage", bag))
		if _, err := pair.UnaryCall(ctx, &testpb.SimpleRequest{}); err != nil {
			t.Fatal(err)
		}
		a := <-got
		if !a.span.IsValid() {
			t.Fatal("the call has no span")
		}
		want := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": strings.TrimSpace(parent), "tracestate": strings.TrimSpace(state)})
		if sc := trace.SpanContextFromContext(want); sc.IsValid() != (a.span.TraceID() == sc.TraceID()) {
			t.Errorf("traceparent %q: the call is in the trace %s", parent, a.span.TraceID())
		}
		if parent == traceparent && a.span.TraceID().String() != traceparent[3:35] {
			t.Error("a good trace context was not continued")
		}
	})
}
