package oshttp

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
)

// maxRepeats is how often a request is repeated that a server may have received.
const maxRepeats = 2

// dispatch sends one request to instances of a service until one of them answers.
type dispatch struct {
	route   *route
	request *http.Request // of the caller
	owned   bool          // the header of request may be changed
	body    payload

	tried   []*instance
	space   [4]*instance // for tried, without an allocation of its own
	repeats int
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
	d.body.end(err != nil)
	return res, d.last(), err
}

func (d *dispatch) last() *instance {
	if len(d.tried) == 0 {
		return nil
	}
	return d.tried[len(d.tried)-1]
}

// prepare returns the request to send to an instance. Each attempt has its own header: an earlier one may still be read.
func (d *dispatch) prepare(to *instance) *http.Request {
	r := d.request
	first := len(d.tried) == 1
	if !d.owned || !first {
		r = r.WithContext(r.Context())
		r.Header = r.Header.Clone()
		if r.Header == nil {
			r.Header = make(http.Header, 2)
		}
	}
	to.named.set(r.Header)
	d.body.prepare(r)
	return r
}

// again reports whether the request should go to another instance.
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
	case unsent(err):
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
func unsent(err error) bool {
	var dial *dialError
	var certificate *tls.CertificateVerificationError
	return errors.As(err, &dial) || errors.As(err, &certificate) || errors.Is(err, http.ErrSchemeMismatch)
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

// discard gives up a response whose request is sent again. A little of the body is read, so that the connection can be used again.
func discard(res *http.Response) {
	_, _ = io.CopyN(io.Discard, res.Body, 4<<10)
	_ = res.Body.Close()
}

// payload are the payload of the attempts of one request.
type payload struct {
	get   func() (io.ReadCloser, error) // nil if the body can be read only once
	once  *untouched                    // the body that can be read only once
	ready io.ReadCloser                 // of the next attempt; nil if there is no body
	taken bool                          // by an attempt, which closes it
}

// payloadOf returns the body of a request.
func payloadOf(r *http.Request) payload {
	switch {
	case r.Body == nil || r.Body == http.NoBody:
		return payload{}
	case r.GetBody != nil:
		return payload{get: r.GetBody, ready: r.Body}
	}
	once := &untouched{ReadCloser: r.Body}
	return payload{once: once, ready: once}
}

// prepare gives a request its body.
func (b *payload) prepare(r *http.Request) {
	if b.ready != nil {
		r.Body, b.taken = b.ready, true
	}
}

// next reports whether there is a body for one more attempt, and has it ready.
func (b *payload) next() bool {
	switch {
	case b.once != nil:
		return !b.once.wasRead()
	case b.get == nil:
		return true
	}
	body, err := b.get()
	if err != nil {
		return false
	}
	b.ready, b.taken = body, false
	return true
}

// end ends the last attempt. A body that no attempt will close is closed.
func (b *payload) end(failed bool) {
	switch {
	case b.once != nil:
		b.once.end(failed)
	case b.ready != nil && !b.taken:
		_ = b.ready.Close()
	}
}

// untouched is a body that can be read only once. It is not closed before it is read, so that another attempt can read it.
type untouched struct {
	io.ReadCloser

	mu     sync.Mutex
	read   bool // or will not be read any more
	closed bool
}

// Read implements io.Reader.
func (b *untouched) Read(p []byte) (int, error) {
	b.mu.Lock()
	b.read = true
	b.mu.Unlock()
	return b.ReadCloser.Read(p)
}

// Close implements io.Closer.
func (b *untouched) Close() error {
	b.mu.Lock()
	first := !b.closed
	b.closed = true
	now := first && b.read
	b.mu.Unlock()
	if now {
		return b.ReadCloser.Close()
	}
	return nil
}

func (b *untouched) wasRead() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.read
}

// end closes the body if an attempt has tried to, and also if no attempt will.
func (b *untouched) end(failed bool) {
	b.mu.Lock()
	now := !b.read && (b.closed || failed)
	b.read, b.closed = true, b.closed || failed && now
	b.mu.Unlock()
	if now {
		_ = b.ReadCloser.Close()
	}
}
