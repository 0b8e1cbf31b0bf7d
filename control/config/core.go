package config

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/go-os/go-os/control/config/internal/document"
	"github.com/go-os/go-os/control/config/internal/scope"
)

// core is a Config, without its type: what it does needs no more than package reflect. So a program that has many configurations
// compiles one of it.
type core struct {
	opts    Options
	builder *document.Builder
	watch   *watchers
	current atomic.Pointer[revision]

	newRevision func() *revision

	states   []*state
	applying turn          // one change at a time; checks of the user run meanwhile
	disk     turn          // taken while the last-good file is read or written
	noticed  chan struct{} // Run has something to deliver

	// What a change leaves to do. It is added under mu, and runs without any lock: see deliver.
	events, calls, writes outbox

	// mu guards what follows and the fields of the states. Nothing foreign runs under it: no telemetry, no callback, no source, no
	// check, no error's text, no file.
	mu        sync.Mutex
	problems  map[string]*Problem // by source
	warnings  []error
	changed   chan struct{} // closed and replaced by each change
	running   bool
	callbacks []*callback
	unsaved   map[string][]document.Tree // by source, for the last-good file
}

func (c *core) reload(ctx context.Context) error {
	return scope.Observe(ctx, c.watch.reload, "", func(ctx context.Context) error {
		c.read(ctx, c.every())
		if err := ctx.Err(); err != nil {
			return &Error{Err: err}
		}
		return c.err()
	})
}
