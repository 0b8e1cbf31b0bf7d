package oshttp

import (
	"context"
	"sync"
	"time"
)

// handshake is the context of an upgrade request: a context with a deadline that can be lifted, which package context does not
// offer. The parent's deadline stays.
type handshake struct {
	context.Context // the parent
	at              time.Time
	done            chan struct{}
	timer           *time.Timer
	leave           func() bool // stops following the parent

	mu     sync.Mutex
	err    error
	lifted bool
}

func newHandshake(parent context.Context, d time.Duration) *handshake {
	c := &handshake{Context: parent, at: time.Now().Add(d), done: make(chan struct{})}
	if d <= 0 {
		c.end(context.DeadlineExceeded, true) // now, before a timer fires
	}
	c.timer = time.AfterFunc(d, func() { c.end(context.DeadlineExceeded, true) })
	c.leave = context.AfterFunc(parent, func() { c.end(parent.Err(), false) })
	return c
}

// Deadline implements context.Context. Unlike other contexts, it does not always return the same result.
func (c *handshake) Deadline() (time.Time, bool) {
	at, ok := c.Context.Deadline()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lifted || ok && at.Before(c.at) {
		return at, ok
	}
	return c.at, true
}

// Done implements context.Context.
func (c *handshake) Done() <-chan struct{} { return c.done }

// Err implements context.Context.
func (c *handshake) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// lift removes the deadline, unless it has passed.
func (c *handshake) lift() {
	c.timer.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lifted = true
}

// stop ends the context, like a context.CancelFunc.
func (c *handshake) stop() {
	c.timer.Stop()
	c.leave()
	c.end(context.Canceled, false)
}

func (c *handshake) end(err error, byDeadline bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || byDeadline && c.lifted {
		return
	}
	c.err = err
	close(c.done)
}
