package etcdsync

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/state/sync/driver"
)

// TestHedge sends requests to three endpoints, of which some are silent and some fail.
func TestHedge(t *testing.T) {
	failed := errors.New("failed")
	silent := func(ctx context.Context) (int, error) { <-ctx.Done(); return 0, ctx.Err() }
	answers := func(n int, err error) func(context.Context) (int, error) {
		return func(context.Context) (int, error) { return n, err }
	}
	for name, c := range map[string]struct {
		endpoints []func(context.Context) (int, error)
		want      int
		err       error
		within    time.Duration // exactly
	}{
		"the first answers":             {endpoints: []func(context.Context) (int, error){answers(1, nil), silent, silent}, want: 1},
		"two are silent":                {endpoints: []func(context.Context) (int, error){silent, silent, answers(3, nil)}, want: 3, within: 2 * time.Second},
		"one fails, one is silent":      {endpoints: []func(context.Context) (int, error){answers(0, failed), silent, answers(3, nil)}, want: 3, within: time.Second},
		"all fail":                      {endpoints: []func(context.Context) (int, error){answers(0, failed), answers(0, failed), answers(0, failed)}, err: failed},
		"all are silent":                {endpoints: []func(context.Context) (int, error){silent, silent, silent}, err: context.DeadlineExceeded, within: 4 * time.Second},
		"a lease that is lost is final": {endpoints: []func(context.Context) (int, error){answers(0, driver.ErrLost), answers(2, nil), answers(3, nil)}, err: driver.ErrLost},
		"one endpoint":                  {endpoints: []func(context.Context) (int, error){answers(0, failed)}, err: failed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
				defer cancel()
				next := make(chan func(context.Context) (int, error), len(c.endpoints))
				for _, e := range c.endpoints {
					next <- e
				}
				began := time.Now()
				got, err := hedge(ctx, len(c.endpoints), func(ctx context.Context) (int, error) { return (<-next)(ctx) })
				if got != c.want || !errors.Is(err, c.err) {
					t.Errorf("%d, %v; want %d, %v", got, err, c.want, c.err)
				}
				if took := time.Since(began); took != c.within {
					t.Errorf("after %s, want %s", took, c.within)
				}
			})
		})
	}
}
