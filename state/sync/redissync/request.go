package redissync

import (
	"context"
	"time"

	"github.com/redis/rueidis"
)

// request is a command. Scripts are sent by their SHA-1, because their text is long. The client's own type for scripts, rueidis.Lua,
// cannot send them together with other commands.
type request struct {
	command rueidis.Completed
	whole   func() rueidis.Completed // with the script's text, for a server that does not have it; nil for other commands
}

// do sends one request. Like send, it returns when its context ends.
func (d *Driver) do(ctx context.Context, r request) rueidis.RedisResult {
	return d.doMulti(ctx, r)[0]
}

// doMulti sends requests together. A script that the server does not have is sent again with its text.
func (d *Driver) doMulti(ctx context.Context, requests ...request) []rueidis.RedisResult {
	commands := make(rueidis.Commands, len(requests))
	for i, r := range requests {
		commands[i] = r.command
	}
	answers := d.send(ctx, commands)
	var unknown []int
	var whole rueidis.Commands
	for i, r := range requests {
		if said, ok := rueidis.IsRedisErr(answers[i].Error()); ok && said.IsNoScript() && r.whole != nil {
			unknown, whole = append(unknown, i), append(whole, r.whole())
		}
	}
	if len(unknown) == 0 {
		return answers
	}
	for i, answer := range d.send(ctx, whole) {
		answers[unknown[i]] = answer
	}
	return answers
}

// send sends commands together. It returns when its context ends. The client alone would not, since it ignores the context while it connects. A
// command whose context has ended by then is not sent.
func (d *Driver) send(ctx context.Context, commands rueidis.Commands) []rueidis.RedisResult {
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

// cancelable hides the deadline of a context from the client. With a deadline, the client does not notice a cancellation, and waits for
// the deadline or its own timeout.
type cancelable struct{ context.Context }

// Deadline implements context.Context.
func (cancelable) Deadline() (time.Time, bool) { return time.Time{}, false }
