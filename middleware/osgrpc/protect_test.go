package osgrpc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/log"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/internal/option/optiontest"
	"github.com/go-os/go-os/middleware/osgrpc"
	"github.com/go-os/go-os/telemetry"
)

func TestPanicBecomesInternal(t *testing.T) {
	errBoom := errors.New("secret of the database")
	server, client := newRecorder(), newRecorder()
	pair := connect(t, &service{unary: func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		panic(errBoom)
	}}, observed(server, client))
	_, err := pair.UnaryCall(t.Context(), &testpb.SimpleRequest{})
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "secret") {
		t.Fatalf("the client got %v, want Internal without the panic's value", err)
	}
	span := server.span(t)
	if got := span.Status(); got.Code != otelcodes.Error || got.Description != "panic: secret of the database" {
		t.Errorf("the span's status is %v", got)
	}
	if got := attrs(span.Attributes())[semconv.ErrorTypeKey]; got != "INTERNAL" {
		t.Errorf("error.type = %q, want INTERNAL", got)
	}
	if _, points := server.histogram(t, "rpc.server.call.duration"); len(points) != 1 || points[0].Count != 1 {
		t.Errorf("the histogram has %v, want one call", points)
	}

	records := server.records()
	if len(records) != 1 {
		t.Fatalf("%d events, want 1", len(records))
	}
	event := records[0]
	if event.EventName != "rpc.server.call.exception" || event.Severity != log.SeverityError {
		t.Errorf("event %q of severity %v, want rpc.server.call.exception of severity error", event.EventName, event.Severity)
	}
	if !errors.Is(event.Error, errBoom) {
		t.Errorf("the event's error is %v, want the panic's value", event.Error)
	}
	got := attrs(event.Attributes)
	if got[semconv.RPCMethodKey] != unaryMethod || got[semconv.RPCSystemNameKey] != "grpc" {
		t.Errorf("the event has %v, want the method", got)
	}
	if stack := got[semconv.ExceptionStacktraceKey]; !strings.Contains(stack, "TestPanicBecomesInternal") {
		t.Errorf("the stack does not name the function that panicked:\n%s", stack)
	}
}

// TestPanicsAreRecoveredWithoutTelemetry checks that neither the filter nor disabled telemetry removes the
// protection.
func TestPanicsAreRecoveredWithoutTelemetry(t *testing.T) {
	for name, options := range map[string]*osgrpc.Options{
		"filtered": {Telemetry: newRecorder().Providers, Filter: func(string) bool { return false }},
		"off":      {Telemetry: telemetry.Off()},
	} {
		t.Run(name, func(t *testing.T) {
			pair := connect(t, &service{
				unary:  func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) { panic("unary") },
				duplex: func(testpb.TestService_FullDuplexCallServer) error { panic("stream") },
			}, setup{server: options})
			if _, err := pair.UnaryCall(t.Context(), &testpb.SimpleRequest{}); status.Code(err) != codes.Internal {
				t.Errorf("unary call: %v, want Internal", err)
			}
			stream, err := pair.FullDuplexCall(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); status.Code(err) != codes.Internal {
				t.Errorf("stream: %v, want Internal", err)
			}
		})
	}
}

// TestFilteredPanicsNameTheirMethod checks that the panic of an unobserved call is reported with its method.
func TestFilteredPanicsNameTheirMethod(t *testing.T) {
	server := newRecorder()
	pair := connect(t, &service{
		unary: func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) { panic("bug") },
	}, setup{server: &osgrpc.Options{Telemetry: server.Providers, Filter: func(string) bool { return false }}})
	_, _ = pair.UnaryCall(t.Context(), &testpb.SimpleRequest{})
	pair.server.GracefulStop()
	records := server.records()
	if len(records) != 1 || attrs(records[0].Attributes)[semconv.RPCMethodKey] != unaryMethod {
		t.Errorf("events %v, want one with the method", records)
	}
}

// TestNegativeOptions checks that a negative number is reported once, and that the default is used.
func TestNegativeOptions(t *testing.T) {
	for field, opts := range map[string]osgrpc.Options{
		"Timeout": {Timeout: -time.Second}, "DefaultTimeout": {DefaultTimeout: -1}, "MaxConcurrent": {MaxConcurrent: -1},
	} {
		opts.Telemetry, opts.NoRecovery = telemetry.Off(), true
		optiontest.Reports(t, "osgrpc.Options."+field, func() {
			if n := len(osgrpc.ServerOptions(&opts)); n != 0 {
				t.Errorf("%s: %d server options, want none as by default", field, n)
			}
		})
	}
}

