// Package ears tells the waiters of a process what the engine says to all of its processes: whose claim has left the queue of
// which name. One connection serves them all.
package ears

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Ears hear about all names, as long as the driver lives and from when somebody listened first.
type Ears struct {
	life    context.Context
	connect func(ctx context.Context, heard func(), message func(string)) error
	group   sync.WaitGroup

	mu    sync.Mutex
	begun bool
	all   map[string]map[*Ear]struct{} // by name
}

// New returns Ears that hear through connect, which listens until its context ends or the connection is lost, calls heard once it
// listens, and message with each message: the token of the claim that has left, or 0 for any, a space, and the name.
func New(life context.Context, connect func(ctx context.Context, heard func(), message func(string)) error) *Ears {
	return &Ears{life: life, connect: connect, all: map[string]map[*Ear]struct{}{}}
}

// Anyone is what an Ear hears that hears everything about its name.
const Anyone = 0

// Ear hears about one name.
type Ear struct {
	woken chan struct{} // capacity 1

	mu    sync.Mutex
	about int64 // the token of interest, or Anyone
}

// Listen returns an Ear, until leave.
func (e *Ears) Listen(name string) (one *Ear, leave func()) {
	one = &Ear{woken: make(chan struct{}, 1)}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.all[name] == nil {
		e.all[name] = map[*Ear]struct{}{}
	}
	e.all[name][one] = struct{}{}
	if !e.begun && e.life.Err() == nil {
		e.begun = true
		e.group.Go(e.run)
	}
	return one, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.all[name], one)
		if len(e.all[name]) == 0 {
			delete(e.all, name)
		}
	}
}

// Wait returns when nothing is listened to any more, after the driver's life has ended.
func (e *Ears) Wait() {
	e.mu.Lock()
	e.begun = true // and never begins
	e.mu.Unlock()
	e.group.Wait()
}

// Hear says whose leaving is of interest from now on. What has been heard before stays.
func (o *Ear) Hear(about int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.about = about
}

func (o *Ear) wake(about int64) {
	o.mu.Lock()
	mine := o.about == Anyone || about == Anyone || o.about == about
	o.mu.Unlock()
	if !mine {
		return
	}
	select {
	case o.woken <- struct{}{}:
	default:
	}
}

// Wait returns when something was heard, or after d.
func (o *Ear) Wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-o.woken:
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// run listens, and connects again when the connection is lost. Whatever may have been missed meanwhile wakes everybody.
func (e *Ears) run() {
	const least, most = 50 * time.Millisecond, 2 * time.Second
	for wait := least; e.life.Err() == nil; wait = min(2*wait, most) {
		_ = e.connect(e.life, func() { // why it was lost does not matter: those who wait meet the same engine
			wait = least / 2
			e.wakeAll()
		}, e.tell)
		e.wakeAll()
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-e.life.Done():
			timer.Stop()
		}
	}
}

// tell passes a message on.
func (e *Ears) tell(message string) {
	token, name, _ := strings.Cut(message, " ")
	if about, err := strconv.ParseInt(token, 10, 64); err == nil {
		e.wake(name, about)
	}
}

func (e *Ears) wake(name string, about int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for one := range e.all[name] {
		one.wake(about)
	}
}

func (e *Ears) wakeAll() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, of := range e.all {
		for one := range of {
			one.wake(Anyone)
		}
	}
}
