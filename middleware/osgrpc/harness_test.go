package osgrpc_test

import (
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log/logtest"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/test/bufconn"

	"github.com/go-os/go-os/middleware/osgrpc"
	"github.com/go-os/go-os/telemetry"
)

// recorder is a set of providers that keep all telemetry.
type recorder struct {
	spans  *tracetest.SpanRecorder
	reader *sdkmetric.ManualReader
	events *logtest.Recorder
	telemetry.Providers
}

func newRecorder() *recorder {
	r := &recorder{spans: tracetest.NewSpanRecorder(), reader: sdkmetric.NewManualReader(), events: logtest.NewRecorder()}
	r.Providers = telemetry.Providers{
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r.spans)),
		MeterProvider:  sdkmetric.NewMeterProvider(sdkmetric.WithReader(r.reader)),
		LoggerProvider: r.events,
		Propagator:     propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}),
		Logger:         telemetry.Off().Logger,
	}
	return r
}

// span waits for the only span that ends.
func (r *recorder) span(t testing.TB) sdktrace.ReadOnlySpan {
	t.Helper()
	eventually(t, "one span to end", func() bool { return len(r.spans.Ended()) >= 1 })
	if n := len(r.spans.Ended()); n != 1 {
		t.Fatalf("%d spans ended, want 1", n)
	}
	return r.spans.Ended()[0]
}

// histogram returns the points of the histogram of this name, or none.
func (r *recorder) histogram(t testing.TB, name string) (metricdata.Metrics, []metricdata.HistogramDataPoint[float64]) {
	t.Helper()
	var rm metricdata.ResourceMetrics
	if err := r.reader.Collect(t.Context(), &rm); err != nil {
		t.Fatal(err)
	}
	for _, sm := range rm.ScopeMetrics {
		for _, m := range sm.Metrics {
			if m.Name == name {
				return m, m.Data.(metricdata.Histogram[float64]).DataPoints
			}
		}
	}
	return metricdata.Metrics{}, nil
}

// records returns the emitted events.
func (r *recorder) records() []logtest.Record {
	var all []logtest.Record
	for _, records := range r.events.Result() {
		all = append(all, records...)
	}
	return all
}

// eventually waits until cond holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("waited 10 s for %s", what)
		case <-tick.C:
		}
	}
}

func attrs(kvs []attribute.KeyValue) map[attribute.Key]string {
	m := map[attribute.Key]string{}
	for _, kv := range kvs {
		m[kv.Key] = kv.Value.String()
	}
	return m
}

func wantAttrs(t testing.TB, what string, got []attribute.KeyValue, want map[attribute.Key]string) {
	t.Helper()
	have := attrs(got)
	for k, v := range want {
		if have[k] != v {
			t.Errorf("%s: %s = %q, want %q", what, k, have[k], v)
		}
	}
	for k, v := range have {
		if _, ok := want[k]; !ok {
			t.Errorf("%s: unexpected %s = %q", what, k, v)
		}
	}
}

// service is a test service whose handlers are fields. A nil handler echoes.
type service struct {
	testpb.UnimplementedTestServiceServer
	unary  func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error)
	duplex func(testpb.TestService_FullDuplexCallServer) error
}

func (s *service) EmptyCall(context.Context, *testpb.Empty) (*testpb.Empty, error) {
	return &testpb.Empty{}, nil
}

func (s *service) UnaryCall(ctx context.Context, req *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	if s.unary != nil {
		return s.unary(ctx, req)
	}
	return &testpb.SimpleResponse{Payload: req.GetPayload()}, nil
}

func (s *service) StreamingOutputCall(req *testpb.StreamingOutputCallRequest, stream testpb.TestService_StreamingOutputCallServer) error {
	for range req.GetResponseParameters() {
		if err := stream.Send(&testpb.StreamingOutputCallResponse{Payload: req.GetPayload()}); err != nil {
			return err
		}
	}
	return nil
}

func (s *service) StreamingInputCall(stream testpb.TestService_StreamingInputCallServer) error {
	size := 0
	for {
		req, err := stream.Recv()
		if err == io.EOF {
			return stream.SendAndClose(&testpb.StreamingInputCallResponse{AggregatedPayloadSize: int32(size)})
		}
		if err != nil {
			return err
		}
		size += len(req.GetPayload().GetBody())
	}
}

func (s *service) FullDuplexCall(stream testpb.TestService_FullDuplexCallServer) error {
	if s.duplex != nil {
		return s.duplex(stream)
	}
	for {
		req, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&testpb.StreamingOutputCallResponse{Payload: req.GetPayload()}); err != nil {
			return err
		}
	}
}

// peerPair is a server and a connected client.
type peerPair struct {
	testpb.TestServiceClient
	server *grpc.Server
	conn   *grpc.ClientConn
}

// setup configures a pair. Nil options mean that the side is not observed.
type setup struct {
	server, client *osgrpc.Options
	serverOptions  []grpc.ServerOption
	dialOptions    []grpc.DialOption
	listener       net.Listener // nil: in memory
	target         string       // of listener
	register       func(*grpc.Server)
}

func connect(t testing.TB, svc *service, with setup) peerPair {
	t.Helper()
	serverOptions, dialOptions := with.serverOptions, with.dialOptions
	if with.server != nil {
		serverOptions = slices.Concat(osgrpc.ServerOptions(with.server), serverOptions)
	}
	if with.client != nil {
		dialOptions = slices.Concat(osgrpc.DialOptions(with.client), dialOptions)
	}
	dialOptions = append(dialOptions, grpc.WithTransportCredentials(insecure.NewCredentials()))
	listener, target := with.listener, with.target
	if listener == nil {
		buf := bufconn.Listen(1 << 20)
		listener, target = buf, "passthrough:///bufnet"
		dialOptions = append(dialOptions, grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return buf.DialContext(ctx)
		}))
	}
	server := grpc.NewServer(serverOptions...)
	testpb.RegisterTestServiceServer(server, svc)
	healthpb.RegisterHealthServer(server, health.NewServer())
	if with.register != nil {
		with.register(server)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	conn, err := grpc.NewClient(target, dialOptions...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close() // a test may have closed it already
		server.Stop()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return peerPair{testpb.NewTestServiceClient(conn), server, conn}
}

func payload(size int) *testpb.Payload {
	return &testpb.Payload{Body: []byte(strings.Repeat("x", size))}
}
