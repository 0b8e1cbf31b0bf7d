// Package life is that of a driver: from New until Close, which ends what waits.
package life

import (
	"context"

	"github.com/go-os/go-os/state/sync/driver"
)

// Life is one. Make it with New.
type Life struct {
	// Context ends with it.
	Context context.Context
	end     context.CancelFunc
}

// New returns a Life that goes on until End.
func New() Life {
	ctx, cancel := context.WithCancel(context.Background())
	return Life{ctx, cancel}
}

// End ends it.
func (l Life) End() { l.end() }

// Over reports whether it has ended.
func (l Life) Over() bool { return l.Context.Err() != nil }

// Within returns a context that ends with ctx and with the life.
func (l Life) Within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(l.Context, func() { cancel(driver.ErrClosed) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// Ended returns the class of the error of a call whose context, or whose driver, has ended; nil if neither has.
func (l Life) Ended(ctx context.Context) error {
	switch {
	case context.Cause(ctx) == driver.ErrClosed:
		return driver.ErrClosed
	case ctx.Err() != nil:
		return ctx.Err()
	case l.Over():
		return driver.ErrClosed
	default:
		return nil
	}
}