// TestPanicsAreToldOnce expects an event if events are enabled, and otherwise a log line.
func TestPanicsAreToldOnce(t *testing.T) {
	for _, c := range []struct {
		name         string
		events       bool
		lines, taken int
	}{
		{"events taken", true, 0, 1},
		{"events off", false, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			r := newRecorder()
			r.Logger = slog.New(slog.NewTextHandler(&out, nil))
			if !c.events {
				r.LoggerProvider = telemetry.Off().LoggerProvider
			}
			pair := connect(t, &service{
				unary: func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) { panic("boom") },
			}, setup{server: &osgrpc.Options{Telemetry: r.Providers}})
			_, _ = pair.UnaryCall(t.Context(), &testpb.SimpleRequest{})
			r.span(t)
			if n := strings.Count(out.String(), "panic in gRPC handler"); n != c.lines || len(r.records()) != c.taken {
				t.Errorf("%d lines and %d events, want %d and %d:\n%s", n, len(r.records()), c.lines, c.taken, &out)
			}
			if c.lines > 0 && !(strings.Contains(out.String(), "event=rpc.server.call.exception") && strings.Contains(out.String(), "exception.message=boom") && strings.Contains(out.String(), "rpc.method=grpc.testing.TestService/UnaryCall")) {
				t.Errorf("the line does not tell what panicked, and where: %s", &out)
			}
		})
	}
}

// remaining answers with the time that a handler has left, in milliseconds: 0 if without limit.
func remaining(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	left := time.Duration(0)
	if at, ok := ctx.Deadline(); ok {
		left = time.Until(at)
	}
	return &testpb.SimpleResponse{ServerId: left.String()}, nil
}

func TestDeadlines(t *testing.T) {
	off := telemetry.Off()
	within := func(limit time.Duration) func(time.Duration) bool {
		return func(left time.Duration) bool { return left > limit-20*time.Second && left <= limit }
	}
	none := func(left time.Duration) bool { return left == 0 }
	tests := []struct {
		name           string
		server, client *osgrpc.Options
		caller         time.Duration // the deadline of the call itself; 0: none
		want           func(time.Duration) bool
	}{
		{"none at all", nil, nil, 0, none},
		{"gRPC passes the caller's on", nil, nil, time.Minute, within(time.Minute)},
		{"the server's default", &osgrpc.Options{Telemetry: off, DefaultTimeout: time.Minute}, nil, 0, within(time.Minute)},
		{"the caller's is not the default", &osgrpc.Options{Telemetry: off, DefaultTimeout: time.Minute}, nil, time.Hour, within(time.Hour)},
		{"the server's limit", &osgrpc.Options{Telemetry: off, Timeout: time.Minute}, nil, time.Hour, within(time.Minute)},
		{"the server's limit is the default", &osgrpc.Options{Telemetry: off, Timeout: time.Minute}, nil, 0, within(time.Minute)},
		{"a default over the limit", &osgrpc.Options{Telemetry: off, DefaultTimeout: time.Hour, Timeout: time.Minute}, nil, 0, within(time.Minute)},
		{"below the limit", &osgrpc.Options{Telemetry: off, Timeout: time.Hour}, nil, time.Minute, within(time.Minute)},
		{"the client's default", nil, &osgrpc.Options{Telemetry: off, DefaultTimeout: time.Minute}, 0, within(time.Minute)},
		{"the client's limit", nil, &osgrpc.Options{Telemetry: off, Timeout: time.Minute}, time.Hour, within(time.Minute)},
		{"filtered out", &osgrpc.Options{Telemetry: off, Timeout: time.Minute, Filter: func(string) bool { return false }}, nil, 0, none},
		{"negative", &osgrpc.Options{Telemetry: off, DefaultTimeout: -1, Timeout: -1}, nil, 0, none},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			pair := connect(t, &service{unary: remaining}, setup{server: test.server, client: test.client})
			ctx := t.Context()
			if test.caller > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, test.caller)
				defer cancel()
			}
			resp, err := pair.UnaryCall(ctx, &testpb.SimpleRequest{})
			if err != nil {
				t.Fatal(err)
			}
			left, err := time.ParseDuration(resp.GetServerId())
			if err != nil || !test.want(left) {
				t.Errorf("the handler has %v left (%v)", left, err)
			}
		})
	}
}

func TestDeadlineEndsTheCall(t *testing.T) {
	server := newRecorder()
	pair := connect(t, &service{unary: func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}, setup{server: &osgrpc.Options{Telemetry: server.Providers, Timeout: 5 * time.Millisecond}})
	_, err := pair.UnaryCall(t.Context(), &testpb.SimpleRequest{})
	if status.Code(err) != codes.DeadlineExceeded {
		t.Fatalf("the client got %v, want DeadlineExceeded", err)
	}
	span := server.span(t)
	if got := attrs(span.Attributes())[semconv.ErrorTypeKey]; got != "DEADLINE_EXCEEDED" || span.Status().Code != otelcodes.Error {
		t.Errorf("error.type = %q and status %v, want DEADLINE_EXCEEDED and an error", got, span.Status())
	}
}

