package osgrpc_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/middleware/osgrpc"
	"github.com/go-os/go-os/telemetry"
)

// answering returns a service that answers unary calls after a while, or with an error, and names itself in header and trailer.
func answering(id string, after func() time.Duration, err error, seen func(context.Context)) *service {
	return &service{unary: func(ctx context.Context, r *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		if seen != nil {
			seen(ctx)
		}
		select {
		case <-time.After(after()):
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		}
		_ = grpc.SetHeader(ctx, metadata.Pairs("from", id))
		_ = grpc.SetTrailer(ctx, metadata.Pairs("from", id))
		return &testpb.SimpleResponse{Hostname: id, Payload: r.GetPayload()}, err
	}}
}

// lasting returns the same duration always.
func lasting(d time.Duration) func() time.Duration { return func() time.Duration { return d } }

// inFlight returns the attempts in flight of a service, by the router and by its endpoints.
func inFlight(t *testing.T, r *router.Router, name string) (sum int) {
	t.Helper()
	for _, s := range r.Status() {
		if s.Service == name {
			sum += s.InFlight
			for _, e := range s.Endpoints {
				sum += e.InFlight
			}
		}
	}
	return sum
}

// TestHedge has a second instance answer if the first one is slow. All of the answer is the winner's, and the loser leaves nothing in flight.
func TestHedge(t *testing.T) {
	f := newFleet(t)
	var cancelled, ended atomic.Int64
	leaving := func(ctx context.Context) { context.AfterFunc(ctx, func() { cancelled.Add(1) }) }
	f.serve("orders", "slow", answering("slow", lasting(time.Hour), nil, leaving))
	f.serve("orders", "fast", answering("fast", lasting(0), nil, nil))
	r := f.router(router.Policy{Balance: router.Balance{Algorithm: router.RoundRobin}, Hedge: router.Hedge{After: 10 * time.Millisecond}, Retry: router.Retry{MinPerSecond: 1000}})
	client := f.dial("os:///orders", osgrpc.DiscoveryOptions{Router: r, Request: repeatable})
	f.connect(client, 2)
	body := payload(100)
	for range 20 {
		var header, trailer metadata.MD
		var from peer.Peer
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		reply, err := client.UnaryCall(ctx, &testpb.SimpleRequest{Payload: body}, grpc.Header(&header), grpc.Trailer(&trailer), grpc.Peer(&from),
			grpc.OnFinish(func(error) { ended.Add(1) }), grpc.WaitForReady(true))
		cancel()
		if err != nil || reply.GetHostname() != "fast" || len(reply.GetPayload().GetBody()) != 100 {
			t.Fatalf("%v, %v", reply, err)
		}
		if !slices.Equal(header["from"], []string{"fast"}) || !slices.Equal(trailer["from"], []string{"fast"}) || from.Addr == nil {
			t.Errorf("header %v, trailer %v, peer %v; want those of the winner", header, trailer, from.Addr)
		}
	}
	if n := ended.Load(); n != 20 {
		t.Errorf("OnFinish was called %d times for 20 calls", n)
	}
	eventually(t, "losers to end", func() bool { return cancelled.Load() > 0 && inFlight(t, r, "orders") == 0 })
}

// TestNoHedge never sends a call twice that is not idempotent, or a stream.
func TestNoHedge(t *testing.T) {
	f := newFleet(t)
	a := f.start("orders", "a", "127.0.0.1:0")
	b := f.start("orders", "b", "127.0.0.1:0")
	client := f.dial("os:///orders", osgrpc.DiscoveryOptions{Router: f.router(router.Policy{Hedge: router.Hedge{After: time.Nanosecond}})})
	for range 20 {
		if _, err := call(t.Context(), client); err != nil {
			t.Fatal(err)
		}
		stream, err := client.FullDuplexCall(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_ = stream.CloseSend()
		_, _ = stream.Recv()
	}
	if n := a.served.Load() + b.served.Load(); n != 40 {
		t.Errorf("%d calls and streams arrived, want 40", n)
	}
}

// attemptLog records the attempts of calls as servers see them.
type attemptLog struct {
	mu   sync.Mutex
	seen []string
}

func (l *attemptLog) add(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = append(l.seen, strings.Join(metadata.ValueFromIncomingContext(ctx, "goos-attempt"), ","))
}

// take returns the attempts since the last call, and forgets them.
func (l *attemptLog) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := l.seen
	l.seen = nil
	return seen
}

