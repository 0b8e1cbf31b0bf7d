package osgrpc

import (
	"errors"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/endpointsharding"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/control/router"
)

// picker chooses among the endpoints to which a ClientConn is connected. It is immutable.
type picker struct {
	offer     *offer
	selection *router.Selection
	connected map[*router.Endpoint]balancer.Picker
}

// newPicker returns a picker for the endpoints whose connections are ready.
func newPicker(o *offer, children []endpointsharding.ChildState) *picker {
	p := &picker{offer: o, connected: make(map[*router.Endpoint]balancer.Picker, len(children))}
	ready := make([]*router.Endpoint, 0, len(children))
	for _, c := range children {
		if c.State.ConnectivityState != connectivity.Ready {
			continue
		}
		for _, e := range endpointsOf(c.Endpoint) {
			p.connected[e] = c.State.Picker
			ready = append(ready, e)
		}
	}
	p.selection = o.service.route.Among(ready)
	return p
}

// Pick implements balancer.Picker. It never blocks.
func (p *picker) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	p.offer.refresh()
	a := attemptOf(info.Ctx)
	pick, err := p.choose(a, info.FullMethodName)
	if err != nil {
		return balancer.PickResult{}, a.rejected(err)
	}
	result, err := p.connected[pick.Endpoint()].Pick(info)
	if err != nil {
		pick.Done(router.Outcome{Kind: router.Neutral})
		return result, err
	}
	if a == nil {
		result.Done = func(info balancer.DoneInfo) { pick.Done(outcomeOf(info)) }
		return result, nil
	}
	result.Done = func(info balancer.DoneInfo) { a.finished(pick, info) }
	return result, nil
}

// choose picks an endpoint for an attempt. A call whose context was replaced by another interceptor has none.
func (p *picker) choose(a *attempt, fullMethod string) (router.Pick, error) {
	if a == nil {
		return p.selection.Pick(router.Request{Method: methodName(fullMethod)})
	}
	return a.PickAmong(p.selection)
}

// rejection is the error of a call that the router rejected. It has a code for gRPC, and the router's error for callers.
type rejection struct {
	code  codes.Code
	cause error
}

// Error implements error.
func (r *rejection) Error() string { return r.cause.Error() }

// Unwrap returns the router's error.
func (r *rejection) Unwrap() error { return r.cause }

// GRPCStatus returns the status of the call.
func (r *rejection) GRPCStatus() *status.Status { return status.New(r.code, oneLine(r.cause)) }

// rejected returns the error of a pick in the form that gRPC needs. A status ends the call; another error ends only a call that does not wait
// for ready.
func (a *attempt) rejected(err error) error {
	code := codes.Unavailable
	switch {
	case errors.Is(err, router.ErrLimited):
		code = codes.ResourceExhausted
	case errors.Is(err, router.ErrRejected), errors.Is(err, router.ErrClosed):
	default:
		return errors.New(oneLine(err))
	}
	r := &rejection{code, err}
	if a != nil {
		a.mu.Lock()
		a.refusal = r
		a.mu.Unlock()
	}
	return r
}