func TestStreamsHaveNoDeadlineOfOurs(t *testing.T) {
	bounded := make(chan bool, 1)
	options := &osgrpc.Options{Telemetry: telemetry.Off(), DefaultTimeout: time.Minute, Timeout: time.Minute}
	pair := connect(t, &service{duplex: func(stream testpb.TestService_FullDuplexCallServer) error {
		_, ok := stream.Context().Deadline()
		bounded <- ok
		return nil
	}}, setup{server: options, client: options})
	stream, err := pair.FullDuplexCall(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != io.EOF {
		t.Fatal(err)
	}
	if <-bounded {
		t.Error("the stream has a deadline")
	}
}

func TestMaxConcurrent(t *testing.T) {
	const limit = 3
	server := newRecorder()
	entered, release := make(chan struct{}), make(chan struct{})
	pair := connect(t, &service{
		unary: func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
			entered <- struct{}{}
			<-release
			return &testpb.SimpleResponse{}, nil
		},
		duplex: func(stream testpb.TestService_FullDuplexCallServer) error {
			entered <- struct{}{}
			<-release
			return nil
		},
	}, setup{server: &osgrpc.Options{Telemetry: server.Providers, MaxConcurrent: limit}})

	done := make(chan error, limit)
	for range limit - 1 {
		go func() {
			_, err := pair.UnaryCall(t.Context(), &testpb.SimpleRequest{})
			done <- err
		}()
	}
	go func() {
		stream, err := pair.FullDuplexCall(t.Context())
		if err == nil {
			if _, err = stream.Recv(); err == io.EOF {
				err = nil
			}
		}
		done <- err
	}()
	for range limit {
		<-entered
	}
	for range 2 * limit { // a refused call takes no place
		if _, err := pair.UnaryCall(t.Context(), &testpb.SimpleRequest{}); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("unary call over the limit: %v, want ResourceExhausted", err)
		}
	}
	stream, err := pair.FullDuplexCall(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("stream over the limit: %v, want ResourceExhausted", err)
	}
	// Health checks pass: a busy instance is not unhealthy.
	if _, err := healthpb.NewHealthClient(pair.conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
		t.Errorf("health check over the limit: %v", err)
	}
	close(release)
	for range limit {
		if err := <-done; err != nil {
			t.Errorf("call under the limit: %v", err)
		}
	}
	go func() { <-entered }()
	if _, err := pair.UnaryCall(t.Context(), &testpb.SimpleRequest{}); err != nil {
		t.Errorf("call after the others ended: %v", err)
	}
	counts := map[string]uint64{}
	eventually(t, "all calls to be counted", func() bool {
		_, points := server.histogram(t, "rpc.server.call.duration")
		clear(counts)
		total := uint64(0)
		for _, p := range points {
			total += p.Count
			code, _ := p.Attributes.Value(semconv.RPCResponseStatusCodeKey)
			counts[code.AsString()] += p.Count
		}
		return total == limit+1+2*limit+1
	})
	if counts["OK"] != limit+1 || counts["RESOURCE_EXHAUSTED"] != 2*limit+1 {
		t.Errorf("calls by code are %v, want %d OK and %d RESOURCE_EXHAUSTED", counts, limit+1, 2*limit+1)
	}
}

// TestPlacesAreGivenBack checks that a panic and an error release their places.
func TestPlacesAreGivenBack(t *testing.T) {
	calls := 0
	pair := connect(t, &service{unary: func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		if calls++; calls%2 == 0 {
			panic("boom")
		}
		return nil, status.Error(codes.NotFound, "none")
	}}, setup{server: &osgrpc.Options{Telemetry: telemetry.Off(), MaxConcurrent: 1}})
	for n := range 6 {
		want := []codes.Code{codes.NotFound, codes.Internal}[n%2]
		if _, err := pair.UnaryCall(t.Context(), &testpb.SimpleRequest{}); status.Code(err) != want {
			t.Fatalf("call %d: %v, want %v", n, err, want)
		}
	}
}

