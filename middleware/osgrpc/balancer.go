package osgrpc

import (
	"sync/atomic"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/endpointsharding"
	"google.golang.org/grpc/balancer/pickfirst"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"

	"github.com/go-os/go-os/control/router"
)

// balancerName is the load balancing policy of gRPC by which a router.Router chooses the connection.
const balancerName = "goos_router"

// gRPC has no other place for a balancer than its process-wide registry, which is closed after the start.
func init() { balancer.Register(builder{}) }

// builder implements balancer.Builder.
type builder struct{}

// Name implements balancer.Builder.
func (builder) Name() string { return balancerName }

// Build implements balancer.Builder.
func (builder) Build(cc balancer.ClientConn, opts balancer.BuildOptions) balancer.Balancer {
	b := &routedBalancer{ClientConn: cc}
	b.child = endpointsharding.NewBalancer(b, opts, balancer.Get(pickfirst.Name).Build, endpointsharding.Options{})
	return b
}

// routedBalancer keeps a connection to each endpoint of a ClientConn. It learns nothing about them: the router does, and so a change of the
// connections loses nothing.
type routedBalancer struct {
	balancer.ClientConn // of gRPC; UpdateState is the child's way to this balancer
	child               balancer.Balancer
	offer               atomic.Pointer[offer] // of the last UpdateClientConnState
	closed              atomic.Bool
}

// endpointsKey is the key of an endpoint's *routedEndpoints among its attributes.
type endpointsKey struct{}

// routedEndpoints are the endpoints of a router at one address. Several instances have one if an address was reused.
type routedEndpoints struct{ list []*router.Endpoint }

// add adds an endpoint. Without a Router there are none.
func (r *routedEndpoints) add(e *router.Endpoint) {
	if r != nil {
		r.list = append(r.list, e)
	}
}

// endpointsOf returns the endpoints of a router that share an address.
func endpointsOf(e resolver.Endpoint) []*router.Endpoint {
	if at, ok := e.Attributes.Value(endpointsKey{}).(*routedEndpoints); ok {
		return at.list
	}
	return nil
}

// UpdateClientConnState implements balancer.Balancer. A resolver of another scheme makes no offer: then calls go round the addresses.
func (b *routedBalancer) UpdateClientConnState(s balancer.ClientConnState) error {
	offered, _ := s.ResolverState.Attributes.Value(offerKey{}).(*offer)
	b.offer.Store(offered)
	return b.child.UpdateClientConnState(balancer.ClientConnState{ResolverState: pickfirst.EnableHealthListener(s.ResolverState)})
}

// ResolverError implements balancer.Balancer.
func (b *routedBalancer) ResolverError(err error) { b.child.ResolverError(err) }

// UpdateSubConnState implements balancer.Balancer. gRPC no longer calls it.
func (*routedBalancer) UpdateSubConnState(balancer.SubConn, balancer.SubConnState) {}

// ExitIdle implements balancer.Balancer.
func (b *routedBalancer) ExitIdle() { b.child.ExitIdle() }

// Close implements balancer.Balancer.
func (b *routedBalancer) Close() {
	b.child.Close()
	b.closed.Store(true)
	if o := b.offer.Load(); o != nil {
		o.service.disconnected(b)
	}
}

// UpdateState implements balancer.ClientConn for the child. Without a connection, calls wait or fail as with round_robin.
func (b *routedBalancer) UpdateState(state balancer.State) {
	offered := b.offer.Load()
	if offered == nil || state.ConnectivityState != connectivity.Ready {
		b.ClientConn.UpdateState(state)
		return
	}
	p := newPicker(offered, endpointsharding.ChildStatesFromPicker(state.Picker))
	offered.service.connected(b, p)
	b.ClientConn.UpdateState(balancer.State{ConnectivityState: connectivity.Ready, Picker: p})
}
