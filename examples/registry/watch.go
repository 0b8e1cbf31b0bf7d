package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-os/go-os/control/discovery/driver"
)

// listEvery is how often a watch of all services looks for new ones.
const listEvery = 5 * time.Second

// watch prints the changes of services until ctx ends.
func watch(*flag.FlagSet) action {
	return func(ctx context.Context, t *tool, args []string) error {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		p := &printer{tool: t}
		followed := map[string]bool{}
		var work sync.WaitGroup
		defer work.Wait()
		defer cancel(nil)
		for {
			services, err := t.services(ctx, args)
			if ctx.Err() != nil {
				break
			}
			if err != nil && len(followed) == 0 {
				return err
			}
			for _, service := range services {
				if followed[service] {
					continue
				}
				followed[service] = true
				work.Go(func() {
					if err := p.follow(ctx, service); err != nil {
						cancel(err)
					}
				})
			}
			select {
			case <-ctx.Done():
			case <-time.After(listEvery):
			}
		}
		if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	}
}

// printer prints changes, one line each.
type printer struct {
	*tool
	mu sync.Mutex
}

func (p *printer) line(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintln(p.out, time.Now().Format("15:04:05"), plain(fmt.Sprintf(format, args...)))
}

// follow prints the changes of a service until ctx ends.
func (p *printer) follow(ctx context.Context, service string) error {
	c := newContent(service)
	var unseen map[string]bool // by the snapshot that is being read
	return p.Watch(ctx, service, func(e driver.Event) error {
		switch e.Kind {
		case driver.EventResync:
			unseen = map[string]bool{}
			for id := range c.records {
				unseen[id] = true
			}
			return nil
		case driver.EventSynced:
			for id := range unseen {
				p.change(c, driver.Event{Kind: driver.EventDelete, Record: c.records[id]})
			}
			unseen = nil
			p.line("= %s: %d instances", service, len(c.records))
			return nil
		case driver.EventLost:
			p.line("! %s: out of reach: %v", service, e.Err)
			return nil
		}
		delete(unseen, e.Record.ID)
		p.change(c, e)
		return nil
	})
}

// change prints the change of an event.
func (p *printer) change(c *content, e driver.Event) {
	id := e.Record.ID
	before, known := c.records[id]
	c.apply(e)
	switch {
	case e.Kind == driver.EventInvalid:
		p.line("! %s %s: invalid: %v", c.service, id, e.Err)
	case e.Kind == driver.EventDelete && known && before.State != driver.Gone:
		p.line("- %s %s: vanished without a goodbye", c.service, id)
	case e.Kind == driver.EventDelete:
	case known && text(before) == text(e.Record):
	case e.Record.State == driver.Gone:
		p.line("- %s %s: gone", c.service, id)
	case known && before.State != driver.Gone:
		p.line("~ %s %s", c.service, text(e.Record))
	default:
		p.line("+ %s %s", c.service, text(e.Record))
	}
}

// text describes an instance in one line.
func text(r driver.Record) string {
	return strings.Join([]string{
		r.ID, r.State.String(), "version=" + orDash(r.Version), "zone=" + orDash(r.Zone), fmt.Sprintf("weight=%d", r.Weight), addresses(r),
	}, " ")
}
