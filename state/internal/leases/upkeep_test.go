package leases_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/state/internal/leases"
)

var (
	errGone = errors.New("gone")
	errDown = errors.New("down")
)

const second = time.Second

// engine answers renewals of a lease of nine seconds, and records when they were sent.
type engine struct {
	began  time.Time
	sent   []time.Duration
	failed []error
	answer func(ctx context.Context, at time.Duration) error
}

func (e *engine) upkeep() *leases.Upkeep {
	e.began = time.Now()
	return &leases.Upkeep{
		TTL: 9 * second, Margin: second,
		Renew: func(ctx context.Context, sent time.Time) error {
			at := sent.Sub(e.began)
			e.sent = append(e.sent, at)
			return e.answer(ctx, at)
		},
		Final:  func(err error) bool { return errors.Is(err, errGone) },
		Retry:  func(failures int) time.Duration { return time.Duration(failures) * second },
		Failed: func(err error) { e.failed = append(e.failed, err) },
	}
}

func (e *engine) want(t *testing.T, times ...time.Duration) {
	t.Helper()
	if !slices.Equal(e.sent, times) {
		t.Errorf("renewals were sent at %v, want %v", e.sent, times)
	}
}

func TestRenewsThreeTimesATTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*second)
		defer cancel()
		e := &engine{answer: func(context.Context, time.Duration) error {
			time.Sleep(second) // the latency of an answer does not delay the next renewal
			return nil
		}}
		if err := e.upkeep().Run(ctx, time.Now(), 0); err != nil {
			t.Errorf("Run: %v", err)
		}
		e.want(t, 0, 3*second, 6*second, 9*second)
	})
}

func TestFirstWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 4*second)
		defer cancel()
		e := &engine{answer: func(context.Context, time.Duration) error { return nil }}
		if err := e.upkeep().Run(ctx, time.Now(), 2*second); err != nil {
			t.Errorf("Run: %v", err)
		}
		e.want(t, 2*second)
	})
}

func TestLeaseThatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &engine{answer: func(_ context.Context, at time.Duration) error {
			if at == 0 {
				return nil
			}
			return errGone
		}}
		if err := e.upkeep().Run(t.Context(), time.Now(), 0); err != errGone {
			t.Errorf("Run: %v", err)
		}
		e.want(t, 0, 3*second)
		if len(e.failed) != 0 {
			t.Errorf("a lease that has ended was reported as a failure to renew: %v", e.failed)
		}
	})
}

// TestEngineThatDoesNotAnswer makes the engine unreachable from the fifth second. The last successful renewal was sent at 3 s, so the
// lease is over at 11 s.
func TestEngineThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &engine{answer: func(_ context.Context, at time.Duration) error {
			if at < 5*second {
				return nil
			}
			return errDown
		}}
		err := e.upkeep().Run(t.Context(), time.Now(), 0)
		var expired *leases.Expired
		if !errors.As(err, &expired) || !errors.Is(err, errDown) || err.Error() != "no renewal within 8s: down" {
			t.Errorf("Run: %v", err)
		}
		e.want(t, 0, 3*second, 6*second, 7*second, 9*second) // the third retry would be at 12 s
		if at := time.Since(e.began); at != 11*second {
			t.Errorf("gave up after %s, want 11s", at)
		}
		if len(e.failed) != 1 {
			t.Errorf("%d failures reported, want the first of the row", len(e.failed))
		}
	})
}

func TestRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*second)
		defer cancel()
		e := &engine{answer: func(_ context.Context, at time.Duration) error {
			if at == 3*second || at == 4*second || at == 12*second {
				return errDown
			}
			return nil
		}}
		if err := e.upkeep().Run(ctx, time.Now(), 0); err != nil {
			t.Errorf("Run: %v", err)
		}
		e.want(t, 0, 3*second, 4*second, 6*second, 9*second, 12*second, 13*second, 16*second, 19*second)
		if len(e.failed) != 2 {
			t.Errorf("%d failures reported, want the first of each row", len(e.failed))
		}
	})
}

// TestSilentEngine uses an engine that does not answer a renewal. The renewal's context ends when the lease is over.
func TestSilentEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &engine{answer: func(ctx context.Context, _ time.Duration) error {
			<-ctx.Done()
			return ctx.Err()
		}}
		err := e.upkeep().Run(t.Context(), time.Now(), 0)
		var expired *leases.Expired
		if !errors.As(err, &expired) || time.Since(e.began) != 8*second {
			t.Errorf("Run: %v after %s", err, time.Since(e.began))
		}
	})
}

// TestPausedProcess starts after the lease is over, as in a paused process. No renewal is sent.
func TestPausedProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &engine{}
		err := e.upkeep().Run(t.Context(), time.Now().Add(-8*second), 0)
		var expired *leases.Expired
		if !errors.As(err, &expired) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Run: %v", err)
		}
		e.want(t)
	})
}

// TestEndOfContext ends the context during a wait and during a renewal.
func TestEndOfContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, after := range []time.Duration{second, 4 * second} {
			ctx, cancel := context.WithTimeout(t.Context(), after)
			e := &engine{answer: func(ctx context.Context, at time.Duration) error {
				if at > 0 {
					<-ctx.Done()
				}
				return ctx.Err()
			}}
			if err := e.upkeep().Run(ctx, time.Now(), 0); err != nil {
				t.Errorf("Run: %v", err)
			}
			cancel()
		}
	})
}
