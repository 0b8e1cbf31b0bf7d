package osgrpc

import (
	"context"
	"errors"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"

	"github.com/go-os/go-os/telemetry"
)

func TestParseTarget(t *testing.T) {
	for _, test := range []struct {
		target, address string
		port            int // 0: none
	}{
		{"dns:///orders.example:50051", "orders.example", 50051},
		{"dns:///orders.example", "orders.example", 443},
		{"dns://8.8.8.8/orders.example:1", "orders.example", 1},
		{"dns:///[::1]:50051", "::1", 50051},
		{"dns:///[::1]", "::1", 443},
		{"passthrough:///127.0.0.1:8080", "127.0.0.1", 8080},
		{"passthrough:///bufnet", "bufnet", 0},
		{"dns:///::1", "::1", 443},
		{"dns:///:50051", "localhost", 50051},
		{"dns:///orders.example:http", "orders.example", 80},
		{"dns:///orders.example:nonsense", "orders.example:nonsense", 0},
		{"dns:///orders.example:99999", "orders.example:99999", 0},
		{"dns:///orders.example:", "orders.example:", 0},
		{"dns:///[fe80::1", "[fe80::1", 0},
		{"dns:///fe80::1]:80", "fe80::1]:80", 0},
		{"dns:///a.example:1,b.example:2", "a.example:1,b.example:2", 0},
		{"passthrough:///host:http", "host", 80},
		{"passthrough:///unix:///run/orders.sock", "/run/orders.sock", 0},
		{"unix:///run/orders.sock", "/run/orders.sock", 0},
		{"unix:run/orders.sock", "run/orders.sock", 0},
		{"unix-abstract:orders", "orders", 0},
		{"os:///orders", "orders", 0},
		{"xds:///orders", "xds:///orders", 0},
		{"consul://user:secret@consul.example:8500/orders?tag=a", "consul://REDACTED@consul.example:8500/orders?tag=a", 0},
		{"ipv4:10.0.0.1:80", "10.0.0.1", 80},
		{"ipv6:[::1]:80", "::1", 80},
		{"ipv4:10.0.0.1:80,10.0.0.2:80", "ipv4:10.0.0.1:80,10.0.0.2:80", 0},
		{"ipv6:[::1]:80,[::2]:80", "ipv6:[::1]:80,[::2]:80", 0},
		{"dns:///%zz", "dns:///%zz", 0},
	} {
		address, port := parseTarget(test.target)
		if address != test.address || port != test.port {
			t.Errorf("parseTarget(%q) = %q, %d; want %q, %d", test.target, address, port, test.address, test.port)
		}
	}
}

// TestNoRecovery calls the interceptors directly: through a server, the panic would end the test.
func TestNoRecovery(t *testing.T) {
	boom := errors.New("boom")
	calls := map[string]func(context.Context, *server){
		"unary": func(ctx context.Context, s *server) {
			_, _ = s.unary(ctx, nil, &grpc.UnaryServerInfo{FullMethod: "/a.B/C"}, func(context.Context, any) (any, error) { panic(boom) })
		},
		"stream": func(ctx context.Context, s *server) {
			_ = s.stream(s, &serverStream{ctx: ctx}, &grpc.StreamServerInfo{FullMethod: "/a.B/C"}, func(any, grpc.ServerStream) error { panic(boom) })
		},
	}
	for name, call := range calls {
		for _, exact := range []bool{false, true} {
			spans := tracetest.NewSpanRecorder()
			p := telemetry.Off()
			p.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
			s := newServer((&Options{Telemetry: p, NoRecovery: true}).withDefaults())
			ctx := t.Context()
			if exact {
				s.exact = true
				ctx = (&exactHandler{s}).TagRPC(ctx, &stats.RPCTagInfo{FullMethodName: "/a.B/C"})
			}
			func() {
				defer func() {
					if got := recover(); got != boom {
						t.Errorf("%s: recovered %v, want the panic to go on", name, got)
					}
				}()
				call(ctx, s)
			}()
			if len(spans.Ended()) != 1 {
				t.Fatalf("%s: %d spans ended, want 1", name, len(spans.Ended()))
			}
			on := attribute.NewSet(spans.Ended()[0].Attributes()...)
			if v, _ := on.Value("error.type"); v.AsString() != "INTERNAL" {
				t.Errorf("%s: error.type = %q, want INTERNAL", name, v.AsString())
			}
		}
	}
}
