package config

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/go-os/go-os/control/config/internal/document"
	"github.com/go-os/go-os/control/config/internal/scope"
	"github.com/go-os/go-os/internal/life"
)

// core is a Config without its type parameter, so that the compiler makes one copy of its code for all types.
type core struct {
	opts    Options
	builder *document.Builder
	watch   *watchers
	current atomic.Pointer[revision]

	newRevision func() *revision

	states   []*state
	applying turn          // one change at a time; it covers the checks of the user
	disk     turn          // held while the last-good file is read or written
	noticed  chan struct{} // Run has something to deliver
	running  life.Running

	// Work that a change leaves behind. It is added under mu, and runs without any lock: see deliver.
	events, calls, writes outbox

	// mu guards the fields below and in the states. No foreign code runs under it: no telemetry, callback, source, check, Error
	// method or file access.
	mu        sync.Mutex
	problems  map[string]*Problem // by source
	warnings  []error
	changed   chan struct{} // closed and replaced by each change
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
