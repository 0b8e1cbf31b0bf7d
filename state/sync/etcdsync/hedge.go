package etcdsync

import (
	"context"
	"errors"
	"time"

	"github.com/go-os/go-os/state/sync/driver"
)

// answer is the outcome of one attempt.
type answer[T any] struct {
	value T
	err   error
}

// hedge sends an idempotent request. If the request fails, or is not answered after hedgeDelay, hedge sends it again, up to this number of
// attempts. The client uses its endpoints in turn, so the next attempt goes to another one. hedge returns the first success, or ErrLost,
// which another attempt would return as well.
func hedge[T any](ctx context.Context, attempts int, request func(context.Context) (T, error)) (T, error) {
	if attempts <= 1 {
		return request(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan answer[T], attempts)
	tick := time.NewTicker(hedgeDelay(ctx))
	defer tick.Stop()
	begun := 0
	begin := func() {
		if begun < attempts {
			begun++
			go func() {
				value, err := request(ctx)
				answers <- answer[T]{value, err}
			}()
		}
	}
	begin()
	for failed := 0; ; {
		select {
		case a := <-answers:
			if a.err == nil || errors.Is(a.err, driver.ErrLost) {
				return a.value, a.err
			}
			if failed++; failed == attempts || ctx.Err() != nil {
				return a.value, a.err
			}
			begin()
		case <-tick.C:
			begin()
		}
	}
}

// hedgeDelay returns how long to wait for an answer before the next attempt.
func hedgeDelay(ctx context.Context) time.Duration {
	const (
		least = 10 * time.Millisecond
		most  = time.Second
	)
	deadline, ok := ctx.Deadline()
	if !ok {
		return most
	}
	return min(max(time.Until(deadline)/4, least), most)
}
