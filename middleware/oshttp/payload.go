package oshttp

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
)

// payload is the body of a request, for all its attempts.
type payload struct {
	get   func() (io.ReadCloser, error) // returns the body for one more attempt; nil if there is no body
	once  *once                         // the body, if it can be read only once
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
	body := &once{body: r.Body}
	ready, _ := body.open()
	return payload{get: body.open, once: body, ready: ready}
}

// prepare gives a request its body.
func (b *payload) prepare(r *http.Request) {
	if b.ready != nil {
		r.Body, b.taken = b.ready, true
	}
}

// next reports whether there is a body for one more attempt, and prepares it.
func (b *payload) next() bool {
	if b.get == nil {
		return true
	}
	body, err := b.get()
	if err != nil {
		return false
	}
	b.ready, b.taken = body, false
	return true
}

// end ends the last attempt. A body that no attempt has taken is closed.
func (b *payload) end() {
	if b.ready != nil && !b.taken {
		_ = b.ready.Close()
	}
	if b.once != nil {
		b.once.end()
	}
}

// replayable reports whether there is a body for one more attempt.
func (b *payload) replayable() bool {
	if b.once == nil {
		return true
	}
	b.once.mu.Lock()
	defer b.once.mu.Unlock()
	return !b.once.read
}

// errBodyRead reports a body that can be read only once and was read by an earlier attempt.
var errBodyRead = errors.New("oshttp: the body was read by an earlier attempt")

// once is a body that can be read only once. Attempts pass it on until one of them reads it.
type once struct {
	body io.ReadCloser

	mu     sync.Mutex
	turn   *turn // the present one
	read   bool
	last   bool // no other turn follows
	left   bool // the present attempt has closed its turn
	closed bool
}

// turn is the body in the hands of one attempt. Once the next attempt has the body, an earlier turn neither reads nor closes it:
// net/http may close a body after RoundTrip has returned.
type turn struct{ of *once }

// open returns the body for one more attempt, unless one has read it.
func (b *once) open() (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.read {
		return nil, errBodyRead
	}
	b.turn, b.left = &turn{b}, false
	return b.turn, nil
}

// end closes the body if the last attempt has closed its turn.
func (b *once) end() {
	b.mu.Lock()
	b.last = true
	b.mu.Unlock()
	_ = b.close()
}

// close closes the body once, when the attempt that has it is done with it and no other one can have it.
func (b *once) close() error {
	b.mu.Lock()
	now := b.left && (b.read || b.last) && !b.closed
	b.closed = b.closed || now
	b.mu.Unlock()
	if now {
		return b.body.Close()
	}
	return nil
}

// Read implements io.Reader.
func (t *turn) Read(p []byte) (int, error) {
	b := t.of
	b.mu.Lock()
	over := b.turn != t || b.left
	b.read = b.read || !over
	b.mu.Unlock()
	if over {
		return 0, http.ErrBodyReadAfterClose
	}
	return b.body.Read(p)
}

// Close implements io.Closer.
func (t *turn) Close() error {
	b := t.of
	b.mu.Lock()
	b.left = b.left || b.turn == t
	b.mu.Unlock()
	return b.close()
}

// watched is the body of one attempt. It knows whether the body made the attempt fail: net/http has no type for these errors.
type watched struct {
	io.ReadCloser
	length int64 // as the request declares it; below 1 if it does not
	count  int64 // bytes that were read
	closed atomic.Bool
	wrong  atomic.Bool
}

// Read implements io.Reader. An error after Close is a consequence of the failure.
func (b *watched) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.count += int64(n)
	broken := err != nil && err != io.EOF && !b.closed.Load()
	if broken || b.length > 0 && (b.count > b.length || err == io.EOF && b.count < b.length) {
		b.wrong.Store(true)
	}
	return n, err
}

// Close implements io.Closer.
func (b *watched) Close() error {
	b.closed.Store(true)
	return b.ReadCloser.Close()
}

// failed reports whether the body made its attempt fail: it could not be read, or is not as long as declared. A nil body did not.
func (b *watched) failed() bool { return b != nil && b.wrong.Load() }
