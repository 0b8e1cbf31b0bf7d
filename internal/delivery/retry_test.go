package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// hinted is a failure with a hint.
type hinted time.Duration

func (hinted) Error() string { return "busy" }

func hintOf(err error) time.Duration {
	var h hinted
	errors.As(err, &h)
	return time.Duration(h)
}

func TestRetryBacksOffUntilItWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		start := time.Now()
		err := new(Retry).Do(t.Context(), time.Time{}, func(context.Context) error {
			if at = append(at, time.Since(start)); len(at) < 8 {
				return io.EOF
			}
			return nil
		})
		if err != nil || len(at) != 8 {
			t.Fatalf("%v after %d attempts, want success at the 8th", err, len(at))
		}
		longest := DefaultFirst
		for i := 1; i < len(at); i++ {
			if wait := at[i] - at[i-1]; wait < longest/2 || wait > longest {
				t.Errorf("wait %d is %v, want %v to %v", i, wait, longest/2, longest)
			}
			longest = min(2*longest, DefaultLongest)
		}
	})
}

func TestRetryObeysHints(t *testing.T) {
	const budget = 10 * time.Second
	for name, c := range map[string]struct{ hint, least, most time.Duration }{
		"none":                    {0, DefaultFirst / 2, DefaultFirst},
		"negative":                {-time.Hour, DefaultFirst / 2, DefaultFirst},
		"shorter than the wait":   {time.Nanosecond, DefaultFirst / 2, DefaultFirst},
		"longer than the wait":    {7 * time.Second, 7 * time.Second, 7 * time.Second},
		"longer than the budget":  {30 * time.Second, 30 * time.Second, 30 * time.Second},
		"absurd":                  {24 * time.Hour, DefaultLongestHint, DefaultLongestHint},
		"longer than time itself": {math.MaxInt64, DefaultLongestHint, DefaultLongestHint},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &Retry{Hint: hintOf}
				start, tries := time.Now(), 0
				err := r.Do(t.Context(), start.Add(budget), func(context.Context) error {
					if tries++; tries == 1 {
						return hinted(c.hint)
					}
					return nil
				})
				if took := time.Since(start); err != nil || took < c.least || took > c.most {
					t.Errorf("%v after %v, want success after %v to %v", err, took, c.least, c.most)
				}
			})
		})
	}
}

func TestRetryGivesUp(t *testing.T) {
	for name, c := range map[string]struct {
		retry Retry
		tries int
		took  time.Duration // at most
	}{
		"after the deadline":    {Retry{First: time.Second, Longest: time.Second}, 0, time.Minute},
		"at a lasting failure":  {Retry{Temporary: func(error) bool { return false }}, 1, 0},
		"while draining":        {Retry{Draining: closedChannel(), GiveUp: func(_ error, tries int) bool { return tries >= 3 }}, 3, 2 * DefaultFirst},
		"not unless it drains":  {Retry{First: 20 * time.Second, Longest: 20 * time.Second, GiveUp: func(error, int) bool { return true }}, 0, time.Minute},
		"by the hint of a date": {Retry{Hint: func(error) time.Duration { return RetryAfter("Sat, 01 Jan 2000 00:00:00 GMT", time.Now()) }}, 0, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start, tries := time.Now(), 0
				err := c.retry.Do(t.Context(), start.Add(time.Minute), func(context.Context) error { tries++; return io.EOF })
				took := time.Since(start)
				if err != io.EOF || took > c.took || c.tries > 0 && tries != c.tries {
					t.Errorf("%v after %d attempts in %v", err, tries, took)
				}
				if c.tries == 0 && (tries < 3 || took < 30*time.Second) {
					t.Errorf("gave up after %d attempts in %v", tries, took)
				}
			})
		})
	}
}

func closedChannel() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// TestRetryEndsWithItsContext ends the context during the first attempt, and during the second.
func TestRetryEndsWithItsContext(t *testing.T) {
	for _, failures := range []int{0, 1} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			cause := errors.New("interrupt")
			tries := 0
			err := new(Retry).Do(ctx, time.Now().Add(time.Hour), func(ctx context.Context) error {
				if tries++; tries <= failures {
					return io.EOF
				}
				time.AfterFunc(time.Second, func() { cancel(cause) })
				<-ctx.Done()
				return ctx.Err()
			})
			if failures == 0 && (!errors.Is(err, ErrOutOfTime) || !errors.Is(err, cause)) {
				t.Errorf("the only attempt was interrupted, and the error is %v", err)
			}
			if failures == 1 && err != io.EOF {
				t.Errorf("the error is %v, want that of the attempt before", err)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Millisecond)
		defer cancel()
		start := time.Now()
		if err := new(Retry).Do(ctx, time.Time{}, func(context.Context) error { return io.EOF }); err != io.EOF || time.Since(start) != 40*time.Millisecond {
			t.Errorf("a wait ended after %v with %v", time.Since(start), err)
		}
	})
}

