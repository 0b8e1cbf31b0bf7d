package osgrpc_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/internal/tooling/servicetest"
	"github.com/go-os/go-os/middleware/osgrpc"
	"github.com/go-os/go-os/telemetry"
)

// measured skips a test whose figures mean nothing on a machine with other work.
func measured(t *testing.T) {
	t.Helper()
	if os.Getenv("OS_TEST_MEASURE") != "on" {
		t.Skip("measures latencies on sockets: set OS_TEST_MEASURE=on on an idle machine")
	}
}

// load is the result of calls at a rate.
type load struct {
	latencies []time.Duration // of all calls, in order
	failures  map[codes.Code]int
}

// quantile returns a quantile of the latencies.
func (l *load) quantile(q float64) time.Duration {
	return l.latencies[min(int(q*float64(len(l.latencies))), len(l.latencies)-1)]
}

// failed returns how many calls have failed.
func (l *load) failed() (sum int) {
	for _, n := range l.failures {
		sum += n
	}
	return sum
}

// drive makes calls at a rate that does not depend on their answers, each with a time limit.
func drive(ctx context.Context, client testpb.TestServiceClient, perSecond int, lasting, limit time.Duration) *load {
	var mu sync.Mutex
	var work sync.WaitGroup
	l := &load{failures: map[codes.Code]int{}}
	begin := time.Now()
	for n := range int(lasting.Seconds() * float64(perSecond)) {
		time.Sleep(time.Until(begin.Add(time.Duration(n) * time.Second / time.Duration(perSecond))))
		work.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, limit)
			defer cancel()
			start := time.Now()
			_, err := client.UnaryCall(ctx, &testpb.SimpleRequest{})
			took := time.Since(start)
			mu.Lock()
			defer mu.Unlock()
			l.latencies = append(l.latencies, took)
			if err != nil {
				l.failures[status.Code(err)]++
			}
		})
	}
	work.Wait()
	slices.Sort(l.latencies)
	return l
}

// once is a policy without retries, so that the balancing alone is seen.
var once = router.Policy{Retry: router.Retry{Attempts: 1}}

// TestSkew compares 14 fast servers and 2 slow ones, which take 16 times as long, with round_robin: p99 and p99.5 are six times as good.
func TestSkew(t *testing.T) {
	measured(t)
	const fast, rate, span = 20 * time.Millisecond, 500, 20 * time.Second
	f := newFleet(t)
	for i := range 16 {
		takes := fast
		if i < 2 {
			takes = 16 * fast
		}
		f.serve("orders", fmt.Sprint("i", i), answering("", lasting(takes), nil, nil))
	}
	measure := func(client testpb.TestServiceClient, warm time.Duration) *load {
		f.connect(client, f.connections()+16)
		drive(t.Context(), client, rate, warm, 5*time.Second)
		return drive(t.Context(), client, rate, span, 5*time.Second)
	}
	robin := measure(f.dial("os:///orders", osgrpc.DiscoveryOptions{}), 0)
	routed := measure(f.routed(once), time.Second)
	for _, q := range []float64{0.5, 0.99, 0.995} {
		ratio := float64(robin.quantile(q)) / float64(routed.quantile(q))
		t.Logf("p%v: round_robin %v, router %v: %.1f times", 100*q, robin.quantile(q), routed.quantile(q), ratio)
		if q >= 0.99 && ratio < 6 {
			t.Errorf("p%v is %.1f times as good as that of round_robin, want 6", 100*q, ratio)
		}
	}
}

// TestSinkhole has 2 of 20 servers fail at once: at least 85 % of the failures of round robin are avoided.
func TestSinkhole(t *testing.T) {
	measured(t)
	for _, code := range []codes.Code{codes.Internal, codes.Unavailable} {
		t.Run(code.String(), func(t *testing.T) {
			f := newFleet(t)
			for i := range 20 {
				if i < 2 {
					f.serve("orders", fmt.Sprint("i", i), answering("", lasting(0), status.Error(code, "broken"), nil))
					continue
				}
				f.serve("orders", fmt.Sprint("i", i), answering("", lasting(20*time.Millisecond), nil, nil))
			}
			client := f.routed(once)
			f.connect(client, f.connections()+20)
			warm := drive(t.Context(), client, 500, time.Second, 5*time.Second)
			l := drive(t.Context(), client, 500, 20*time.Second, 5*time.Second)
			expected := float64(len(l.latencies)) * 2 / 20
			avoided := 1 - float64(l.failed())/expected
			t.Logf("first second: %d of %d calls failed; then %d of %d, round robin would fail %.0f: %.1f %% avoided",
				warm.failed(), len(warm.latencies), l.failed(), len(l.latencies), expected, 100*avoided)
			if avoided < 0.85 {
				t.Errorf("%.1f %% of the failures avoided, want 85 %%", 100*avoided)
			}
		})
	}
}

// flaky is a listener whose connections can be broken.
type flaky struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func (l *flaky) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.mu.Lock()
		l.conns = append(l.conns, c)
		l.mu.Unlock()
	}
	return c, err
}