func TestFilter(t *testing.T) {
	check := func(t *testing.T, filter func(string) bool, want int) {
		t.Helper()
		server, client := newRecorder(), newRecorder()
		with := observed(server, client)
		with.server.Filter, with.client.Filter = filter, filter
		pair := connect(t, &service{}, with)
		hc := healthpb.NewHealthClient(pair.conn)
		if _, err := hc.Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		watch, err := hc.Watch(ctx, &healthpb.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := watch.Recv(); err != nil {
			t.Fatal(err)
		}
		cancel()
		if _, err := watch.Recv(); status.Code(err) != codes.Canceled {
			t.Fatal(err)
		}
		pair.server.GracefulStop()
		for name, r := range map[string]*recorder{"server": server, "client": client} {
			_, points := r.histogram(t, "rpc."+name+".call.duration")
			if len(r.spans.Ended()) != want || len(r.spans.Started()) != want || len(points) != want {
				t.Errorf("%s: %d spans and %d points, want %d", name, len(r.spans.Ended()), len(points), want)
			}
		}
	}
	t.Run("health checks are left out", func(t *testing.T) { check(t, nil, 0) })
	t.Run("unless asked for", func(t *testing.T) { check(t, osgrpc.Everything, 2) })
}

func TestSwitches(t *testing.T) {
	call := func(t *testing.T, change func(*osgrpc.Options)) (server, client *recorder) {
		server, client = newRecorder(), newRecorder()
		with := observed(server, client)
		change(with.server)
		change(with.client)
		pair := connect(t, &service{}, with)
		if _, err := pair.UnaryCall(t.Context(), &testpb.SimpleRequest{}); err != nil {
			t.Fatal(err)
		}
		pair.server.GracefulStop()
		return server, client
	}
	t.Run("no spans", func(t *testing.T) {
		server, client := call(t, func(o *osgrpc.Options) { o.Telemetry.TracerProvider = telemetry.Off().TracerProvider })
		for name, r := range map[string]*recorder{"server": server, "client": client} {
			if _, points := r.histogram(t, "rpc."+name+".call.duration"); len(r.spans.Started()) != 0 || len(points) != 1 {
				t.Errorf("%s: %d spans and %d points, want 0 and 1", name, len(r.spans.Started()), len(points))
			}
		}
	})
	t.Run("no metrics", func(t *testing.T) {
		server, client := call(t, func(o *osgrpc.Options) { o.Telemetry.MeterProvider = telemetry.Off().MeterProvider })
		for name, r := range map[string]*recorder{"server": server, "client": client} {
			if _, points := r.histogram(t, "rpc."+name+".call.duration"); len(r.spans.Ended()) != 1 || len(points) != 0 {
				t.Errorf("%s: %d spans and %d points, want 1 and 0", name, len(r.spans.Ended()), len(points))
			}
		}
	})
}

func TestOffInstallsNothing(t *testing.T) {
	off := &osgrpc.Options{Telemetry: telemetry.Off(), NoRecovery: true}
	if n := len(osgrpc.ServerOptions(off)); n != 0 {
		t.Errorf("%d server options, want none", n)
	}
	if n := len(osgrpc.DialOptions(off)); n != 0 {
		t.Errorf("%d dial options, want none", n)
	}
	// Each protection alone needs the interceptors. Without telemetry, no handler of unknown methods is needed.
	for name, o := range map[string]osgrpc.Options{
		"recovery": {}, "timeout": {NoRecovery: true, Timeout: 1}, "limit": {NoRecovery: true, MaxConcurrent: 1},
	} {
		o.Telemetry = telemetry.Off()
		if n := len(osgrpc.ServerOptions(&o)); n != 2 {
			t.Errorf("%s: %d server options, want the 2 interceptors", name, n)
		}
	}
	if n := len(osgrpc.ServerOptions(nil)); n != 3 {
		t.Errorf("nil options give %d server options, want 3", n)
	}
	if n := len(osgrpc.DialOptions(nil)); n != 2 {
		t.Errorf("nil options give %d dial options, want 2", n)
	}
}

// TestOtherInterceptorsRunInside checks that their errors and panics are seen, and that the chain stays whole.
func TestOtherInterceptorsRunInside(t *testing.T) {
	server := newRecorder()
	pair := connect(t, &service{}, setup{
		server: &osgrpc.Options{Telemetry: server.Providers},
		serverOptions: []grpc.ServerOption{grpc.ChainUnaryInterceptor(
			func(context.Context, any, *grpc.UnaryServerInfo, grpc.UnaryHandler) (any, error) {
				return nil, status.Error(codes.Unauthenticated, "who are you?")
			})},
	})
	if _, err := pair.UnaryCall(t.Context(), &testpb.SimpleRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Fatalf("the client got %v, want Unauthenticated", err)
	}
	if got := attrs(server.span(t).Attributes())[semconv.RPCResponseStatusCodeKey]; got != "UNAUTHENTICATED" {
		t.Errorf("rpc.response.status_code = %q, want UNAUTHENTICATED", got)
	}
}