// TestRetryAsksWhetherAnAttemptWasInterrupted: a consumer that took a part has answered, though its error wraps that of the context.
func TestRetryAsksWhetherAnAttemptWasInterrupted(t *testing.T) {
	partial := fmt.Errorf("1 of 2 items: %w", context.Canceled)
	for name, c := range map[string]struct {
		interrupted func(context.Context, error) bool
		want        error
	}{
		"default": {nil, ErrOutOfTime},
		"never":   {func(context.Context, error) bool { return false }, partial},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		err := (&Retry{Interrupted: c.interrupted}).Do(ctx, time.Time{}, func(context.Context) error { cancel(); return partial })
		if !errors.Is(err, c.want) || errors.Is(err, ErrOutOfTime) != (c.want == ErrOutOfTime) {
			t.Errorf("%s: the error is %v, want %v", name, err, c.want)
		}
	}
	err := new(Retry).Do(t.Context(), time.Now().Add(time.Millisecond), func(context.Context) error { return context.Canceled })
	if err != context.Canceled {
		t.Errorf("the context has not ended, and the error is %v", err)
	}
}

// TestDrainingCutsAWaitButNotAHint starts draining during a wait.
func TestDrainingCutsAWaitButNotAHint(t *testing.T) {
	for _, hint := range []time.Duration{0, 30 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			draining := make(chan struct{})
			r := &Retry{First: time.Second, Longest: time.Second, Hint: hintOf, Draining: draining}
			if hint == 0 {
				r.First, r.Longest = 100*time.Millisecond, time.Hour
			}
			time.AfterFunc(10*time.Second, func() { close(draining) })
			start := time.Now()
			var last time.Duration
			tries := 0
			_ = r.Do(t.Context(), time.Time{}, func(context.Context) error {
				tries++
				if last = time.Since(start); last >= 10*time.Second {
					return nil
				}
				return hinted(hint)
			})
			if want := 10*time.Second + 100*time.Millisecond; hint == 0 && last > want {
				t.Errorf("the attempt after Shutdown came at %v, want %v at most", last, want)
			}
			if hint > 0 && (last < hint || tries != 2) {
				t.Errorf("the peer asked for %v, and the %d. attempt came after %v", hint, tries, last)
			}
		})
	}
}

// TestDeadlineIsMonotonic: a step of the wall clock must not end a retry or make it endless. The deadline stays monotonic when a hint moves
// it.
func TestDeadlineIsMonotonic(t *testing.T) {
	r := &Retry{First: 1, Longest: 1, Hint: hintOf}
	tries := 0
	err := r.Do(t.Context(), time.Now().Add(time.Minute), func(ctx context.Context) error {
		if deadline, ok := ctx.Deadline(); !ok || !strings.Contains(deadline.String(), " m=+") {
			t.Errorf("the deadline of attempt %d is %v, which has no monotonic clock reading", tries, deadline)
		}
		if tries++; tries < 3 {
			return hinted(time.Microsecond)
		}
		return nil
	})
	if err != nil || tries != 3 {
		t.Errorf("%v after %d attempts", err, tries)
	}
}

// TestRetryAfter includes dates. A date comes from the peer's clock, which may be off; Retry bounds the wait by LongestHint.
func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-1": 0, "+1": 0, "1.5": 0, "soon": 0, "99999999999999999999": 0,
		"2147483647":                    math.MaxInt32 * time.Second,
		"Mon, 23 Nov 2026 10:00:05 GMT": 5 * time.Second, "Mon, 23 Nov 2026 09:00:00 GMT": 0,
		"Monday, 23-Nov-26 10:00:05 GMT": 5 * time.Second, "Mon Nov 23 10:00:05 2026": 5 * time.Second,
		"Tue, 24 Nov 2026 10:00:00 GMT": 24 * time.Hour, "Mon, 23 Nov 2026 10:00:05 CET": 0,
		"Fri, 31 Dec 9999 23:59:59 GMT": math.MaxInt64,
	} {
		if got := RetryAfter(value, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}