// flap breaks all connections.
func (l *flaky) flap() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		_ = c.Close()
	}
	l.conns = nil
}

// TestFlapping breaks all connections again and again: what was learnt of a slow server stays.
func TestFlapping(t *testing.T) {
	measured(t)
	const flaps, every = 20, time.Second
	f := newFleet(t)
	listeners := make([]*flaky, 6)
	var slow atomic.Int64
	for i := range listeners {
		takes := lasting(5 * time.Millisecond)
		var seen func(context.Context)
		if i == 0 {
			takes, seen = lasting(100*time.Millisecond), func(context.Context) { slow.Add(1) }
		}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners[i] = &flaky{Listener: listener}
		server := grpc.NewServer()
		testpb.RegisterTestServiceServer(server, answering("", takes, nil, seen))
		go func() { _ = server.Serve(listeners[i]) }()
		t.Cleanup(server.Stop)
		(&node{}).register(f, discovery.Instance{Service: "orders", ID: fmt.Sprint("i", i), Weight: 1, Addresses: map[string]string{"grpc": listener.Addr().String()}})
	}
	r := f.router(router.Policy{Retry: router.Retry{MinPerSecond: 1000}, Ejection: router.Ejection{Off: true}})
	client := f.dial("os:///orders", osgrpc.DiscoveryOptions{Router: r, Request: repeatable}, grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	drive(t.Context(), client, 100, time.Second, 5*time.Second)
	slow.Store(0)
	for range flaps {
		for _, l := range listeners {
			l.flap()
		}
		if l := drive(t.Context(), client, 100, every, 5*time.Second); l.failed() > 0 {
			t.Errorf("calls failed: %v", l.failures)
		}
		for _, e := range r.Status()[0].Endpoints {
			if e.Latency == 0 {
				t.Errorf("nothing is known of %s after its connection broke", e.ID)
			}
		}
	}
	const total = flaps * 100.0
	t.Logf("%d of %.0f calls went to the slow server", slow.Load(), total)
	if share := float64(slow.Load()) / total; share > 0.06 {
		t.Errorf("%.1f %% of the calls went to the slow one of 6, want 6 %% at most", 100*share)
	}
}

// childVariable marks the process of a test server.
const childVariable = "OSGRPC_TEST_SERVER"

// TestServerProcess is the server of another test, in a process of its own.
func TestServerProcess(t *testing.T) {
	if os.Getenv(childVariable) == "" {
		t.Skip("runs as a child process of other tests")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	testpb.RegisterTestServiceServer(server, answering("child", lasting(5*time.Millisecond), nil, nil))
	fmt.Printf("listening on %s\n", listener.Addr())
	_ = server.Serve(listener)
}

// process starts a server in a process of its own, registers it, and returns a function that sends it a signal.
func (f *fleet) process(name, id string) (kill func(syscall.Signal)) {
	f.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestServerProcess$")
	child.Env = append(os.Environ(), childVariable+"=1")
	out, err := child.StdoutPipe()
	if err != nil {
		f.Fatal(err)
	}
	if err := child.Start(); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if err != nil || !ok {
		f.Fatalf("the server process says %q, %v", line, err)
	}
	(&node{}).register(f, discovery.Instance{Service: name, ID: id, Weight: 100, Addresses: map[string]string{"grpc": address}})
	return func(s syscall.Signal) {
		if err := child.Process.Signal(s); err != nil {
			f.Error(err)
		}
	}
}

// mixed starts 19 servers in this process and one in its own.
func (f *fleet) mixed() (signal func(syscall.Signal)) {
	f.Helper()
	for i := range 19 {
		f.serve("orders", fmt.Sprint("i", i), answering("", lasting(5*time.Millisecond), nil, nil))
	}
	return f.process("orders", "child")
}

// TestSIGKILL kills the process of one of 20 servers: no call that may be repeated fails.
func TestSIGKILL(t *testing.T) {
	f := newFleet(t)
	kill := f.mixed()
	client := f.routed(router.Policy{})
	f.reach(client, "child")
	f.connect(client, 19)
	timer := time.AfterFunc(500*time.Millisecond, func() { kill(syscall.SIGKILL) })
	defer timer.Stop()
	if l := drive(t.Context(), client, 300, 1500*time.Millisecond, 5*time.Second); l.failed() > 0 {
		t.Errorf("of %d calls failed: %v", len(l.latencies), l.failures)
	}
}

// TestSIGSTOP stops the process of one of 20 servers, whose connection stays open. After 2 s it gets at most 0.5 % of the calls.
func TestSIGSTOP(t *testing.T) {
	measured(t)
	f := newFleet(t)
	signal := f.mixed()
	client := f.routed(once)
	f.reach(client, "child")
	f.connect(client, 19)
	drive(t.Context(), client, 300, 500*time.Millisecond, time.Second)
	signal(syscall.SIGSTOP)
	first := drive(t.Context(), client, 300, 2*time.Second, time.Second)
	l := drive(t.Context(), client, 300, 2*time.Second, time.Second)
	signal(syscall.SIGCONT)
	t.Logf("calls to the stopped server: %d of %d in the first 2 s, then %d of %d", first.failed(), len(first.latencies), l.failed(), len(l.latencies))
	if share := float64(l.failed()) / float64(len(l.latencies)); share > 0.005 {
		t.Errorf("%.2f %% of the calls went to a stopped server, want 0.5 %% at most: %v", 100*share, l.failures)
	}
}

// TestAllEjected reaches servers that all fail, rather than none, and recovers with them.
func TestAllEjected(t *testing.T) {
	f := newFleet(t)
	var broken atomic.Bool
	broken.Store(true)
	for i := range 3 {
		f.serve("orders", fmt.Sprint("i", i), &service{unary: func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
			if broken.Load() {
				return nil, status.Error(codes.Unavailable, "broken")
			}
			return &testpb.SimpleResponse{}, nil
		}})
	}
	client := f.routed(once)
	f.connect(client, 3)
	for range 100 {
		if _, err := call(t.Context(), client); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "broken") {
			t.Fatalf("%v, want the error of a server", err)
		}
	}
	broken.Store(false)
	for range 20 {
		if _, err := call(t.Context(), client); err != nil {
			t.Fatal(err)
		}
	}
}

