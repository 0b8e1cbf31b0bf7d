package oshttp

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/go-os/go-os/control/router"
)

// routed is a request to a service that a Router routes.
type routed struct {
	sending
	services *Services
	service  string
	scheme   string
	request  *http.Request // of the caller
	body     payload
	opened   atomic.Bool // the body belongs to an attempt
	attempts atomic.Int32
	first    delivery // of the first attempt, without an allocation of its own
}

// delivery is what became of a request: its answer, or else the last attempt. The body of the answer ends the attempt.
type delivery struct {
	res     *http.Response
	at      *instance
	arm     string
	attempt *router.Attempt
	outcome router.Outcome
	caller  context.Context
}

// roundTripRouted sends a request through the Router.
func (s *Services) roundTripRouted(r *http.Request, service string, how sending) (*http.Response, reached, error) {
	p := s.pools(service, r.URL.Scheme)
	p.update()
	d := &routed{sending: how, services: s, service: service, scheme: r.URL.Scheme, request: r, body: payloadOf(r)}
	got, outcome := router.Do(r.Context(), p.service, d.describe(), d.send, drop)
	d.endBody()
	to := reached{attempts: int(d.attempts.Load())}
	if got == nil {
		return nil, to, outcome.Err
	}
	to.instance, to.arm = got.at, got.arm
	if outcome.Err != nil {
		return nil, to, outcome.Err
	}
	return got.res, to, nil
}

// describe returns what the choice of an endpoint depends on.
func (d *routed) describe() router.Request {
	r := d.request
	req := router.Request{Method: d.method, Idempotent: idempotent(r), Stream: asksForUpgrade(r) || asksForEvents(r)}
	req.Hedgeable = req.Idempotent && d.body.once == nil
	if d.services.opts.Request != nil {
		return d.complete(req)
	}
	return req
}

// complete returns a request as the program describes it.
func (d *routed) complete(req router.Request) router.Request {
	d.services.opts.Request(d.request, &req)
	req.Hedgeable = req.Hedgeable && d.body.once == nil // the attempts would share it
	return req
}

// asksForEvents reports whether the answer to a request may be a stream of events (WHATWG HTML, 9.2), which lasts as long as its reader likes.
func asksForEvents(r *http.Request) bool {
	return strings.Contains(first(r.Header["Accept"]), "text/event-stream")
}

// send makes one attempt.
func (d *routed) send(ctx context.Context, a *router.Attempt) (*delivery, router.Outcome) {
	returned := false
	defer func() {
		if !returned { // a hook of the program has panicked
			a.Done(router.Outcome{Kind: router.Neutral})
		}
	}()
	got, outcome := d.attempt(ctx, a)
	returned = true
	return got, outcome
}

func (d *routed) attempt(ctx context.Context, a *router.Attempt) (*delivery, router.Outcome) {
	pick, err := a.Pick(ctx)
	if err != nil {
		return nil, router.Outcome{Kind: router.Neutral, Err: err, Final: true}
	}
	body, err := d.openBody()
	if err != nil {
		return nil, router.Outcome{Kind: router.Neutral, Err: err, Final: true}
	}
	p := d.services.pools(a.Service().Name(), d.scheme)
	d.attempts.Add(1)
	got := &d.first
	if a.Number() > 1 {
		got = new(delivery)
	}
	*got = delivery{at: p.of(pick.Endpoint()), attempt: a, arm: pick.Arm(), caller: d.request.Context()}
	r, handshake := d.prepare(ctx, a, got.at)
	if body != nil {
		r.Body = body
	}
	res, err := got.at.transport.RoundTrip(r)
	if err != nil {
		got.outcome = d.failed(ctx, err, handshake)
		if ctx.Err() == nil && (body.failed() || malformed(r)) { // the request's own fault: it fails everywhere, and no endpoint is to blame
			got.outcome = router.Outcome{Kind: router.Neutral, Err: err, Final: true}
		}
		return got, got.outcome
	}
	if res == nil { // a base against its contract
		return got, router.Outcome{Kind: router.Neutral, Final: true}
	}
	pick.Answered()
	got.res = res
	d.answered(p, pick, got)
	return got, got.outcome
}

