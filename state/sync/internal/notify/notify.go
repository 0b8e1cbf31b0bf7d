// Package notify fans one engine subscription out to the local waiters of each name. A notification says whose claim has left the queue.
package notify

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Hub receives the notifications about all names, from the first Subscribe until the end of the driver's life.
type Hub struct {
	life    context.Context
	connect func(ctx context.Context, connected func(), notify func(message string)) error
	group   sync.WaitGroup

	mu    sync.Mutex
	begun bool
	all   map[string]map[*Subscription]struct{} // by name
}

// New returns a Hub that receives through connect. That function listens until its context ends or the connection is lost. It calls
// connected once it listens, and notify with each message: the token of the claim that has left, or Any, then a space and the name.
func New(life context.Context, connect func(ctx context.Context, connected func(), notify func(message string)) error) *Hub {
	return &Hub{life: life, connect: connect, all: map[string]map[*Subscription]struct{}{}}
}

// Any stands for every claim: in a notification, and as what a Subscription is about.
const Any = 0

// Subscription receives the notifications about one name.
type Subscription struct {
	woken chan struct{} // capacity 1

	mu    sync.Mutex
	token int64 // of the claim that it is about, or Any
}

// Subscribe returns a Subscription that receives until cancel.
func (h *Hub) Subscribe(name string) (s *Subscription, cancel func()) {
	s = &Subscription{woken: make(chan struct{}, 1)}
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

// Wait returns when the Hub no longer listens, after the end of the driver's life.
func (h *Hub) Wait() {
	h.mu.Lock()
	h.begun = true // and never begins
	h.mu.Unlock()
	h.group.Wait()
}

// About sets whose leaving ends a Wait from now on: the claim with this token, or Any. A notification that was received before still
// ends the next Wait.
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

// Wait returns nil when a notification was received, or after d. It returns the error of ctx if that ends first.
func (s *Subscription) Wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-s.woken:
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// run listens, and connects again when the connection is lost. Notifications may be missed meanwhile, so it wakes all.
func (h *Hub) run() {
	const least, most = 50 * time.Millisecond, 2 * time.Second
	for wait := least; h.life.Err() == nil; wait = min(2*wait, most) {
		_ = h.connect(h.life, func() { // the error does not matter: those that wait meet the same engine
			wait = least / 2
			h.wakeAll()
		}, h.notify)
		h.wakeAll()
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-h.life.Done():
			timer.Stop()
		}
	}
}

// notify decodes a message and wakes the subscriptions that it is about.
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
