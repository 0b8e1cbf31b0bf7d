package oshttp

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
)

const (
	// maxRepeats is how often a request is repeated that a server may have received.
	maxRepeats = 2
	// maxRefusals is how many instances may refuse a request as misdirected. It keeps a wrong name in HandlerOptions.Services from
	// multiplying the requests of a fleet. Refusals are remembered, so the next requests try other instances.
	maxRefusals = 3
)

// dispatch sends one request to instances of a service until one of them answers.
type dispatch struct {
	route   *route
	request *http.Request // of the caller
	owned   bool          // the header of request may be changed
	body    payload

	tried     []*instance
	space     [4]*instance // for tried, without an allocation of its own
	repeats   int
	refusals  int
	handshake failedHandshake // of the present attempt
}

// run returns the first answer, and the instance that gave it. Otherwise it returns the last error.
func (d *dispatch) run() (*http.Response, *instance, error) {
	d.tried = d.space[:0]
	var res *http.Response
	var err error
	for {
		next, failure := d.route.pick(d.request.Context(), d.tried)
		if next == nil {
			if res == nil && err == nil {
				err = failure
			}
			break
		}
		if res != nil {
			discard(res)
		}
		d.tried = append(d.tried, next)
		res, err = next.transport.RoundTrip(d.prepare(next))
		if !d.again(next, res, err) {
			break
		}
	}
	d.body.end()
	return res, d.last(), err
}

func (d *dispatch) last() *instance {
	if len(d.tried) == 0 {
		return nil
	}
	return d.tried[len(d.tried)-1]
}

// prepare returns the request to send to an instance. Each attempt has its own header: an earlier attempt may still read its own.
func (d *dispatch) prepare(to *instance) *http.Request {
	r := d.request
	first := len(d.tried) == 1
	if encrypted := d.route.scheme == "https"; encrypted || !d.owned || !first {
		ctx := r.Context()
		if encrypted {
			ctx, d.handshake = watchHandshake(ctx)
		}
		r = r.WithContext(ctx)
		r.Header = r.Header.Clone()
		if r.Header == nil {
			r.Header = make(http.Header, 2)
		}
	}
	to.named.set(r.Header)
	d.body.prepare(r)
	return r
}

// again reports whether the request should be sent to another instance.
func (d *dispatch) again(at *instance, res *http.Response, err error) bool {
	ctx := d.request.Context()
	switch {
	case err == nil && res == nil:
		return false
	case err == nil && res.StatusCode == http.StatusMisdirectedRequest:
		at.done(true)
		return d.misdirected(ctx, at, res)
	case err == nil:
		at.done(true)
		return false
	case ctx.Err() != nil:
		return false
	case unsent(err, d.handshake):
		at.done(false)
		return d.body.next()
	case timedOut(err):
		return false
	}
	at.done(false)
	return d.repeat()
}

// repeat reports whether a request can be repeated that the server may have received.
func (d *dispatch) repeat() bool {
	d.repeats++
	return d.repeats <= maxRepeats && idempotent(d.request) && d.body.next()
}

// unsent reports whether the error shows that nothing of the request was sent.
func unsent(err error, handshake failedHandshake) bool {
	var dial *dialError
	var certificate *tls.CertificateVerificationError
	return errors.As(err, &dial) || errors.As(err, &certificate) || errors.Is(err, http.ErrSchemeMismatch) || handshake.is(err)
}

// failedHandshake is the error of the TLS handshake that an attempt began. The handshake of an attempt that got another connection
// meanwhile may end after it.
type failedHandshake struct{ err *atomic.Pointer[error] }

// watchHandshake returns ctx for an attempt, and the failure of its handshake. net/http has no type for the errors of handshakes, and sends
// nothing after one.
func watchHandshake(ctx context.Context) (context.Context, failedHandshake) {
	failure := new(atomic.Pointer[error])
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{TLSHandshakeDone: func(_ tls.ConnectionState, err error) {
		if err != nil {
			failure.Store(&err)
		}
	}}), failedHandshake{failure}
}

// is reports whether err is the error of the handshake.
func (h failedHandshake) is(err error) bool {
	if h.err == nil {
		return false
	}
	failure := h.err.Load()
	return failure != nil && errors.Is(err, *failure)
}

func timedOut(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded)
}

// idempotent reports whether a request may be sent twice, by the rule of net/http.
func idempotent(r *http.Request) bool {
	switch r.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return r.Header["Idempotency-Key"] != nil || r.Header["X-Idempotency-Key"] != nil
}

// discard closes a response before its request is resent. It reads a little of the body, so that the connection can be reused.
func discard(res *http.Response) {
	_, _ = io.CopyN(io.Discard, res.Body, 4<<10)
	_ = res.Body.Close()
}
