// Package notify fans one engine subscription out to the local waiters of each name. A notification names the claim that has left the queue.
package notify

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-os/go-os/internal/backoff"
	"github.com/go-os/go-os/internal/life"
	"github.com/go-os/go-os/state/sync/driver"
)

// Hub receives the notifications for all names, from the first Subscribe until the driver closes.
type Hub struct {
	life    *life.Life
	connect func(ctx context.Context, connected func(), notify func(message string)) error
	group   sync.WaitGroup

	mu    sync.Mutex
	begun bool
	all   map[string]map[*Subscription]struct{} // by name
}

// New returns a Hub that receives through connect. connect listens until its context ends or the connection is lost. It calls connected
// once it listens, and notify with each message: the token of the claim that has left, or Any, then a space and the name.
func New(life *life.Life, connect func(ctx context.Context, connected func(), notify func(message string)) error) *Hub {
	return &Hub{life: life, connect: connect, all: map[string]map[*Subscription]struct{}{}}
}

// Any matches every claim, in notifications and in About.
const Any = 0

// Subscription receives the notifications for one name.
type Subscription struct {
	life  *life.Life
	woken chan struct{} // capacity 1

	mu    sync.Mutex
	token int64 // of the claim to wait for, or Any
}

// Subscribe returns a Subscription that receives until cancel.
func (h *Hub) Subscribe(name string) (s *Subscription, cancel func()) {
	s = &Subscription{life: h.life, woken: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all[name] == nil {
		h.all[name] = map[*Subscription]struct{}{}
	}
	h.all[name][s] = struct{}{}
	if !h.begun && h.life.Err() == nil {
		h.begun = true
		h.group.Go(h.run)
	}
	return s, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.all[name], s)
		if len(h.all[name]) == 0 {
			delete(h.all, name)
		}
	}
}

// Wait returns when the Hub no longer listens, after the driver was closed.
func (h *Hub) Wait() {
	h.mu.Lock()
	h.begun = true // so that Subscribe no longer starts it
	h.mu.Unlock()
	h.group.Wait()
}

// About sets the claim whose end ends a Wait from now on: the one with this token, or Any. An earlier notification still ends the next
// Wait.
func (s *Subscription) About(token int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = token
}

func (s *Subscription) wake(token int64) {
	s.mu.Lock()
	matches := s.token == Any || token == Any || s.token == token
	s.mu.Unlock()
	if !matches {
		return
	}
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// Wait returns nil after a notification or after d. If the driver or ctx ends first, it returns ErrClosed or the error of ctx.
func (s *Subscription) Wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-s.woken:
	case <-timer.C:
	case <-ctx.Done():
		return s.life.Cause(ctx)
	}
	return nil
}

// Watch implements driver.Watcher for the name of a queue. read returns the holder of the first seat, and the maximum wait for a
// notification before the next read. An error of read ends Watch.
func (h *Hub) Watch(
	ctx context.Context, name string, read func(context.Context) (driver.Holder, time.Duration, error), emit func(driver.Holder) error,
) error {
	var sub *Subscription
	for {
		if sub != nil {
			sub.About(Any)
		}
		holder, wait, err := read(ctx)
		if err != nil {
			return err
		}
		if err := emit(holder); err != nil {
			return err
		}
		if sub == nil { // not earlier: a caller that reads the holder only once needs no subscription
			var cancel func()
			sub, cancel = h.Subscribe(name)
			defer cancel()
			continue
		}
		if holder.Token != 0 {
			sub.About(int64(holder.Token))
		}
		if err := sub.Wait(ctx, wait); err != nil {
			return err
		}
	}
}

// run listens, and reconnects when the connection is lost. Notifications may be missed meanwhile, so it then wakes all subscriptions.
func (h *Hub) run() {
	ctx, cancel := h.life.Within(context.Background())
	defer cancel()
	retry := backoff.Backoff{First: 50 * time.Millisecond, Longest: 2 * time.Second}
	for {
		_ = h.connect(ctx, func() { // the error does not matter: the waiters get the same from the engine
			retry.Reset()
			h.wakeAll()
		}, h.notify)
		h.wakeAll()
		if retry.Wait(ctx) != nil {
			return
		}
	}
}

// notify decodes a message and wakes the subscriptions that wait for its claim.
func (h *Hub) notify(message string) {
	token, name, _ := strings.Cut(message, " ")
	if about, err := strconv.ParseInt(token, 10, 64); err == nil {
		h.wake(name, about)
	}
}

func (h *Hub) wake(name string, token int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.all[name] {
		s.wake(token)
	}
}

func (h *Hub) wakeAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, of := range h.all {
		for s := range of {
			s.wake(Any)
		}
	}
}
