package redissync

import (
	"context"
	"time"

	"github.com/redis/rueidis"
)

// do sends one request. It returns when its context has ended, even if the client does not: see doMulti.
func (d *Driver) do(ctx context.Context, command rueidis.Completed) rueidis.RedisResult {
	return d.doMulti(ctx, command)[0]
}

// doMulti sends requests together. It returns when its context has ended, even if the client does not: while it makes a connection, the
// client heeds no context. A request whose context has ended by then is not sent.
func (d *Driver) doMulti(ctx context.Context, commands ...rueidis.Completed) []rueidis.RedisResult {
	answers := make(chan []rueidis.RedisResult, 1)
	go func() { answers <- d.client.DoMulti(cancelable{ctx}, commands...) }()
	select {
	case all := <-answers:
		return all
	case <-ctx.Done():
	}
	failed := make([]rueidis.RedisResult, len(commands))
	for i := range failed {
		failed[i] = rueidis.NewErrorResult(ctx.Err())
	}
	return failed
}

// cancelable is a context for the client. The client heeds the end of a context only if it has no deadline; otherwise it may wait for as
// long as its own timeout, or until the deadline if that comes first, even if the context is canceled before.
type cancelable struct{ context.Context }

// Deadline implements context.Context.
func (cancelable) Deadline() (time.Time, bool) { return time.Time{}, false }
