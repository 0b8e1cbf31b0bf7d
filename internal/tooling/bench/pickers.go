package bench

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/serviceconfig"

	estats "google.golang.org/grpc/experimental/stats"
)

// newPicker returns the picker of a load-balancing policy of gRPC for n connections that are ready. There is no network: the connections only
// claim to be ready.
func newPicker(policy string, n int) (balancer.Picker, func(), error) {
	builder := balancer.Get(policy)
	if builder == nil {
		return nil, nil, fmt.Errorf("no policy %q is registered: import its package", policy)
	}
	state := balancer.ClientConnState{}
	for i := range n {
		address := resolver.Address{Addr: fmt.Sprintf("10.0.%d.%d:80", i/250, i%250+1)}
		state.ResolverState.Endpoints = append(state.ResolverState.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{address}})
		state.ResolverState.Addresses = append(state.ResolverState.Addresses, address)
	}
	var err error
	if parser, ok := builder.(balancer.ConfigParser); ok {
		if state.BalancerConfig, err = parse(parser); err != nil {
			return nil, nil, err
		}
	}
	cc := &fakeConn{}
	b := builder.Build(cc, balancer.BuildOptions{})
	if err := b.UpdateClientConnState(state); err != nil {
		return nil, nil, err
	}
	for len(cc.events) > 0 {
		next := cc.events[0]
		cc.events = cc.events[1:]
		next()
	}
	if cc.state.ConnectivityState != connectivity.Ready {
		return nil, nil, errors.New("the policy has no picker")
	}
	return cc.state.Picker, b.Close, nil
}

func parse(parser balancer.ConfigParser) (serviceconfig.LoadBalancingConfig, error) {
	return parser.ParseConfig([]byte("{}"))
}

// fakeConn is the gRPC channel of a balancer. As in gRPC, nothing calls the balancer back while it runs.
type fakeConn struct {
	balancer.ClientConn

	events []func()
	state  balancer.State
}

func (c *fakeConn) NewSubConn(_ []resolver.Address, opts balancer.NewSubConnOptions) (balancer.SubConn, error) {
	return &fakeSubConn{conn: c, listener: opts.StateListener}, nil
}

func (c *fakeConn) UpdateState(s balancer.State)            { c.state = s }
func (c *fakeConn) ResolveNow(resolver.ResolveNowOptions)   {}
func (c *fakeConn) Target() string                          { return "fake" }
func (c *fakeConn) MetricsRecorder() estats.MetricsRecorder { return noRecorder{} }
func (c *fakeConn) RemoveSubConn(balancer.SubConn)          {}

// fakeSubConn is a connection that becomes ready when it is asked to connect.
type fakeSubConn struct {
	balancer.SubConn

	conn     *fakeConn
	listener func(balancer.SubConnState)
}

func (s *fakeSubConn) Connect() {
	for _, state := range []connectivity.State{connectivity.Connecting, connectivity.Ready} {
		s.conn.events = append(s.conn.events, func() { s.listener(balancer.SubConnState{ConnectivityState: state}) })
	}
}

func (s *fakeSubConn) RegisterHealthListener(listener func(balancer.SubConnState)) {
	s.conn.events = append(s.conn.events, func() { listener(balancer.SubConnState{ConnectivityState: connectivity.Ready}) })
}

func (s *fakeSubConn) UpdateAddresses([]resolver.Address) {}
func (s *fakeSubConn) Shutdown()                          {}

// noRecorder is a metrics recorder that records nothing.
type noRecorder struct{ estats.MetricsRecorder }

func (noRecorder) RecordInt64Count(*estats.Int64CountHandle, int64, ...string)             {}
func (noRecorder) RecordFloat64Count(*estats.Float64CountHandle, float64, ...string)       {}
func (noRecorder) RecordInt64Histo(*estats.Int64HistoHandle, int64, ...string)             {}
func (noRecorder) RecordFloat64Histo(*estats.Float64HistoHandle, float64, ...string)       {}
func (noRecorder) RecordInt64Gauge(*estats.Int64GaugeHandle, int64, ...string)             {}
func (noRecorder) RecordInt64UpDownCount(*estats.Int64UpDownCountHandle, int64, ...string) {}
