package backoff_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/internal/backoff"
)

func TestNext(t *testing.T) {
	const first, longest = 100 * time.Millisecond, time.Second
	b := backoff.Backoff{First: first, Longest: longest}
	for range 2 { // again after Reset
		for i, most := range []time.Duration{first, 2 * first, 4 * first, 8 * first, longest, longest} {
			if got := b.Next(); got < most/2 || got > most {
				t.Errorf("wait %d is %s, want between %s and %s", i, got, most/2, most)
			}
		}
		b.Reset()
	}
}

// TestAfterLimits: no number of failures and no limits overflow, and a wait is never negative.
func TestAfterLimits(t *testing.T) {
	for _, c := range []struct {
		waits          int
		first, longest time.Duration
		least, most    time.Duration
	}{
		{math.MaxInt, time.Second, math.MaxInt64, math.MaxInt64 / 2, math.MaxInt64},
		{70, 3 * time.Nanosecond, time.Hour, time.Hour / 2, time.Hour},
		{0, time.Hour, time.Second, time.Second / 2, time.Second}, // longest counts from the first
		{5, 0, time.Second, 0, 0},
		{5, time.Second, 0, 0, 0},
		{-1, time.Second, time.Minute, time.Second / 2, time.Second},
		{3, -time.Second, time.Second, 0, 0},
	} {
		for range 100 {
			if got := backoff.After(c.waits, c.first, c.longest); got < c.least || got > c.most {
				t.Errorf("After(%d, %s, %s) = %s, want between %s and %s", c.waits, c.first, c.longest, got, c.least, c.most)
			}
		}
	}
}

// TestExponential: the bound of a wait doubles up to the longest, without overflow.
func TestExponential(t *testing.T) {
	for _, c := range []struct {
		waits          int
		first, longest time.Duration
		want           time.Duration
	}{
		{0, time.Second, 10 * time.Second, time.Second},
		{1, time.Second, 10 * time.Second, 2 * time.Second},
		{3, time.Second, 10 * time.Second, 8 * time.Second},
		{4, time.Second, 10 * time.Second, 10 * time.Second},
		{math.MaxInt, time.Second, math.MaxInt64, math.MaxInt64},
		{-1, time.Second, 10 * time.Second, time.Second},
		{0, time.Minute, time.Second, time.Second},
		{5, 0, time.Second, 0},
	} {
		if got := backoff.Exponential(c.waits, c.first, c.longest); got != c.want {
			t.Errorf("Exponential(%d, %s, %s) = %s, want %s", c.waits, c.first, c.longest, got, c.want)
		}
	}
}

// TestSpread: two clients that fail at the same moment return at different moments.
func TestSpread(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 100 {
		seen[backoff.Jitter(time.Second, 0.1)] = true
	}
	if len(seen) < 90 {
		t.Errorf("100 waits had %d values", len(seen))
	}
	for wait := range seen {
		if wait < 900*time.Millisecond || wait > time.Second {
			t.Errorf("a wait of %s, want between 900ms and 1s", wait)
		}
	}
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		b := backoff.Backoff{First: 2 * time.Second, Longest: time.Hour}
		began := time.Now()
		if err := b.Wait(ctx); err != nil || time.Since(began) < time.Second || time.Since(began) > 2*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		if err := b.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 3*time.Second {
			t.Errorf("%v after %s, want the end of the context after 3s", err, time.Since(began))
		}
	})
}
