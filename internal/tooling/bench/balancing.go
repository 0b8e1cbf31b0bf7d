package bench

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/middleware/osgrpc"
	"github.com/go-os/go-os/telemetry"
)

// Scenario is a fleet of unequal servers. One client calls it at a constant rate that does not depend on the answers.
type Scenario struct {
	// Name and What are the heading and the sentence below it.
	Name, What string
	// Servers of the fleet.
	Servers func() []*server
	// Flap removes one server from the registry every other second.
	Flap bool
}

const (
	fast = 50 * time.Millisecond
	slow = 16 * fast
	// CallRate is the number of calls in a second.
	CallRate = 400
	// callTimeout counts as the latency of a call that is not answered.
	callTimeout = 5 * time.Second
)

// Scenarios are all scenarios, in the order of the table.
var Scenarios = []Scenario{
	{"14 fast and 2 slow servers", "14 servers answer after 50 ms and 2 after 800 ms.", unequal(14, 2), false},
	{"14 fast and 2 slow servers, while the registry flaps", "The same; every other second one of the 16 is not registered.", unequal(14, 2), true},
	{"2 of 20 servers fail at once", "18 servers answer after 50 ms and 2 refuse at once. Nothing is retried.", broken(18, 2), false},
}

func unequal(quick, slack int) func() []*server {
	return func() (all []*server) {
		for i := range quick + slack {
			s := &server{delay: fast}
			if i >= quick {
				s.delay = slow
			}
			all = append(all, s)
		}
		return all
	}
}

func broken(sound, defective int) func() []*server {
	return func() (all []*server) {
		for i := range sound + defective {
			all = append(all, &server{delay: fast, fails: i >= sound})
		}
		return all
	}
}

// Balancer is a way to choose a server for each call.
type Balancer struct {
	// Name of the row.
	Name string
	dial func(t testing.TB, f *fleet) *grpc.ClientConn
}

// Balancers are all balancers, in the order of the table. The first one is what the others are compared with.
var Balancers = []Balancer{
	{"grpc-go, round_robin", dialGRPC("round_robin")},
	{"router, auto", dialRouter},
	{"go-zero, p2c_ewma", dialGRPC(goZeroPolicy)},
	{"kratos, p2c", dialGRPC(kratosPolicy)},
	{"grpc-go, least_request", dialGRPC("least_request_experimental")},
	{"grpc-go, weighted_round_robin", dialGRPC("weighted_round_robin")},
}

// dialRouter connects by our router, with retries off: the others have none.
func dialRouter(t testing.TB, f *fleet) *grpc.ClientConn {
	found, err := discovery.NewResolver(registry{f}, &discovery.ResolverOptions{Telemetry: telemetry.Off()})
	if err != nil {
		t.Fatal(err)
	}
	r, err := router.New(found, &router.Options{
		Policies:  map[string]router.Policy{"orders": {Retry: router.Retry{Attempts: 1}}},
		Telemetry: telemetry.Off(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), found.Close() })
	options := osgrpc.WithDiscovery(found, &osgrpc.DiscoveryOptions{Router: r, Telemetry: telemetry.Off()})
	return dial(t, "os:///orders", options...)
}

// dialGRPC connects by a policy that is registered with gRPC.
func dialGRPC(policy string) func(testing.TB, *fleet) *grpc.ClientConn {
	return func(t testing.TB, f *fleet) *grpc.ClientConn {
		addresses := manual.NewBuilderWithScheme("bench")
		state := func() (s resolver.State) {
			for _, a := range f.present() {
				s.Addresses = append(s.Addresses, resolver.Address{Addr: a})
			}
			return s
		}
		addresses.InitialState(state())
		f.watch(func() { addresses.UpdateState(state()) })
		return dial(t, "bench:///orders", grpc.WithResolvers(addresses),
			grpc.WithDefaultServiceConfig(fmt.Sprintf(`{"loadBalancingConfig":[{%q:{}}]}`, policy)))
	}
}

func dial(t testing.TB, target string, options ...grpc.DialOption) *grpc.ClientConn {
	conn, err := grpc.NewClient(target, append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// Balanced is the result of a balancer in a scenario.
type Balanced struct {
	// P50, P99 and P995 are percentiles of the latencies. A call that failed counts as long as it took.
	P50, P99, P995 time.Duration
	// Failed is the share of calls that failed.
	Failed float64
}

// Measure runs the balancers in passes that alternate, on the same servers. Each pass has the given number of calls, and the first one of
// each balancer does not count.
func (s Scenario) Measure(t testing.TB, balancers []Balancer, passes, calls int) []Balanced {
	f := newFleet(t, s.Servers())
	var clients []testgrpc.TestServiceClient
	for _, b := range balancers {
		clients = append(clients, testgrpc.NewTestServiceClient(b.dial(t, f)))
	}
	if s.Flap {
		ctx, cancel := context.WithCancel(context.Background())
		var flapping sync.WaitGroup
		flapping.Go(func() { f.flap(ctx, time.Second) })
		defer flapping.Wait()
		defer cancel()
	}
	latencies, failed := make([][]time.Duration, len(balancers)), make([]int, len(balancers))
	for pass := range passes + 1 {
		for i, client := range clients {
			took, errs := load(client, calls)
			if pass > 0 {
				latencies[i] = append(latencies[i], took...)
				failed[i] += errs
			}
		}
	}
	results := make([]Balanced, len(balancers))
	for i, all := range latencies {
		slices.Sort(all)
		at := func(perMille int) time.Duration { return all[(len(all)*perMille+999)/1000-1] }
		results[i] = Balanced{P50: at(500), P99: at(990), P995: at(995), Failed: float64(failed[i]) / float64(len(all))}
	}
	return results
}

// Limits bound what the router has, as parts of what round_robin has.
type Limits struct {
	// P99 and P995 limit the percentiles, where round_robin fails no calls.
	P99, P995 float64
	// Failed limits the share of failed calls, where it does.
	Failed float64
}

// Missed returns the limit that the router misses, or "".
func (l Limits) Missed(ours, base Balanced) string {
	if base.Failed > 0.05 {
		return miss("share of failed calls", ours.Failed, base.Failed, l.Failed)
	}
	if ours.Failed > base.Failed {
		return fmt.Sprintf("%.2f %% of the calls fail", 100*ours.Failed)
	}
	return cmp.Or(
		miss("99th percentile", ours.P99.Seconds(), base.P99.Seconds(), l.P99),
		miss("99.5th percentile", ours.P995.Seconds(), base.P995.Seconds(), l.P995),
	)
}

// miss returns a text if a figure is above its limit.
func miss(figure string, ours, base, most float64) string {
	if ours <= most*base {
		return ""
	}
	return fmt.Sprintf("the %s is %.2f of round_robin's, want at most %.2f", figure, ours/base, most)
}

// load makes calls at CallRate, each on time, however long the others take. It returns their latencies and how many failed.
func load(client testgrpc.TestServiceClient, calls int) (latencies []time.Duration, failed int) {
	latencies, errs := make([]time.Duration, calls), make([]error, calls)
	start := time.Now()
	var all sync.WaitGroup
	for i := range calls {
		due := start.Add(time.Duration(i) * time.Second / CallRate)
		time.Sleep(time.Until(due))
		all.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
			defer cancel()
			began := time.Now()
			_, errs[i] = client.EmptyCall(ctx, &testgrpc.Empty{}, grpc.WaitForReady(true))
			latencies[i] = time.Since(began)
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			failed++
		}
	}
	return latencies, failed
}
