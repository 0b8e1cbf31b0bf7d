package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/go-kratos/kratos/v2/selector"
	"github.com/go-kratos/kratos/v2/selector/p2c"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/base"
	_ "google.golang.org/grpc/balancer/leastrequest"       // registers its policy
	_ "google.golang.org/grpc/balancer/weightedroundrobin" // registers its policy

	"github.com/zeromicro/go-zero/core/logx"
	_ "github.com/zeromicro/go-zero/zrpc" // registers its policy

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/telemetry"
)

// pickEndpoints is the number of endpoints that picks choose from.
const pickEndpoints = 100

// Picks are the cases of one choice of an endpoint and the end of its request.
var Picks = []Case{
	{"router, auto", routerCase(router.Auto)},
	{"router, peak_ewma", routerCase(router.PeakEWMA)},
	{"router, least_request", routerCase(router.LeastRequest)},
	{"router, round_robin", routerCase(router.RoundRobin)},
	{"go-zero, p2c_ewma", grpcPickCase(goZeroPolicy)},
	{"kratos, p2c", grpcPickCase(kratosPolicy)},
	{"grpc-go, round_robin", grpcPickCase("round_robin")},
	{"grpc-go, least_request", grpcPickCase("least_request_experimental")},
	{"grpc-go, weighted_round_robin", grpcPickCase("weighted_round_robin")},
	{"two readings of the clock", clockCase},
}

// clockCase reads the clock at the start and at the end of a request, as each case that learns from latencies must.
func clockCase() (body, cleanup func()) {
	return func() { _ = time.Since(time.Now()) }, func() {}
}

// routerCase picks by a policy of ours.
func routerCase(algorithm string) func() (func(), func()) {
	return func() (func(), func()) {
		s, cleanup := routed(algorithm)
		ctx, req := context.Background(), router.Request{Method: "/orders/{id}"}
		body := func() {
			p, err := s.Pick(ctx, req)
			if err != nil {
				panic(err) // these would be the figures of a failing pick
			}
			p.Done(router.Outcome{})
		}
		return body, cleanup
	}
}

// routed returns a service of pickEndpoints endpoints.
func routed(algorithm string) (*router.Service, func()) {
	var instances []discovery.Instance
	for i := range pickEndpoints {
		instances = append(instances, discovery.Instance{
			Service: "orders", ID: fmt.Sprint("orders-", i), Addresses: map[string]string{"http": fmt.Sprintf("10.0.0.%d:80", i+1)},
		})
	}
	registry, err := discovery.Static(instances...)
	if err != nil {
		panic(err) // constant instances
	}
	resolver, err := discovery.NewResolver(registry, &discovery.ResolverOptions{Telemetry: telemetry.Off()})
	if err != nil {
		panic(err)
	}
	r, err := router.New(resolver, &router.Options{
		Policies:  map[string]router.Policy{"orders": {Balance: router.Balance{Algorithm: algorithm}}},
		Telemetry: telemetry.Off(),
	})
	if err != nil {
		panic(err)
	}
	return r.Service("orders", "http"), func() { _, _ = r.Close(), resolver.Close() }
}

// grpcPickCase picks by a policy that is registered with gRPC.
func grpcPickCase(policy string) func() (func(), func()) {
	return func() (func(), func()) {
		picker, cleanup, err := newPicker(policy, pickEndpoints)
		if err != nil {
			panic(err)
		}
		info := balancer.PickInfo{FullMethodName: "/orders.Orders/Get", Ctx: context.Background()}
		body := func() {
			p, err := picker.Pick(info)
			if err != nil {
				panic(err)
			}
			if p.Done != nil {
				p.Done(balancer.DoneInfo{BytesSent: true, BytesReceived: true})
			}
		}
		return body, cleanup
	}
}

// The names under which the policies of others are registered with gRPC. go-zero's zrpc does so itself.
const (
	goZeroPolicy = "p2c_ewma"
	kratosPolicy = "kratos_p2c"
)

// kratos registers its policy under the name "selector", and takes the algorithm from a variable that must be set before its package starts.
// This is the same code with the algorithm in place.
func init() {
	logx.Disable() // go-zero writes statistics each minute
	balancer.Register(base.NewBalancerBuilder(kratosPolicy, kratosBuilder{}, base.Config{HealthCheck: true}))
}

// kratosBuilder implements base.PickerBuilder. Like the one of kratos, it makes a new selector for each change of a connection.
type kratosBuilder struct{}

// Build implements base.PickerBuilder.
func (kratosBuilder) Build(info base.PickerBuildInfo) balancer.Picker {
	if len(info.ReadySCs) == 0 {
		return base.NewErrPicker(balancer.ErrNoSubConnAvailable)
	}
	var nodes []selector.Node
	for conn, ready := range info.ReadySCs {
		nodes = append(nodes, kratosNode{selector.NewNode("grpc", ready.Address.Addr, nil), conn})
	}
	p := kratosPicker{p2c.New()}
	p.selector.Apply(nodes)
	return p
}

// kratosNode is a node with its connection.
type kratosNode struct {
	selector.Node

	conn balancer.SubConn
}

// kratosPicker implements balancer.Picker.
type kratosPicker struct{ selector selector.Selector }

// Pick implements balancer.Picker.
func (p kratosPicker) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	node, done, err := p.selector.Select(info.Ctx)
	if err != nil {
		return balancer.PickResult{}, err
	}
	return balancer.PickResult{
		SubConn: node.(kratosNode).conn,
		Done:    func(d balancer.DoneInfo) { done(info.Ctx, selector.DoneInfo{Err: d.Err, BytesSent: d.BytesSent}) },
	}, nil
}
