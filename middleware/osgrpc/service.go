package osgrpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/internal/backoff"
	"github.com/go-os/go-os/internal/sanitize"
)

// misdirection is how long an instance gets no calls after it refused one as misdirected, unless its record changes.
const misdirection = 30 * time.Second

// service is a service that ClientConns call. It follows the service while it has a conn.
type service struct {
	directory *directory
	name      string
	routed                                        // if there is a Router
	addresses atomic.Pointer[map[string][]string] // the IDs of the offered instances by address
	problem   atomic.Pointer[error]               // why there is no endpoint; nil if there is one, or nothing is known

	pushing sync.Mutex // held while conns are updated; taken before mu

	mu       sync.Mutex
	conns    map[*conn]struct{}
	stop     context.CancelFunc // ends the watch; nil if there is none
	snapshot *discovery.Snapshot
	failure  error              // why there is no snapshot
	refusals map[string]refusal // by ID
	timer    *time.Timer        // ends refusals
}

// refusal is why an instance gets no calls.
type refusal struct {
	record discovery.Instance
	until  time.Time
}

// conn is the resolver of one ClientConn.
type conn struct {
	service *service
	cc      resolver.ClientConn
}

// ResolveNow implements resolver.Resolver. It does nothing: the watch shows every change, and the registry must not be asked each time that
// a connection fails.
func (*conn) ResolveNow(resolver.ResolveNowOptions) {}

// Close implements resolver.Resolver.
func (c *conn) Close() { c.service.leave(c) }

func newService(d *directory, name string) *service {
	s := &service{directory: d, name: name, conns: map[*conn]struct{}{}, refusals: map[string]refusal{}}
	if d.opts.Router != nil {
		s.route = d.opts.Router.Service(name, d.opts.Protocol)
	}
	return s
}

// join adds a ClientConn. The first one begins the watch.
func (s *service) join(c *conn) {
	s.mu.Lock()
	s.conns[c] = struct{}{}
	first := s.stop == nil
	var ctx context.Context
	if first {
		ctx, s.stop = context.WithCancel(context.Background())
	}
	s.mu.Unlock()
	if first {
		go s.watch(ctx)
		go s.load(ctx)
		return
	}
	s.push()
}

// leave removes a ClientConn. The last one ends the watch.
func (s *service) leave(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if len(s.conns) > 0 || s.stop == nil {
		return
	}
	s.stop()
	s.stop, s.snapshot, s.failure = nil, nil, nil
	s.problem.Store(nil)
	s.addresses.Store(nil)
	if s.timer != nil {
		s.timer.Stop()
	}
}

// watch follows the service until ctx ends.
func (s *service) watch(ctx context.Context) {
	for change, err := range s.directory.resolver.Watch(ctx, s.name) {
		s.learn(ctx, change.Snapshot, err)
	}
}

// load reports why there is no first answer.
func (s *service) load(ctx context.Context) {
	for {
		waiting, cancel := context.WithTimeout(ctx, s.directory.opts.Timeout)
		_, err := s.directory.resolver.Lookup(waiting, s.name)
		cancel()
		if err == nil || ctx.Err() != nil {
			return
		}
		s.learn(ctx, nil, err)
		if !errors.Is(err, discovery.ErrUnavailable) || backoff.Sleep(ctx, time.Second) != nil {
			return // the watch shows the rest
		}
	}
}

// learn records the registry's answer, or the reason why there is none.
func (s *service) learn(ctx context.Context, snapshot *discovery.Snapshot, err error) {
	if snapshot != nil && s.route != nil {
		if err = s.route.Ready(ctx); err != nil {
			snapshot = nil
		}
	}
	s.mu.Lock()
	switch {
	case ctx.Err() != nil:
		s.mu.Unlock()
		return
	case snapshot != nil:
		s.snapshot, s.failure = snapshot, nil
	default:
		s.failure = err
	}
	s.mu.Unlock()
	s.push()
}