// TestRetries repeats what may be repeated, and marks it.
func TestRetries(t *testing.T) {
	unavailable := status.Error(codes.Unavailable, "broken")
	noRetry := metadata.Pairs("grpc-retry-pushback-ms", "-1")
	tests := map[string]struct {
		err     error
		trailer metadata.MD
		ctx     func(context.Context) context.Context
		once    bool // the call is not idempotent
		want    []string
	}{
		"unavailable":         {err: unavailable, want: []string{"", "2", "3"}},
		"exhausted":           {err: status.Error(codes.ResourceExhausted, "busy"), want: []string{"", "2", "3"}},
		"internal":            {err: status.Error(codes.Internal, "bug"), want: []string{""}},
		"the caller's error":  {err: status.Error(codes.InvalidArgument, "no"), want: []string{""}},
		"not idempotent":      {err: unavailable, once: true, want: []string{""}},
		"forbidden":           {err: unavailable, trailer: noRetry, want: []string{""}},
		"serving a retry":     {err: unavailable, ctx: router.WithoutRetries, want: []string{"2"}},
		"pushback beyond end": {err: unavailable, trailer: metadata.Pairs("grpc-retry-pushback-ms", "60000"), want: []string{""}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t)
			var log attemptLog
			for _, id := range []string{"a", "b", "c", "d"} {
				f.serve("orders", id, &service{unary: func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
					log.add(ctx)
					_ = grpc.SetTrailer(ctx, test.trailer)
					return nil, test.err
				}})
			}
			rec := newRecorder()
			r := f.router(router.Policy{Retry: router.Retry{Wait: time.Millisecond}})
			options := append(osgrpc.DialOptions(&osgrpc.Options{Telemetry: rec.Providers}), osgrpc.WithDiscovery(f.resolver, &osgrpc.DiscoveryOptions{
				Router: r, Telemetry: telemetry.Off(),
				Request: func(_ context.Context, _ string, r *router.Request) { r.Idempotent = !test.once },
			})...)
			client := testpb.NewTestServiceClient(dialWith(t, "os:///orders", options...))
			f.connect(client, 4)
			ctx, ended := t.Context(), len(rec.spans.Ended())
			if test.ctx != nil {
				ctx = test.ctx(ctx)
			}
			_, err := call(ctx, client)
			if status.Code(err) != status.Code(test.err) {
				t.Errorf("%v, want %v", err, test.err)
			}
			if got := log.take(); !slices.Equal(got, test.want) {
				t.Errorf("attempts %q, want %q", got, test.want)
			}
			eventually(t, "the span", func() bool { return len(rec.spans.Ended()) == ended+1 })
			got := attrs(rec.spans.Ended()[ended].Attributes())
			if got["goos.router.attempt"] != string(rune('0'+len(test.want))) || got["goos.discovery.instance"] == "" {
				t.Errorf("span: %v, want the number of attempts and the instance", got)
			}
			if n := inFlight(t, r, "orders"); n != 0 {
				t.Errorf("%d attempts in flight after the call", n)
			}
		})
	}
}

// TestAttemptTimeout repeats a call whose attempt takes too long, and names the limit if all do.
func TestAttemptTimeout(t *testing.T) {
	f := newFleet(t)
	f.serve("orders", "a", answering("a", lasting(time.Hour), nil, nil))
	f.serve("orders", "b", answering("b", lasting(time.Hour), nil, nil))
	client := f.routed(router.Policy{Retry: router.Retry{Timeout: 20 * time.Millisecond, Wait: time.Millisecond}})
	_, err := call(t.Context(), client)
	if status.Code(err) != codes.DeadlineExceeded || !strings.Contains(err.Error(), "time limit of an attempt") {
		t.Errorf("%v, want DEADLINE_EXCEEDED and the limit", err)
	}
}

