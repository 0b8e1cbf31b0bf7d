package exporters

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-os/go-os/internal/delivery"
)

// together runs do for 0 to n-1 in parallel and joins the errors in that order. It abandons calls that have not returned grace after
// ctx ended, and the error names them: processors, readers and callbacks of the program may block forever.
func together(ctx context.Context, grace time.Duration, n int, do func(i int) error) error {
	var mu sync.Mutex
	errs := make([]error, n)
	for i := range errs {
		errs[i] = errUnfinished
	}
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			err := do(i)
			mu.Lock()
			defer mu.Unlock()
			errs[i] = err
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	if delivery.Await(ctx, done, grace) {
		return errors.Join(errs...)
	}
	mu.Lock()
	defer mu.Unlock()
	for i, err := range errs {
		if errors.Is(err, errUnfinished) {
			errs[i] = fmt.Errorf("%w: %w", err, context.Cause(ctx))
		}
	}
	return errors.Join(errs...)
}

var errUnfinished = errors.New("a processor, a reader or one of its callbacks has not returned")

// lifecycle holds the methods that span processors and log processors share.
type lifecycle interface {
	ForceFlush(context.Context) error
	Shutdown(context.Context) error
}

// atOnce flushes and shuts down processors in parallel, where a provider would do so in sequence under one deadline. The provider
// itself is not shut down: it would discard later items without counting them.
type atOnce []lifecycle

func (a atOnce) stage(signal Signal) stage {
	return stage{signal: signal, flush: a.flush, shutdown: a.shutdown}
}

func (a atOnce) flush(ctx context.Context) error {
	return together(ctx, 2*delivery.Grace, len(a), func(i int) error { return a[i].ForceFlush(ctx) })
}

func (a atOnce) shutdown(ctx context.Context) error {
	return together(ctx, 2*delivery.Grace, len(a), func(i int) error { return a[i].Shutdown(ctx) })
}
