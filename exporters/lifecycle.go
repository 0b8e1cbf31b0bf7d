package exporters

import (
	"context"
	"errors"
	"sync"
)

// lifecycle is what span processors and log processors have in common.
type lifecycle interface {
	ForceFlush(context.Context) error
	Shutdown(context.Context) error
}

// atOnce flushes and shuts processors down side by side, where a provider would do one after the other, under one
// deadline. The provider itself is not shut down: it would discard what comes later without counting it.
type atOnce []lifecycle

func (a atOnce) stage(signal Signal) stage {
	return stage{
		signal:   signal,
		flush:    func(ctx context.Context) error { return a.each(func(l lifecycle) error { return l.ForceFlush(ctx) }) },
		shutdown: func(ctx context.Context) error { return a.each(func(l lifecycle) error { return l.Shutdown(ctx) }) },
	}
}

func (a atOnce) each(do func(lifecycle) error) error {
	errs := make([]error, len(a))
	var wg sync.WaitGroup
	for i, l := range a {
		wg.Go(func() { errs[i] = do(l) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
