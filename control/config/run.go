package config

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"time"

	"github.com/go-os/go-os/control/config/driver"
)

// Run follows the sources until ctx ends, and returns nil then: it reads a source when that tells of a change, and every now and
// then in case it does not, tries failed ones again, and calls what OnChange was given. ErrInvalid says that it runs already.
func (c *Config[T]) Run(ctx context.Context) error {
	c.mu.Lock()
	if c.running {
		c.mu.Unlock()
		return &Error{Err: fmt.Errorf("%w: Run was called while it runs", ErrInvalid)}
	}
	c.running = true
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.running = false
		c.mu.Unlock()
	}()
	var group sync.WaitGroup
	for i, s := range c.states {
		if s.static {
			continue
		}
		f := &follower[T]{config: c, index: i, state: s, wake: make(chan struct{}, 1)}
		group.Go(func() { f.work(ctx) })
		if w, ok := s.Source.(driver.Watcher); ok {
			group.Go(func() { f.listen(ctx, w) })
		}
	}
	group.Wait()
	<-ctx.Done()
	return nil
}

// follower keeps one source true.
type follower[T any] struct {
	config *Config[T]
	index  int
	state  *state
	wake   chan struct{} // read now
}

// work reads the source when it is woken, when it has failed, and when it was not read for long.
func (f *follower[T]) work(ctx context.Context) {
	o := f.config.opts
	backoff := o.Backoff
	timer := time.NewTimer(f.pause(&backoff))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		case <-timer.C:
		}
		f.read(ctx)
		timer.Reset(f.pause(&backoff))
	}
}

// pause returns how long to wait for the next read.
func (f *follower[T]) pause(backoff *time.Duration) time.Duration {
	o := f.config.opts
	f.config.mu.Lock()
	failed := !f.state.known
	f.config.mu.Unlock()
	if !failed {
		*backoff = o.Backoff
		return o.Recheck - o.Recheck/10 + rand.N(o.Recheck/10+1)
	}
	wait := *backoff/2 + rand.N(*backoff/2+1)
	*backoff = min(2**backoff, o.MaxBackoff)
	return wait
}

func (f *follower[T]) read(ctx context.Context) {
	c := f.config
	_ = observe(ctx, c.watch.reload, func(ctx context.Context) error { // the error is in the problems
		c.read(ctx, []int{f.index})
		c.mu.Lock()
		defer c.mu.Unlock()
		if p := c.problems[f.state.name]; p != nil {
			return p.Err
		}
		return nil
	})
}

// listen keeps a watch going.
func (f *follower[T]) listen(ctx context.Context, w driver.Watcher) {
	backoff := f.config.opts.Backoff
	for ctx.Err() == nil {
		begun := time.Now()
		err := f.watch(ctx, w)
		if ctx.Err() != nil {
			return
		}
		f.changed(ctx, errors.Join(errors.New("the watch ended"), err))
		if time.Since(begun) > f.config.opts.MaxBackoff {
			backoff = f.config.opts.Backoff
		}
		select {
		case <-time.After(backoff/2 + rand.N(backoff/2+1)):
		case <-ctx.Done():
		}
		backoff = min(2*backoff, f.config.opts.MaxBackoff)
	}
}

func (f *follower[T]) watch(ctx context.Context, w driver.Watcher) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the source panicked: %v", v)
		}
	}()
	return w.Watch(ctx, func(err error) { f.changed(ctx, err) })
}

// changed is what a source calls.
func (f *follower[T]) changed(ctx context.Context, lost error) {
	c := f.config
	c.mu.Lock()
	f.state.lost = lost
	if lost != nil {
		err := &Error{Source: f.state.name, Err: fmt.Errorf("%w: changes are not seen: %w", ErrUnavailable, lost)}
		c.trouble(ctx, Problem{Source: f.state.name, Err: err, Since: time.Now(), LastGood: f.state.lastGood})
	}
	c.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// report tells the sources that want to know what became of what they gave. c.mu is held.
func (c *Config[T]) report() {
	for _, s := range c.states {
		r, ok := s.Source.(driver.Reporter)
		if !ok {
			continue
		}
		var now driver.Report
		if s.inForce {
			now.Versions = versionsOf(s.accepted)
		}
		if p := c.problems[s.name]; p != nil && p.Rejected && s.known {
			now.Rejected, now.Reason = versionsOf(s.latest), bare(p.Err).Error()
		}
		if !reflect.DeepEqual(now, s.reported) {
			s.reported = now
			r.Report(now)
		}
	}
}

// versionsOf returns the versions that documents have.
func versionsOf(trees []tree) (versions []string) {
	for _, t := range trees {
		if t.version != "" {
			versions = append(versions, t.version)
		}
	}
	return versions
}