// push sends the present endpoints, or the reason why there are none, to all ClientConns.
func (s *service) push() {
	s.pushing.Lock()
	defer s.pushing.Unlock()
	s.pushLocked()
}

// pushLocked is push with s.pushing held.
func (s *service) pushLocked() {
	conns, state, err := s.present()
	for _, c := range conns {
		switch {
		case state != nil:
			_ = c.cc.UpdateState(*state) // an error requests another resolution, but the watch shows every change anyway
		case err != nil:
			c.cc.ReportError(err)
		}
	}
}

// present returns the state for ClientConns, or an error, or neither before the first answer.
func (s *service) present() ([]*conn, *resolver.State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	if s.snapshot == nil {
		return conns, nil, s.fail(s.failure)
	}
	chosen := s.choose()
	switch {
	case len(chosen) > 0:
		s.problem.Store(nil)
	case len(s.snapshot.Instances) > 0:
		return conns, nil, s.fail(fmt.Errorf("%w: none of the %d instances has an address of the protocol %q and passes the filters",
			discovery.ErrUnavailable, len(s.snapshot.Instances), s.directory.opts.Protocol))
	}
	state := s.state(chosen)
	if len(chosen) == 0 {
		_ = s.fail(fmt.Errorf("%w: all instances have deregistered", discovery.ErrUnavailable))
	}
	return conns, state, nil
}

// fail keeps the reason why there is no endpoint, and returns it in the form that gRPC needs. A status ends all calls; another error ends
// only calls that do not wait for ready.
func (s *service) fail(cause error) error {
	if cause == nil {
		return nil
	}
	var of *discovery.Error
	if !errors.As(cause, &of) {
		cause = &discovery.Error{Op: "lookup", Service: s.name, Err: cause}
	}
	if s.size() == 0 { // otherwise ClientConns keep their endpoints
		s.problem.Store(&cause)
	}
	if s.snapshot == nil && errors.Is(cause, discovery.ErrUnavailable) {
		return status.Error(codes.Unavailable, oneLine(cause))
	}
	return errors.New(oneLine(cause))
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", ": ") }

// choice is an instance to offer.
type choice struct {
	*discovery.Instance
	address  string
	endpoint *router.Endpoint // nil without a Router
}

// choose returns the instances to offer. s.mu is held.
func (s *service) choose() []choice {
	now := time.Now()
	accepted := func(i *discovery.Instance) bool { return !s.refused(i, now) }
	for id, r := range s.refusals {
		if !r.until.After(now) {
			delete(s.refusals, id)
		}
	}
	if chosen := s.preferred(accepted); len(chosen) > 0 {
		return chosen
	}
	return s.preferred() // a refusal is more specific than no instance
}

// preferred returns the instances that the filters accept and that calls should go to. A Router decides the latter by itself. s.mu is held.
func (s *service) preferred(more ...discovery.Filter) (chosen []choice) {
	filters := slices.Concat(s.directory.opts.Filters, more)
	if s.route != nil {
		return s.routedChoices(filters)
	}
	protocol := s.directory.opts.Protocol
	for _, i := range s.snapshot.Preferred(append(filters, discovery.WithProtocol(protocol))...) {
		chosen = append(chosen, choice{Instance: &i, address: i.Addresses[protocol]})
	}
	return chosen
}

// refused reports whether an instance gets no calls since it refused one. s.mu is held.
func (s *service) refused(i *discovery.Instance, now time.Time) bool {
	r, ok := s.refusals[i.ID]
	return ok && r.until.After(now) && reflect.DeepEqual(r.record, *i)
}

// state returns the state with these instances. s.mu is held.
//
// The instance is an attribute of the endpoint, not of its address. Endpoint attributes are not part of a connection's identity, so a new
// weight keeps the connection. Balancers without endpoint support get the bare addresses.
func (s *service) state(chosen []choice) *resolver.State {
	state := &resolver.State{
		Addresses:  make([]resolver.Address, 0, len(chosen)),
		Endpoints:  make([]resolver.Endpoint, 0, len(chosen)),
		Attributes: s.offered(),
	}
	addresses := make(map[string][]string, len(chosen))
	sharing := make(map[string]*routedEndpoints)
	for _, c := range chosen {
		if addresses[c.address] = append(addresses[c.address], c.ID); len(addresses[c.address]) > 1 {
			sharing[c.address].add(c.endpoint)
			continue // a reused address is one endpoint
		}
		address := resolver.Address{Addr: c.address}
		attrs := attributes.New(instanceKey{}, &described{*c.Instance})
		if c.endpoint != nil {
			sharing[c.address] = &routedEndpoints{[]*router.Endpoint{c.endpoint}}
			attrs = attrs.WithValue(endpointsKey{}, sharing[c.address])
		}
		state.Addresses = append(state.Addresses, address)
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{address}, Attributes: attrs})
	}
	s.addresses.Store(&addresses)
	s.sharing.Store(&sharing)
	s.directory.forgetRemotes()
	return state
}

