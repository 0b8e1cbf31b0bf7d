package kvtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/go-os/go-os/internal/tooling/suite"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/memkv"
)

// gate is the connection between drivers and memkv. It can be cut, silent or slow.
type gate struct {
	engine *memkv.Driver

	mu      sync.Mutex
	state   string        // "", "cut", "silent" or "slow"
	changed chan struct{} // closed when state changes
	since   time.Time     // time of the last change of state
}

func newGate() *gate {
	return &gate{engine: memkv.New(&memkv.Options{History: 1 << 12}), changed: make(chan struct{})}
}

func (g *gate) set(state string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.state, g.since = state, time.Now()
	close(g.changed)
	g.changed = make(chan struct{})
}

func (g *gate) now() (state string, changed <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state, g.changed
}

var errGate = fmt.Errorf("%w: cut off", driver.ErrUnavailable)

// pass returns when a request may proceed.
func (g *gate) pass(ctx context.Context) error {
	for {
		state, changed := g.now()
		switch state {
		case "":
			select {
			case <-ctx.Done():
			case <-time.After(time.Millisecond): // network latency
			}
			return ctx.Err()
		case "cut":
			return errGate
		case "slow":
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(200 * time.Millisecond):
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// gated is a driver behind a gate. Each field that is set breaks a promise.
type gated struct {
	*gate
	deaf    bool // calls do not end with their context
	forgets bool // acknowledges writes that it drops, while slow and after a fault
	mute    bool // a watch continues across a cut, without an event
	skips   bool // a watch that resumes starts from now
	repeats bool // a watch that resumes starts too early
	blind   bool // a watch does not notice that its position is gone
	stale   bool // Get returns the first value that it read
	old     sync.Map
}

func (d *gated) Capabilities() driver.Capabilities {
	c := d.engine.Capabilities()
	c.Abilities &^= driver.Batch | driver.Leases
	c.Abilities |= driver.Durable // as far as these faults reach: the engine itself never ends
	return c
}

func (d *gated) through(ctx context.Context) error {
	if d.deaf {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
	}
	return d.pass(ctx)
}

func (d *gated) Get(ctx context.Context, key string) (driver.Item, error) {
	if err := d.through(ctx); err != nil {
		return driver.Item{}, err
	}
	it, err := d.engine.Get(ctx, key)
	if d.stale && err == nil {
		first, _ := d.old.LoadOrStore(key, it)
		return first.(driver.Item), nil
	}
	return it, err
}

func (d *gated) Put(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
	if err := d.through(ctx); err != nil {
		return 0, err
	}
	if d.forgets && d.recovering() {
		return 1 << 40, nil
	}
	return d.engine.Put(ctx, req)
}

func (d *gated) recovering() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state == "slow" || time.Since(d.since) < 50*time.Millisecond
}

func (d *gated) Delete(ctx context.Context, req driver.DeleteRequest) error {
	if err := d.through(ctx); err != nil {
		return err
	}
	return d.engine.Delete(ctx, req)
}

func (d *gated) List(ctx context.Context, req driver.ListRequest) (driver.Page, error) {
	if err := d.through(ctx); err != nil {
		return driver.Page{}, err
	}
	return d.engine.List(ctx, req)
}

// Watch ends when the gate is not open, as a connection would.
func (d *gated) Watch(ctx context.Context, req driver.WatchRequest, emit func(driver.Event) error) error {
	if err := d.through(ctx); err != nil {
		return err
	}
	if req.From != 0 {
		switch {
		case d.skips:
			req.From = 0
		case d.repeats:
			req.From--
		}
	}
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if !d.mute {
		go d.watchGate(inner, cancel)
	}
	err := d.engine.Watch(inner, req, func(ev driver.Event) error {
		if state, _ := d.now(); d.mute && state != "" {
			return nil // lost in transit
		}
		return emit(ev)
	})
	switch {
	case d.blind && errors.Is(err, driver.ErrCompacted):
		return d.engine.Watch(inner, driver.WatchRequest{Key: req.Key, Prefix: req.Prefix}, emit)
	case ctx.Err() == nil && errors.Is(context.Cause(inner), errGate):
		return errGate
	}
	return err
}

func (d *gated) watchGate(ctx context.Context, end context.CancelCauseFunc) {
	for {
		state, changed := d.now()
		if state == "cut" || state == "silent" {
			end(errGate)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// Close does not close the shared engine.
func (d *gated) Close() error { return nil }

// gatedBackend returns a Backend with every hook that a gate can serve.
func gatedBackend(spoil func(*gated)) Backend {
	var g *gate
	state := func(s string) func(testing.TB) { return func(testing.TB) { g.set(s) } }
	return Backend{
		patience: 5 * time.Second,
		Open: func(testing.TB) driver.Driver {
			g = newGate()
			d := &gated{gate: g}
			spoil(d)
			return d
		},
		Beside: func(testing.TB) driver.Driver {
			return &gated{gate: &gate{engine: g.engine, changed: make(chan struct{})}}
		},
		Compact: func(testing.TB, driver.Driver) { g.engine.Compact() },
		Cut:     state("cut"), Drop: state("silent"), Heal: state(""),
		Slow:  func(testing.TB, time.Duration, time.Duration) { g.set("slow") },
		Pause: state("silent"), Resume: state(""),
		Kill: state("cut"), Revive: state(""),
		KillLeader: func(testing.TB) { // another one takes over
			g.set("cut")
			time.AfterFunc(100*time.Millisecond, func() { g.set("") })
		},
	}
}

// TestGated shows that a driver that survives every fault keeps every promise, and that a driver that does not is caught.
func TestGated(t *testing.T) {
	suite.Long(t)
	var all []string
	for _, p := range append(network(), storms()...) {
		all = append(all, p.Name)
	}
	for _, c := range []struct {
		name    string
		spoil   func(*gated)
		noticed []string // nil for none
	}{
		{"sound", func(*gated) {}, nil},
		{"deaf", func(d *gated) { d.deaf = true }, []string{"faults/network silent"}},
		{"forgetful", func(d *gated) { d.forgets = true }, []string{"faults/network slow", "storm/histories are linearizable", "storm/no acknowledged write is lost"}},
		{"mute", func(d *gated) { d.mute = true }, []string{"faults/network cut under a watch"}},
		{"skipping", func(d *gated) { d.skips = true }, []string{"faults/network cut under a watch"}},
		{"repeating", func(d *gated) { d.repeats = true }, []string{"faults/network cut under a watch"}},
		{"blind", func(d *gated) { d.blind = true }, []string{"faults/history lost while cut off"}},
		{"stale", func(d *gated) { d.stale = true }, []string{"storm/histories are linearizable", "faults/leader killed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			promises := c.noticed // a storm that no promise should notice lasts its full time
			if promises == nil {
				promises = all
			}
			for _, name := range promises {
				if got, want := notices(t, gatedBackend(c.spoil), name), c.noticed != nil; got != want {
					t.Errorf("%s: noticed %v, want %v", name, got, want)
				}
			}
		})
	}
}