// TestInFlight leaves nothing in flight after calls and streams that end in all ways.
func TestInFlight(t *testing.T) {
	f := newFleet(t)
	errs := []error{nil, nil, status.Error(codes.Internal, ""), status.Error(codes.Unavailable, ""), status.Error(codes.ResourceExhausted, ""), status.Error(codes.NotFound, "")}
	for i := range 4 {
		f.serve("orders", fmt.Sprint("i", i), &service{unary: func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
			time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
			return &testpb.SimpleResponse{}, errs[rand.IntN(len(errs))]
		}})
	}
	bug := func(ctx context.Context, m string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if rand.IntN(20) == 0 {
			panic("bug")
		}
		err := invoke(ctx, m, req, reply, cc, opts...)
		if rand.IntN(20) == 0 {
			panic("bug")
		}
		return err
	}
	r := f.router(router.Policy{Retry: router.Retry{Wait: time.Millisecond, Timeout: 1500 * time.Microsecond, MinPerSecond: 1e6}, Hedge: router.Hedge{After: time.Millisecond}})
	client := f.dial("os:///orders", osgrpc.DiscoveryOptions{Router: r, Request: repeatable}, grpc.WithChainUnaryInterceptor(bug))
	stop := servicetest.Load(8, func() error {
		defer func() { _ = recover() }()
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+rand.IntN(5000))*time.Microsecond)
		defer cancel()
		if rand.IntN(4) > 0 {
			_, _ = client.UnaryCall(ctx, &testpb.SimpleRequest{})
			return nil
		}
		stream, err := client.FullDuplexCall(ctx)
		if err == nil && rand.IntN(2) == 0 {
			_ = stream.CloseSend()
			_, _ = stream.Recv()
		}
		return nil
	})
	time.Sleep(time.Second)
	n, _ := stop()
	t.Logf("%d calls", n)
	deadline := time.Now().Add(10 * time.Second)
	for inFlight(t, r, "orders") != 0 {
		if time.Now().After(deadline) {
			t.Fatalf("%d in flight after all calls: %+v", inFlight(t, r, "orders"), r.Status())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestRoutedChanges has instances change, ClientConns open and close, and calls go on.
func TestRoutedChanges(t *testing.T) {
	f := newFleet(t)
	a := f.start("orders", "a", "127.0.0.1:0")
	b := f.start("orders", "b", "127.0.0.1:0")
	r := f.router(router.Policy{})
	stay := f.dial("os:///orders", osgrpc.DiscoveryOptions{Router: r})
	f.reach(stay, "a", "b")
	stop := servicetest.Load(2, func() error { _, err := call(t.Context(), stay); return err })
	var work sync.WaitGroup
	work.Go(func() {
		for n := range 30 {
			a.update(t, func(i *discovery.Instance) { i.Weight = 1 + n%3 })
			b.update(t, func(i *discovery.Instance) { i.State = []discovery.State{discovery.Up, discovery.Draining}[n%2] })
		}
	})
	options := osgrpc.WithDiscovery(f.resolver, &osgrpc.DiscoveryOptions{Router: r, Telemetry: telemetry.Off()})
	for range 20 {
		conn := dialWith(t, "os:///orders", options...)
		leave := servicetest.Load(2, func() error { _, err := call(t.Context(), testpb.NewTestServiceClient(conn)); return err })
		time.Sleep(time.Duration(rand.IntN(10)) * time.Millisecond)
		_ = conn.Close()
		leave()
	}
	work.Wait()
	if n, failed := stop(); len(failed) > 0 {
		t.Errorf("%d of %d calls failed: %v", len(failed), n, failed[0])
	}
	eventually(t, "calls to end", func() bool { return inFlight(t, r, "orders") == 0 })
}