// TestRejected fails calls that the policy rejects, with the router's error. They never leave the client.
func TestRejected(t *testing.T) {
	f := newFleet(t)
	n := f.start("orders", "a", "127.0.0.1:0")
	client := f.routed(router.Policy{Limits: router.Limits{Rate: 0.001, Burst: 1}})
	if _, err := call(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	_, err := call(t.Context(), client, grpc.WaitForReady(true))
	if status.Code(err) != codes.ResourceExhausted || !errors.Is(err, router.ErrLimited) || !errors.Is(err, router.ErrRejected) {
		t.Errorf("%v, want RESOURCE_EXHAUSTED and ErrLimited", err)
	}
	if _, err := client.FullDuplexCall(t.Context()); !errors.Is(err, router.ErrLimited) {
		t.Errorf("stream: %v, want ErrLimited", err)
	}
	if got := n.served.Load(); got != 1 {
		t.Errorf("%d calls arrived, want 1", got)
	}
}

// TestFallback calls another service if the policy says so and there is a connection to it.
func TestFallback(t *testing.T) {
	f := newFleet(t)
	f.serve("orders", "a", answering("a", lasting(0), status.Error(codes.Unavailable, "broken"), nil))
	f.start("archive", "z", "127.0.0.1:0")
	r := f.router(router.Policy{Fallback: "archive"})
	archive := dialWith(t, "os:///archive", osgrpc.WithDiscovery(f.resolver, &osgrpc.DiscoveryOptions{Router: r, Telemetry: telemetry.Off()})...)
	with := osgrpc.DiscoveryOptions{Router: r, Request: repeatable, Fallback: func(name string) grpc.ClientConnInterface {
		if name != "archive" {
			t.Errorf("fallback to %q, want archive", name)
		}
		return archive
	}}
	if id, err := call(t.Context(), f.dial("os:///orders", with)); id != "z" || err != nil {
		t.Errorf("%q, %v; want the answer of archive", id, err)
	}
	with.Fallback = nil
	if _, err := call(t.Context(), f.dial("os:///orders", with)); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "broken") {
		t.Errorf("without a connection: %v, want the error of orders", err)
	}
}

// TestOwnFaults charges no endpoint for calls that the client itself cannot send, and does not repeat them.
func TestOwnFaults(t *testing.T) {
	f := newFleet(t)
	for _, id := range []string{"a", "b", "c"} {
		f.start("orders", id, "127.0.0.1:0")
	}
	r := f.router(router.Policy{Breaker: router.Breaker{MinRequests: 5}})
	client := f.dial("os:///orders", osgrpc.DiscoveryOptions{Router: r, Request: repeatable}, grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(1000)))
	f.connect(client, 3)
	for range 30 {
		if _, err := client.UnaryCall(t.Context(), &testpb.SimpleRequest{Payload: payload(2000)}); status.Code(err) != codes.ResourceExhausted {
			t.Fatalf("too large: %v, want RESOURCE_EXHAUSTED", err)
		}
		if _, err := client.UnaryCall(t.Context(), &testpb.SimpleRequest{ResponseStatus: &testpb.EchoStatus{Message: "\xff"}}); status.Code(err) != codes.Internal {
			t.Fatalf("not UTF-8: %v, want INTERNAL", err)
		}
		stream, err := client.FullDuplexCall(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&testpb.StreamingOutputCallRequest{ResponseStatus: &testpb.EchoStatus{Message: "\xff"}}); status.Code(err) != codes.Internal {
			t.Fatalf("stream: %v, want INTERNAL", err)
		}
	}
	for _, e := range r.Status()[0].Endpoints {
		if e.Failures > 0.01 || e.State != "available" {
			t.Errorf("%s: %s with failures %v, want none", e.ID, e.State, e.Failures)
		}
	}
	if _, err := call(t.Context(), client); err != nil {
		t.Errorf("a good call: %v", err)
	}
	if n := inFlight(t, r, "orders"); n != 0 {
		t.Errorf("%d in flight", n)
	}
}
