// Package backoff computes how long to wait between attempts.
//
//	b := backoff.Backoff{First: 100 * time.Millisecond, Longest: 5 * time.Second}
//	for try(ctx) != nil {
//		if err := b.Wait(ctx); err != nil {
//			return err
//		}
//	}
//
// A wait is twice the one before, up to a limit, and half of it is random ("equal jitter" in Exponential Backoff And Jitter, AWS
// Architecture Blog, 2015). Clients that failed at the same moment do not return at the same moment, and no client returns at once.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff is the state of one sequence of attempts. The zero value does not wait. It is not safe for concurrent use.
type Backoff struct {
	// First is the upper bound of the first wait.
	First time.Duration
	// Longest is the upper bound of every wait, the first included.
	Longest time.Duration

	failures int
}

// Next returns the wait before the next attempt, and counts a failure.
func (b *Backoff) Next() time.Duration {
	wait := After(b.failures, b.First, b.Longest)
	b.failures++
	return wait
}

// Reset starts over, after a success.
func (b *Backoff) Reset() { b.failures = 0 }

// Wait sleeps for Next. It returns the error of ctx if that ends first.
func (b *Backoff) Wait(ctx context.Context) error { return Sleep(ctx, b.Next()) }

// After returns the wait that follows a number of waits, for a caller that counts its own failures. It is between half of Exponential and
// all of it.
func After(waits int, first, longest time.Duration) time.Duration {
	return Jitter(Exponential(waits, first, longest), 0.5)
}

// Exponential returns first·2ⁿ for n waits, and at most longest. It has no jitter: see Jitter.
func Exponential(waits int, first, longest time.Duration) time.Duration {
	wait := min(first, longest)
	for ; waits > 0 && wait > 0 && wait < longest; waits-- {
		if wait > longest/2 {
			return longest
		}
		wait *= 2
	}
	return wait
}

// Jitter returns a random duration between d·(1−share) and d. A share of 0.1 spreads periodic work over the last tenth of its period. A
// duration that is not positive gives zero.
func Jitter(d time.Duration, share float64) time.Duration {
	if d <= 0 {
		return 0
	}
	return d - rand.N(time.Duration(float64(d)*share)+1)
}

// Sleep waits for d. It returns the error of ctx if that ends first.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
