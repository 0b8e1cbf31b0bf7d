package oshttp

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
)

// admit reports whether the request may reach the handler, and answers it if not. It takes a place last: a refused request
// holds none while it is answered, logged and measured.
func (x *exchange) admit() bool {
	limit := x.h.opts.MaxBodyBytes
	switch {
	case x.h.opts.misdirected(x.caller):
		x.fault = faultMisdirected
		refuseMisdirected(x, x.caller)
		return false
	case limit > 0 && x.caller.ContentLength > limit:
		return x.refuse(faultTooLarge, http.StatusRequestEntityTooLarge)
	case x.cancel != nil && x.req.Context().Err() != nil: // the caller has no time left: save the work
		x.shed = true
		return x.refuse(faultTimeout, http.StatusGatewayTimeout)
	case !x.h.places.Acquire():
		x.shed = true
		x.Header().Set("Retry-After", "1")
		return x.refuse(faultOverload, http.StatusServiceUnavailable)
	}
	x.admitted = true
	return x.beginWork()
}

func (x *exchange) refuse(fault string, status int) bool {
	x.fault = fault
	x.answer(status)
	return false
}

// watchBody wraps the request's body if it is limited or counted.
func (x *exchange) watchBody() {
	r := x.req
	limit := x.h.opts.MaxBodyBytes
	count := x.measured && x.h.metrics.received.Enabled(r.Context())
	if r.Body == nil || r.Body == http.NoBody || (limit <= 0 && !count) {
		return
	}
	x.body = &requestBody{ReadCloser: r.Body}
	if limit > 0 {
		// With the server's own writer, MaxBytesReader also closes the connection instead of reading on.
		x.body.ReadCloser = http.MaxBytesReader(x.rw, r.Body, limit)
	}
	if x.req == x.caller {
		x.req = r.WithContext(r.Context())
	}
	x.req.Body = x.body
	if _, ok := x.body.ReadCloser.(io.WriterTo); ok {
		x.req.Body = writingBody{x.body}
	}
}

// requestBody counts the bytes read from a request's body and records whether they exceeded the limit. A handler may
// return while a goroutine of it still reads, as reverse proxies do, so its fields are atomic.
type requestBody struct {
	io.ReadCloser
	read atomic.Int64
	over atomic.Bool
}

// Read implements io.Reader.
func (b *requestBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read.Add(int64(n))
	if err != nil && err != io.EOF {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			b.over.Store(true)
		}
	}
	return n, err
}

// writingBody is a requestBody for a body with WriteTo, which one with a limit cannot be.
type writingBody struct{ *requestBody }

// WriteTo implements io.WriterTo.
func (b writingBody) WriteTo(w io.Writer) (int64, error) {
	n, err := b.ReadCloser.(io.WriterTo).WriteTo(w)
	b.read.Add(n)
	return n, err
}

// exceeded reports whether reading exceeded MaxBodyBytes.
func (b *requestBody) exceeded() bool { return b != nil && b.over.Load() }

// size returns the number of bytes received; for a body that was not read, it is the Content-Length.
func (b *requestBody) size(r *http.Request) int64 {
	if b != nil {
		if n := b.read.Load(); n > 0 {
			return n
		}
	}
	return max(r.ContentLength, 0)
}