// openBody returns the body of an attempt; nil if there is none.
func (d *routed) openBody() (*watched, error) {
	if d.body.get == nil {
		return nil, nil
	}
	body := d.body.ready
	if d.opened.Swap(true) {
		var err error
		if body, err = d.body.get(); err != nil {
			return nil, err
		}
	}
	return &watched{ReadCloser: body, length: d.request.ContentLength}, nil
}

// endBody ends the attempts' use of the body. One that no attempt has taken is closed.
func (d *routed) endBody() {
	if !d.opened.Swap(true) && d.body.ready != nil {
		_ = d.body.ready.Close()
	}
	if d.body.once != nil {
		d.body.once.end()
	}
}

// prepare returns the request of an attempt. Each has its own header: an earlier attempt may still read its own.
func (d *routed) prepare(ctx context.Context, a *router.Attempt, to *instance) (*http.Request, failedHandshake) {
	var handshake failedHandshake
	if d.scheme == "https" {
		ctx, handshake = watchHandshake(ctx)
	}
	r := d.request.WithContext(ctx)
	if !d.owned || a.Number() > 1 || a.Hedge() {
		if r.Header = r.Header.Clone(); r.Header == nil {
			r.Header = make(http.Header, 4)
		}
	}
	if name := a.Service().Name(); name != d.service {
		readdress(r, name)
	}
	to.named.set(r.Header)
	passOn(ctx, r.Header, a.Number())
	if d.deadline != "" && (a.Number() > 1 || ctx != d.request.Context()) {
		r.Header[d.deadline] = []string{remaining(ctx)}
	}
	return r, handshake
}

// readdress directs a copy of a request to another service, as a fallback.
func readdress(r *http.Request, service string) {
	if r.Host == r.URL.Host {
		r.Host = ""
	}
	to := *r.URL
	to.Host = service
	r.URL = &to
}

// failed returns the outcome of an attempt without an answer.
func (d *routed) failed(ctx context.Context, err error, handshake failedHandshake) router.Outcome {
	o := router.FromHTTP(nil, err)
	switch ended := ctx.Err(); {
	case errors.Is(ended, context.DeadlineExceeded):
		o.Kind = router.Timeout
	case ended != nil: // the caller left, or the attempt lost; net/http returns the cause that the caller gave
		o.Kind = router.Neutral
	case unsent(err, handshake):
		o.Kind, o.Unsent = router.GatewayFault, true
	}
	o.Final = !d.body.replayable()
	return o
}

// answered determines the outcome of an attempt with an answer, and ties the end of the attempt to the body.
func (d *routed) answered(p *pools, pick router.Pick, got *delivery) {
	res := got.res
	o := router.FromHTTP(res, nil)
	o.Load = takeLoad(res.Header)
	if res.StatusCode == http.StatusMisdirectedRequest {
		o.Kind, o.Unsent = router.Neutral, idempotent(d.request) // by the rule of net/http
		if res.Header.Get(misdirectedHeader) == p.route.service {
			o.Unsent = true
			p.refuse(got.caller, pick.Endpoint())
		}
	}
	o.Final = !d.body.replayable()
	if res.Body != nil && res.Body != http.NoBody {
		o.Open = true
		res.Body = watch(res.Body, got)
	}
	if p.service.Name() != d.service {
		res.Request = d.request // and not that to the fallback
	}
	got.outcome = o
}

// end implements reading. The end of what the server sends over an upgraded connection is not the end of the connection.
func (g *delivery) end(err error) error {
	if err == nil && g.res.StatusCode == http.StatusSwitchingProtocols {
		return nil
	}
	g.done(err)
	return err
}

// closeBody implements reading. It closes first: the end of the attempt cancels its context, and so its connection.
func (g *delivery) closeBody(body io.Closer) error {
	err := body.Close()
	g.done(nil)
	return err
}

// done ends the attempt.
func (g *delivery) done(err error) {
	o := g.outcome
	switch {
	case err == nil:
	case errors.Is(g.caller.Err(), context.Canceled):
		o.Kind = router.Neutral
	default:
		o.Kind = router.FromHTTP(nil, err).Kind
	}
	o.Open, o.Err = false, err
	g.attempt.Done(o)
}

// drop closes the answer of an attempt that the caller does not get.
func drop(g *delivery) {
	if g != nil && g.res != nil && g.res.Body != nil {
		_ = g.res.Body.Close()
	}
}
