package instrument

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
)

const (
	// deliveryWait is how long an operation waits for the handlers of an event that it emits.
	deliveryWait = 100 * time.Millisecond
	// maxPending is how many events of a Scope may wait behind a handler that blocks.
	maxPending = 1024
)

// outbox calls handlers of the program, one at a time and in order, in a goroutine that lives while there is something to deliver. The
// operation that emits an event waits for them only briefly. A panic of a handler ends neither the operation nor the process: a lock must
// be renewed, whatever a log handler does. The zero value is ready to use.
type outbox struct {
	mu      sync.Mutex
	pending []delivery
	running bool
	blocked bool // a handler has taken longer than deliveryWait: nobody waits until it returns
	full    bool // events are dropped, and this was reported
}

type delivery struct {
	run  func()
	done chan struct{}
}

// deliver runs a function after those before it. It waits for the function to return, but no longer than deliveryWait.
func (o *outbox) deliver(run func()) {
	d := delivery{run, make(chan struct{})}
	if !o.add(d) {
		return
	}
	timer := time.NewTimer(deliveryWait)
	defer timer.Stop()
	select {
	case <-d.done:
	case <-timer.C:
		o.mu.Lock()
		defer o.mu.Unlock()
		o.blocked = o.running
	}
}

// add queues d. It returns false if the caller must not wait.
func (o *outbox) add(d delivery) (wait bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.pending) >= maxPending {
		if !o.full {
			o.full = true
			go otel.Handle(errors.New("events are dropped: a log handler blocks"))
		}
		return false
	}
	o.pending = append(o.pending, d)
	if !o.running {
		o.running = true
		go o.work()
	}
	return !o.blocked
}

// work delivers until nothing is pending.
func (o *outbox) work() {
	for {
		o.mu.Lock()
		if len(o.pending) == 0 {
			o.pending, o.running = nil, false
			o.mu.Unlock()
			return
		}
		d := o.pending[0]
		o.pending = o.pending[1:]
		o.mu.Unlock()
		d.call()
		o.mu.Lock()
		o.blocked, o.full = false, false
		o.mu.Unlock()
	}
}

// call runs the function. A panic is recovered and reported.
func (d delivery) call() {
	defer close(d.done)
	defer func() {
		if cause := recover(); cause != nil {
			otel.Handle(fmt.Errorf("panic in the handler of an event: %v", cause))
		}
	}()
	d.run()
}
