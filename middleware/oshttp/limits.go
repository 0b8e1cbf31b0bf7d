package oshttp

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
)

// admit reports whether the request may reach the handler, and answers it if not. A place is taken last: a request that is
// refused, for whatever reason, holds none while it is answered, logged and measured.
func (x *exchange) admit() bool {
	limit := x.h.opts.MaxBodyBytes
	switch {
	case limit > 0 && x.caller.ContentLength > limit:
		return x.refuse(faultTooLarge, http.StatusRequestEntityTooLarge)
	case x.cancel != nil && x.req.Context().Err() != nil: // the caller has no time left: spare the work
		x.shed = true
		return x.refuse(faultTimeout, http.StatusGatewayTimeout)
	case !x.h.places.Acquire():
		x.shed = true
		x.Header().Set("Retry-After", "1")
		return x.refuse(faultOverload, http.StatusServiceUnavailable)
	}
	x.admitted = true
	return true
}

func (x *exchange) refuse(fault string, status int) bool {
	x.fault = fault
	x.answer(status)
	return false
}

// watchBody puts a reader before the request's body if it is to be limited or counted.
func (x *exchange) watchBody() {
	r := x.req
	limit := x.h.opts.MaxBodyBytes
	count := x.measured && x.h.metrics.received.Enabled(r.Context())
	if r.Body == nil || r.Body == http.NoBody || (limit <= 0 && !count) {
		return
	}
	x.body = &requestBody{ReadCloser: r.Body}
	if limit > 0 {
		// With the server's own writer, MaxBytesReader also makes it close the connection instead of reading on.
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

// requestBody counts what is read of a request's body and notices when it was too much. A handler may leave a goroutine
// that still reads when it returns, as reverse proxies do, so its fields are atomic.
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

// writingBody is a requestBody before a body that can write itself, which one with a limit cannot.
type writingBody struct{ *requestBody }

// WriteTo implements io.WriterTo.
func (b writingBody) WriteTo(w io.Writer) (int64, error) {
	n, err := b.ReadCloser.(io.WriterTo).WriteTo(w)
	b.read.Add(n)
	return n, err
}

// exceeded reports whether reading went over MaxBodyBytes.
func (b *requestBody) exceeded() bool { return b != nil && b.over.Load() }

// size returns how much of the body was received; for a body that was not read, that is its Content-Length.
func (b *requestBody) size(r *http.Request) int64 {
	if b != nil {
		if n := b.read.Load(); n > 0 {
			return n
		}
	}
	return max(r.ContentLength, 0)
}
