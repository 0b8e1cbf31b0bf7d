package osgrpc_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/middleware/osgrpc"
	"github.com/go-os/go-os/telemetry"
)

// greeter is the service of the examples.
type greeter struct {
	testpb.UnimplementedTestServiceServer
	greet func(context.Context) error
}

func (g greeter) UnaryCall(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	return &testpb.SimpleResponse{Username: "gopher"}, g.greet(ctx)
}

// start serves g on loopback and connects a client to it. stop closes both.
func start(g greeter, server []grpc.ServerOption, client []grpc.DialOption) (_ testpb.TestServiceClient, stop func()) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	s := grpc.NewServer(server...)
	testpb.RegisterTestServiceServer(s, g)
	go func() {
		if err := s.Serve(listener); err != nil {
			panic(err)
		}
	}()
	conn, err := grpc.NewClient(listener.Addr().String(),
		append(client, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		panic(err)
	}
	return testpb.NewTestServiceClient(conn), func() {
		if err := conn.Close(); err != nil {
			panic(err)
		}
		s.GracefulStop()
	}
}

// One call has a span on each side, in one trace. In a program, exporters.Setup returns the providers.
func Example() {
	spans := tracetest.NewSpanRecorder()
	providers := telemetry.Off()
	providers.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	providers.Propagator = propagation.TraceContext{}
	options := &osgrpc.Options{Telemetry: providers}

	client, stop := start(greeter{greet: func(context.Context) error { return nil }},
		osgrpc.ServerOptions(options), osgrpc.DialOptions(options))
	if _, err := client.UnaryCall(context.Background(), &testpb.SimpleRequest{}); err != nil {
		fmt.Println(err)
	}
	stop()

	for _, span := range spans.Ended() {
		fmt.Println(span.SpanKind(), span.Name())
	}
	fmt.Println("parent and child:", spans.Ended()[0].Parent().SpanID() == spans.Ended()[1].SpanContext().SpanID())
	// Output:
	// server grpc.testing.TestService/UnaryCall
	// client grpc.testing.TestService/UnaryCall
	// parent and child: true
}

// A panic of a handler ends one call, not the process. The span and an event have its value; the answer does not.
func ExampleServerOptions() {
	options := osgrpc.ServerOptions(&osgrpc.Options{Telemetry: telemetry.Off()})
	client, stop := start(greeter{greet: func(context.Context) error { panic("no such gopher") }}, options, nil)
	defer stop()

	_, err := client.UnaryCall(context.Background(), &testpb.SimpleRequest{})
	fmt.Println(status.Code(err), "-", status.Convert(err).Message())
	// Output: Internal - the server failed to process the call
}

// A client without its own deadline still does not wait forever.
func ExampleDialOptions() {
	options := osgrpc.DialOptions(&osgrpc.Options{Telemetry: telemetry.Off(), Timeout: 20 * time.Millisecond})
	client, stop := start(greeter{greet: func(ctx context.Context) error {
		<-ctx.Done() // gRPC passes the deadline on to the server
		return ctx.Err()
	}}, nil, options)
	defer stop()

	_, err := client.UnaryCall(context.Background(), &testpb.SimpleRequest{})
	fmt.Println(status.Code(err))
	// Output: DeadlineExceeded
}

// The access log is written to the Logger of the providers.
func ExampleOptions_accessLog() {
	providers := telemetry.Off()
	providers.Logger = slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "duration" {
				return slog.Attr{} // differ from run to run
			}
			return a
		},
	}))
	options := osgrpc.ServerOptions(&osgrpc.Options{Telemetry: providers, AccessLog: true})
	client, stop := start(greeter{greet: func(context.Context) error { return nil }}, options, nil)
	if _, err := client.UnaryCall(context.Background(), &testpb.SimpleRequest{}); err != nil {
		fmt.Println(err)
	}
	stop()
	// Output:
	// level=INFO msg="grpc call" rpc.method=grpc.testing.TestService/UnaryCall rpc.response.status_code=OK network.peer.address=127.0.0.1
}

// Calls beyond the limit are refused at once, rather than all made slow.
func ExampleOptions_maxConcurrent() {
	options := osgrpc.ServerOptions(&osgrpc.Options{Telemetry: telemetry.Off(), MaxConcurrent: 1})
	entered, leave := make(chan struct{}), make(chan struct{})
	client, stop := start(greeter{greet: func(context.Context) error {
		close(entered)
		<-leave
		return nil
	}}, options, nil)
	defer stop()

	first := make(chan error)
	go func() {
		_, err := client.UnaryCall(context.Background(), &testpb.SimpleRequest{})
		first <- err
	}()
	<-entered
	_, err := client.UnaryCall(context.Background(), &testpb.SimpleRequest{})
	fmt.Println("second:", status.Code(err))
	close(leave)
	fmt.Println("first:", status.Code(<-first))
	// Output:
	// second: ResourceExhausted
	// first: OK
}

// A filter excludes calls. A custom filter replaces NotHealth, so it calls that as well.
func ExampleOptions_filter() {
	spans := tracetest.NewSpanRecorder()
	providers := telemetry.Off()
	providers.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	options := osgrpc.ServerOptions(&osgrpc.Options{
		Telemetry: providers,
		Filter: func(method string) bool {
			return osgrpc.NotHealth(method) && method != "/grpc.testing.TestService/UnaryCall"
		},
	})
	client, stop := start(greeter{greet: func(context.Context) error { return nil }}, options, nil)
	if _, err := client.UnaryCall(context.Background(), &testpb.SimpleRequest{}); err != nil {
		fmt.Println(err)
	}
	_, err := client.EmptyCall(context.Background(), &testpb.Empty{})
	fmt.Println(err)
	stop()
	for _, span := range spans.Ended() {
		fmt.Println("span:", span.Name())
	}
	// Output:
	// rpc error: code = Unimplemented desc = method EmptyCall not implemented
	// span: grpc.testing.TestService/EmptyCall
}
