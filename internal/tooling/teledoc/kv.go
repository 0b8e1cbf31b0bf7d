package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/state/kv/near"
	"github.com/go-os/go-os/telemetry"
)

// interruptedEngine is an engine whose first watch loses its connection.
type interruptedEngine struct {
	*memkv.Driver
	interrupted atomic.Bool
}

func (e *interruptedEngine) Watch(ctx context.Context, req driver.WatchRequest, emit func(driver.Event) error) error {
	if !e.interrupted.Swap(true) {
		return fmt.Errorf("%w: connection refused", driver.ErrUnavailable)
	}
	return e.Driver.Watch(ctx, req, emit)
}

// runKV makes every call of a store, once with success and once with failure. It also interrupts a watch, and ends a lease under Run.
func runKV(ctx context.Context, r *record) error {
	engine := &interruptedEngine{Driver: memkv.New(nil)}
	store := kv.New(engine, &kv.Options{Name: "carts", Backoff: time.Millisecond, Telemetry: r.providers()})
	for range store.WatchPrefix(ctx, "cart/", kv.Current()) {
		break
	}
	lease, err := store.Lease(ctx, 30*time.Millisecond)
	if err != nil {
		return err
	}
	callStore(ctx, store, lease)
	abandoned, err := store.Lease(ctx, 30*time.Millisecond)
	if err != nil {
		return err
	}
	time.Sleep(2 * abandoned.TTL())
	if err := abandoned.Run(ctx); !errors.Is(err, kv.ErrNotFound) {
		return fmt.Errorf("run of a lease that has ended: %w", err)
	}
	if err := runMirror(ctx, store); err != nil {
		return err
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	callStore(canceled, store, lease)
	return store.Close()
}

// callStore makes every call and ignores the results.
func callStore(ctx context.Context, store *kv.Store, lease *kv.Lease) {
	_, _ = store.Put(ctx, "cart/7", []byte("tea"))
	_, _ = store.Put(ctx, "cart/7", nil, kv.IfAbsent())
	_, _ = store.Get(ctx, "cart/7")
	_, _ = store.Get(ctx, "cart/8")
	_, _ = store.Update(ctx, "cart/7", func(kv.Item) ([]byte, error) { return []byte("coffee"), nil })
	_, _ = store.GetMany(ctx, []string{"cart/7", "cart/8"})
	_, _ = store.PutMany(ctx, []kv.Entry{{Key: "cart/9"}})
	_ = store.Ping(ctx)
	for range store.List(ctx, "cart/") {
	}
	_ = store.Delete(ctx, "cart/7")
	_, _ = store.Lease(ctx, time.Minute)
	_ = lease.Renew(ctx)
	_ = lease.Revoke(ctx)
}

// runMirror fills a mirror with items that do not decode.
func runMirror(ctx context.Context, store *kv.Store) error {
	mirror, err := kv.NewMirror[int](store, "cart/", nil)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- mirror.Run(ctx) }()
	<-mirror.Complete()
	cancel()
	return <-ended
}

// runNear collects while a near cache runs, because it reports nothing before and after. The spans of its store are those of state/kv.
func runNear(ctx context.Context, r *record) error {
	metrics := telemetry.Off()
	metrics.MeterProvider = r.providers().MeterProvider
	store := kv.New(memkv.New(nil), &kv.Options{Name: "carts", Telemetry: metrics})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- near.New(store, nil).Run(ctx) }()
	for len(r.metrics) == 0 {
		if err := r.collect(ctx); err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	return errors.Join(<-ended, store.Close())
}