// at returns the IDs of the offered instances at an address.
func (s *service) at(address string) []string {
	if addresses := s.addresses.Load(); addresses != nil {
		return (*addresses)[address]
	}
	return nil
}

// report reports a connection to the instances at an address.
func (s *service) report(address string, err error) {
	if s.route != nil {
		s.reportRouted(address, err)
		return
	}
	for _, id := range s.at(address) {
		s.directory.resolver.Report(s.name, id, err == nil)
	}
}

// size returns how many endpoints are offered.
func (s *service) size() int {
	if addresses := s.addresses.Load(); addresses != nil {
		return len(*addresses)
	}
	return 0
}

// refuse takes the instances at the remote end of a connection out of the offered ones. When it returns, ClientConns no longer offer them,
// even if another call has removed them. Instances that are already refused are offered only because all are: the offer stays.
func (s *service) refuse(ctx context.Context, remote net.Addr) {
	if remote == nil {
		return
	}
	s.refuseAt(ctx, s.directory.registered(remote))
}

// refuseAt is refuse for the address by which instances are registered.
func (s *service) refuseAt(ctx context.Context, address string) {
	s.pushing.Lock()
	fresh := s.addRefusals(s.at(address))
	if len(fresh) > 0 {
		s.pushLocked()
	}
	s.pushing.Unlock()
	for _, id := range fresh {
		s.directory.misdirected.Emit(ctx, serviceAttr.String(sanitize.Text(s.name, maxDetail)), instanceAttr.String(sanitize.Text(id, maxDetail)))
	}
}

// addRefusals returns the instances that were not refused yet.
func (s *service) addRefusals(ids []string) (fresh []string) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.known() {
		if slices.Contains(ids, i.ID) && !s.refused(i, now) {
			fresh = append(fresh, i.ID)
			s.refusals[i.ID] = refusal{*i, now.Add(misdirection)}
		}
	}
	if len(fresh) > 0 {
		if s.timer != nil {
			s.timer.Stop()
		}
		s.timer = time.AfterFunc(misdirection+time.Second, s.push)
	}
	return fresh
}

// known yields the instances of the snapshot. s.mu is held.
func (s *service) known() func(func(*discovery.Instance) bool) {
	return func(yield func(*discovery.Instance) bool) {
		if s.snapshot == nil {
			return
		}
		for n := range s.snapshot.Instances {
			if !yield(&s.snapshot.Instances[n]) {
				return
			}
		}
	}
}

// explain adds the reason why there is no endpoint to the error of a call without one. gRPC's own error does not name the service.
func (s *service) explain(err error) error {
	problem := s.problem.Load()
	code := status.Code(err)
	if problem == nil || code != codes.Unavailable && code != codes.DeadlineExceeded {
		return err
	}
	return status.Error(code, sanitize.Text(oneLine(*problem), maxReason))
}

// maxReason bounds the bytes of a status message.
const maxReason = 1 << 10
