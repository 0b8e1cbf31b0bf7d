package readnodediscovery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/internal/backoff"
)

// engineWatch follows a service in the engine while no node answers.
type engineWatch struct {
	interest *interest
	cancel   context.CancelFunc
	patient  bool // the service has no instances: the watch continues until the engine answers
	began    bool // a list has begun
}

// run follows the service until ctx ends, or until the engine does not answer.
func (e *engineWatch) run(ctx context.Context) {
	r, i := e.interest.reader, e.interest
	defer e.cancel()
	select {
	case r.lists <- struct{}{}:
	case <-ctx.Done():
		e.end(nil)
		return
	}
	answered := sync.OnceFunc(func() { <-r.lists })
	defer answered()
	patience := time.AfterFunc(r.opts.Patience, func() {
		answered()
		if !e.patient {
			e.cancel()
		}
	})
	defer patience.Stop()
	err := r.opts.Engine.Watch(ctx, i.service, func(event driver.Event) error {
		switch event.Kind {
		case driver.EventSynced:
			answered()
			patience.Stop()
		case driver.EventLost:
			answered()
			patience.Reset(r.opts.Patience)
		default:
			if patience.Stop() { // the list makes progress
				patience.Reset(r.opts.Patience)
			}
		}
		return e.deliver(event)
	})
	if ctx.Err() != nil {
		err = nil
	}
	e.end(err)
}

// deliver forwards an event. The engine becomes the source with the beginning of a list.
func (e *engineWatch) deliver(event driver.Event) error {
	i := e.interest
	if !e.began {
		if event.Kind != driver.EventResync {
			return nil
		}
		e.began = true
		i.lead(e)
		i.reader.ask(i) // the node's events do not continue the engine's
	}
	return i.deliver(e, update{
		events: []driver.Event{event}, begins: event.Kind == driver.EventResync, complete: event.Kind == driver.EventSynced,
	})
}

// end records that the watch has ended.
func (e *engineWatch) end(err error) {
	i := e.interest
	if errors.Is(err, driver.ErrInvalid) {
		i.fail(err)
	}
	if err == nil {
		err = fmt.Errorf("%w: neither a read node nor the registry answers", driver.ErrUnavailable)
	}
	again := i.relisted(e)
	i.lose(e, err)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fallback = nil
	switch {
	case again:
		i.start()
	case !i.usable() && !i.served:
		i.startAfter(backoff.Jitter(emptyRetry, 0.5))
	default:
		i.schedule()
	}
}

// emptyRetry is the wait before the engine is queried again for a service without instances.
const emptyRetry = 5 * time.Second
