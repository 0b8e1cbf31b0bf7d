package osgrpc

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/balancer"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router"
)

// routed is the part of a service that exists if a Router chooses its instances.
type routed struct {
	route      *router.Service // nil without a Router
	refreshing atomic.Bool

	pickersMu sync.Mutex
	pickers   map[*routedBalancer]*picker // of the ClientConns, since their last change
}

// offer is what the resolver offers to a balancer.
type offer struct {
	service    *service
	generation uint64 // of the router's endpoints
}

// offerKey is the key of the offer among the attributes of a resolver.State.
type offerKey struct{}

// offered returns the attributes of a resolver.State, by which the balancer finds the service.
func (s *service) offered() *attributes.Attributes {
	if s.route == nil {
		return nil
	}
	_, generation := s.route.Endpoints()
	return attributes.New(offerKey{}, &offer{s, generation})
}

// routedChoices returns the router's endpoints that the filters accept. s.mu is held.
func (s *service) routedChoices(filters []discovery.Filter) (chosen []choice) {
	endpoints, _ := s.route.Endpoints()
	for _, e := range endpoints {
		i := e.Instance()
		if !slices.ContainsFunc(filters, func(accepts discovery.Filter) bool { return !accepts(i) }) {
			chosen = append(chosen, choice{i, e.Address(), e})
		}
	}
	return chosen
}

// refresh offers the router's endpoints again if they have changed, for example because of a new policy. The registry's changes are pushed
// without it.
func (o *offer) refresh() {
	if _, now := o.service.route.Endpoints(); now == o.generation || o.service.refreshing.Swap(true) {
		return
	}
	go func() {
		o.service.push()
		o.service.refreshing.Store(false)
	}()
}

// connected takes the present picker of a ClientConn.
func (s *service) connected(b *routedBalancer, p *picker) {
	s.pickersMu.Lock()
	defer s.pickersMu.Unlock()
	if b.closed.Load() {
		return
	}
	if s.pickers == nil {
		s.pickers = map[*routedBalancer]*picker{}
	}
	s.pickers[b] = p
	s.route.SetProber(s)
}

// disconnected forgets the picker of a ClientConn.
func (s *service) disconnected(b *routedBalancer) {
	s.pickersMu.Lock()
	defer s.pickersMu.Unlock()
	delete(s.pickers, b)
}

// connection returns the picker of a connection to an endpoint, or nil.
func (s *service) connection(e *router.Endpoint) balancer.Picker {
	s.pickersMu.Lock()
	defer s.pickersMu.Unlock()
	for _, p := range s.pickers {
		if c := p.connected[e]; c != nil {
			return c
		}
	}
	return nil
}

// call makes a unary call with the retries and hedges of the router.
func (s *service) call(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts []grpc.CallOption) error {
	request := s.request(ctx, method)
	c := newUnaryCall(request.Hedgeable, reply, opts)
	send := func(ctx context.Context, turn *router.Attempt) (*answer, router.Outcome) {
		a := &attempt{Attempt: turn}
		defer a.abandon()
		answer := c.answer()
		err := invoker(a.in(marking(ctx, c.sent.Add(1))), method, req, answer.reply, cc, answer.opts...)
		a.returned = true
		return answer, s.judge(ctx, a, err, c.sent.Load())
	}
	for {
		answer, o := router.Do(ctx, s.route, request, send, nil)
		if isMisdirected(o.Err, s.name) && c.sent.Load() < router.MaxAttempts {
			continue // another instance may not be connected yet: Do would not wait for it
		}
		err := o.Err
		if err != nil {
			err = s.explain(unmarked(err))
		}
		c.finish(answer, err)
		return err
	}
}

// judge returns the outcome of an attempt that has ended, of so many that the call had. A refused call is made again outside of Do.
func (s *service) judge(ctx context.Context, a *attempt, err error, sent int64) router.Outcome {
	if isMisdirected(err, s.name) {
		s.refuseAt(ctx, a.Picked().Address())
		return router.Outcome{Kind: router.Neutral, Err: err, Final: true}
	}
	o := a.outcome(err)
	o.Final = o.Final || sent >= router.MaxAttempts
	return o
}

// open opens a stream. It is repeated if it could not be opened. The attempt lasts until the stream ends.
func (s *service) open(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts []grpc.CallOption) (grpc.ClientStream, error) {
	request := s.request(ctx, method)
	request.Stream, request.Hedgeable = true, false
	send := func(ctx context.Context, turn *router.Attempt) (grpc.ClientStream, router.Outcome) {
		a := &attempt{Attempt: turn}
		defer a.abandon()
		// gRPC reports the end of each stream once, and of a stream that it cannot open, too.
		ended := grpc.OnFinish(func(err error) { a.Done(a.streamOutcome(s.name, err)) })
		stream, err := streamer(a.in(marking(ctx, int64(a.Number()))), desc, cc, method, append(opts[:len(opts):len(opts)], ended)...)
		a.returned = true
		if err != nil {
			return nil, a.outcome(err)
		}
		return stream, router.Outcome{Open: true}
	}
	stream, o := router.Do(ctx, s.route, request, send, nil)
	if o.Err != nil {
		return nil, o.Err
	}
	return stream, nil
}

// streamOutcome returns the outcome of a stream that has ended.
func (a *attempt) streamOutcome(service string, err error) router.Outcome {
	if isMisdirected(err, service) {
		return router.Outcome{Kind: router.Neutral, Err: err, Unsent: true}
	}
	return a.outcome(err)
}

var errNoOutcome = errors.New("osgrpc: an interceptor or a codec panicked")

// abandon ends an attempt whose interceptor or codec panicked. The panic goes on.
func (a *attempt) abandon() {
	if !a.returned {
		a.Done(router.Outcome{Kind: router.Neutral, Err: errNoOutcome, Final: true})
	}
}

// request returns what the router is to know about a call.
func (s *service) request(ctx context.Context, method string) router.Request {
	repeatable := s.directory.idempotent.Get(method, idempotent)
	r := router.Request{Method: methodName(method), Idempotent: repeatable, Hedgeable: repeatable}
	if complete := s.directory.opts.Request; complete != nil {
		complete(ctx, method, &r)
	}
	return r
}
