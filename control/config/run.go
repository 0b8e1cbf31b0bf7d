package config

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/go-os/go-os/control/config/driver"
	"github.com/go-os/go-os/control/config/internal/document"
	"github.com/go-os/go-os/control/config/internal/scope"
	"github.com/go-os/go-os/internal/backoff"
	"github.com/go-os/go-os/internal/fault"
)

func (c *core) run(ctx context.Context) error {
	end, err := c.running.Begin()
	if err != nil {
		return &Error{Err: err}
	}
	defer end()
	var group sync.WaitGroup
	for i, s := range c.states {
		if s.static {
			continue
		}
		f := &follower{core: c, index: i, state: s, wake: make(chan struct{}, 1)}
		group.Go(func() { f.work(ctx) })
		if w, ok := s.Source.(driver.Watcher); ok {
			group.Go(func() { f.listen(ctx, w) })
		}
		if r, ok := s.Source.(driver.Reporter); ok {
			group.Go(func() { f.report(ctx, r) })
		}
	}
	group.Go(func() { c.deliverWhenNoticed(ctx) })
	group.Wait()
	<-ctx.Done()
	c.deliver()
	return nil
}

// deliverWhenNoticed delivers the results of calls of changed. A source may hold its own locks in such a call, so no foreign code runs in it.
func (c *core) deliverWhenNoticed(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.noticed:
			c.deliver()
		}
	}
}

// follower follows one source.
type follower struct {
	core  *core
	index int
	state *state
	wake  chan struct{} // signals that the source must be read
}

// work reads the source at each signal, and by its schedule.
func (f *follower) work(ctx context.Context) {
	retries := f.core.backoff()
	timer := time.NewTimer(f.pause(&retries))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		case <-timer.C:
		}
		f.read(ctx)
		timer.Reset(f.pause(&retries))
	}
}

// backoff returns the waits between retries.
func (c *core) backoff() backoff.Backoff {
	return backoff.Backoff{First: c.opts.Backoff, Longest: c.opts.MaxBackoff}
}

// pause returns the wait before the next read.
func (f *follower) pause(retries *backoff.Backoff) time.Duration {
	f.core.mu.Lock()
	failed, failures := !f.state.known, f.state.failures
	f.core.mu.Unlock()
	if p, ok := f.state.Source.(driver.Poller); ok {
		return p.Next(failures)
	}
	if !failed {
		retries.Reset()
		return backoff.Jitter(f.core.opts.Recheck, 0.1)
	}
	return retries.Next()
}

func (f *follower) read(ctx context.Context) {
	c := f.core
	_ = scope.Observe(ctx, c.watch.reload, f.state.name, func(ctx context.Context) error { // the error is in the problems
		c.read(ctx, []int{f.index})
		c.mu.Lock()
		defer c.mu.Unlock()
		if p := c.problems[f.state.name]; p != nil {
			return p.Err
		}
		return nil
	})
}

// listen runs the watch of a source, and restarts it when it ends.
func (f *follower) listen(ctx context.Context, w driver.Watcher) {
	retries := f.core.backoff()
	for ctx.Err() == nil {
		begun := time.Now()
		err := f.watch(ctx, w)
		if ctx.Err() != nil {
			return
		}
		f.changed(ctx, watchEnded(err))
		if time.Since(begun) > f.core.opts.MaxBackoff {
			retries.Reset()
		}
		_ = retries.Wait(ctx) // the loop ends with ctx
	}
}

// watchEnded returns the error for a watch that ended with an error, or with nil.
func watchEnded(err error) error {
	if err == nil {
		return errors.New("the watch ended")
	}
	return fmt.Errorf("the watch ended: %w", err)
}

func (f *follower) watch(ctx context.Context, w driver.Watcher) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the source panicked: %v", v)
		}
	}()
	return w.Watch(ctx, func(err error) { f.changed(ctx, err) })
}

// changed is the callback of a source.
func (f *follower) changed(ctx context.Context, lost error) {
	c := f.core
	var p *Problem
	if lost != nil {
		p = newProblem(f.state.name, &Error{Source: f.state.name, Err: fault.Classify(ErrUnavailable, fmt.Errorf("changes are not seen: %w", lost))}, false)
	}
	c.mu.Lock()
	f.state.lost = lost
	if p != nil {
		p.LastGood, p.absent = f.state.lastGood, !f.state.inForce
		c.addProblem(ctx, p)
	}
	c.mu.Unlock()
	signal(c.noticed)
	signal(f.wake)
}

// signal wakes the receiver of a channel with a buffer of one.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// notifySources wakes the reporters of all sources.
func (c *core) notifySources() {
	for _, s := range c.states {
		signal(s.news)
	}
}

// reportEvery is the interval at which a report is repeated, so that reports may expire.
const reportEvery = 30 * time.Second

// report reports the outcome of the documents to their source.
func (f *follower) report(ctx context.Context, r driver.Reporter) {
	var sent *driver.Report
	retries := f.core.backoff()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		repeat := false
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			repeat = true
		case <-f.state.news:
		}
		now := f.core.reportOf(f.state)
		if !repeat && sent != nil && reflect.DeepEqual(now, *sent) {
			continue
		}
		if err := f.send(ctx, r, now); err != nil {
			sent = nil
			timer.Reset(retries.Next())
			continue
		}
		sent = &now
		retries.Reset()
		timer.Reset(reportEvery)
	}
}

func (f *follower) send(ctx context.Context, r driver.Reporter, now driver.Report) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the source panicked: %v", v)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, f.core.opts.Timeout)
	defer cancel()
	return r.Report(ctx, now)
}

// reportOf returns the outcome of the documents of a source.
func (c *core) reportOf(s *state) (now driver.Report) {
	c.mu.Lock()
	p := c.problems[s.name]
	if s.inForce {
		now.Versions = versionsOf(s.accepted)
	}
	if p != nil && p.Rejected && s.known {
		now.Rejected = versionsOf(s.latest)
	}
	c.mu.Unlock()
	if now.Rejected != nil {
		now.Reason = document.WithoutValues(p.Err).Error()
	}
	return now
}

// versionsOf returns the versions of documents.
func versionsOf(trees []document.Tree) (versions []string) {
	for _, t := range trees {
		if t.Version != "" {
			versions = append(versions, t.Version)
		}
	}
	return versions
}
