package kvtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/memkv"
)

// remote is memkv behind a network that can be cut or go silent.
type remote struct {
	*memkv.Driver
	requests atomic.Int64

	mu     sync.Mutex
	cut    chan struct{} // closed while the connection is cut
	silent chan struct{} // closed unless the engine is paused
}

var errCut = fmt.Errorf("%w: %w", driver.ErrUnavailable, errors.New("connection reset"))

func newRemote() *remote {
	r := &remote{Driver: memkv.New(nil), cut: make(chan struct{}), silent: make(chan struct{})}
	close(r.silent)
	return r
}

func (r *remote) lines() (cut, silent chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cut, r.silent
}

// ask waits for an answer as a client would.
func (r *remote) ask(ctx context.Context) error {
	r.requests.Add(1)
	cut, silent := r.lines()
	select {
	case <-cut:
		return errCut
	default:
	}
	select {
	case <-silent:
		return nil
	case <-cut:
		return errCut
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *remote) Get(ctx context.Context, key string) (driver.Item, error) {
	if err := r.ask(ctx); err != nil {
		return driver.Item{}, err
	}
	return r.Driver.Get(ctx, key)
}

func (r *remote) Put(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
	if err := r.ask(ctx); err != nil {
		return 0, err
	}
	return r.Driver.Put(ctx, req)
}

func (r *remote) Delete(ctx context.Context, req driver.DeleteRequest) error {
	if err := r.ask(ctx); err != nil {
		return err
	}
	return r.Driver.Delete(ctx, req)
}

func (r *remote) List(ctx context.Context, req driver.ListRequest) (driver.Page, error) {
	if err := r.ask(ctx); err != nil {
		return driver.Page{}, err
	}
	return r.Driver.List(ctx, req)
}

// Watch ends when the connection is cut.
func (r *remote) Watch(ctx context.Context, req driver.WatchRequest, emit func(driver.Event) error) error {
	if err := r.ask(ctx); err != nil {
		return err
	}
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cut, _ := r.lines()
	go func() {
		select {
		case <-cut:
			cancel(errCut)
		case <-inner.Done():
		}
	}()
	err := r.Driver.Watch(inner, req, emit)
	if errors.Is(context.Cause(inner), errCut) {
		return errCut
	}
	return err
}

// remoteBackend returns a Backend with every hook.
func remoteBackend() Backend {
	var r *remote
	return Backend{
		Open: func(testing.TB) driver.Driver { r = newRemote(); return r },
		Kill: func(testing.TB) {
			r.mu.Lock()
			defer r.mu.Unlock()
			close(r.cut)
		},
		Revive: func(testing.TB) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.cut = make(chan struct{})
		},
		Pause: func(testing.TB) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.silent = make(chan struct{})
		},
		Resume: func(testing.TB) {
			r.mu.Lock()
			defer r.mu.Unlock()
			close(r.silent)
		},
		Compact:   func(testing.TB, driver.Driver) { r.Compact() },
		Requests:  func() int64 { return r.requests.Load() },
		FakeClock: true,
	}
}

// TestRemote runs the whole suite, including faults, on a driver that keeps its promises.
func TestRemote(t *testing.T) { Run(t, remoteBackend()) }

// TestRealClock runs the suite without a bubble, as for an engine in another process.
func TestRealClock(t *testing.T) {
	b := remoteBackend()
	b.FakeClock = false
	Run(t, b)
}

// plain has the five required methods of a driver and no abilities.
type plain struct{ driver.Driver }

func (p plain) Capabilities() driver.Capabilities {
	return driver.Capabilities{System: "plain", MaxKey: 256, MaxValue: 1 << 20}
}

// TestPlain runs the suite on a driver without abilities. What remains must work, and the abilities must be refused.
func TestPlain(t *testing.T) {
	Run(t, Backend{Open: func(testing.TB) driver.Driver { return plain{memkv.New(nil)} }, FakeClock: true})
}
