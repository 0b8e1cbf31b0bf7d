package near_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.uber.org/goleak"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/state/kv/near"
	"github.com/go-os/go-os/telemetry"
)

// counted is memkv that counts reads, with a watch that can be cut and reads that can be delayed.
type counted struct {
	*memkv.Driver
	reads atomic.Int64
	held  func() // called after a read, before it returns; may be nil

	mu  sync.Mutex
	cut chan struct{} // closed while the watch is cut
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newCounted() *counted { return &counted{Driver: memkv.New(nil), cut: make(chan struct{})} }

func (c *counted) Get(ctx context.Context, key string) (driver.Item, error) {
	c.reads.Add(1)
	it, err := c.Driver.Get(ctx, key)
	if c.held != nil {
		c.held()
	}
	return it, err
}

func (c *counted) Watch(ctx context.Context, req driver.WatchRequest, emit func(driver.Event) error) error {
	c.mu.Lock()
	cut := c.cut
	c.mu.Unlock()
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-cut:
			cancel()
		case <-inner.Done():
		}
	}()
	err := c.Driver.Watch(inner, req, emit)
	if ctx.Err() == nil && inner.Err() != nil {
		return driver.ErrUnavailable
	}
	return err
}

// nearby is a near cache that runs in a synctest bubble.
type nearby struct {
	*testing.T
	engine *counted
	store  *kv.Store
	near   *near.Cache
	reader *sdkmetric.ManualReader
}

func inBubble(t *testing.T, opts *near.Options, check func(*nearby)) {
	synctest.Test(t, func(t *testing.T) {
		n := &nearby{T: t, engine: newCounted(), reader: sdkmetric.NewManualReader()}
		off := telemetry.Off()
		off.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(n.reader))
		n.store = kv.New(n.engine, &kv.Options{Telemetry: off})
		defer n.store.Close()
		n.near = near.New(n.store, opts)
		n.put("k", "1")
		n.reads("k", "1", 1) // not running: reads go through
		n.reads("k", "1", 1)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- n.near.Run(ctx) }()
		synctest.Wait()
		check(n)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run ended by its context: %v", err)
		}
		n.reads("k", "", 1) // ended: reads go through again
	})
}

func (n *nearby) put(key, value string, opts ...kv.PutOption) {
	n.Helper()
	if _, err := n.store.Put(n.Context(), key, []byte(value), opts...); err != nil {
		n.Fatal(err)
	}
}

// reads reads through the cache. It fails unless it gets the value (any, if empty) with this number of engine reads.
func (n *nearby) reads(key, value string, engine int64) {
	n.Helper()
	before := n.engine.reads.Load()
	it, err := n.near.Get(n.Context(), key)
	if err != nil || value != "" && string(it.Value) != value || it.Key != key {
		n.Errorf("Get(%q) = %q, error %v; want %q", key, it.Value, err, value)
	}
	if got := n.engine.reads.Load() - before; got != engine {
		n.Errorf("Get(%q) read the engine %d times, want %d", key, got, engine)
	}
}

func TestNear(t *testing.T) {
	inBubble(t, nil, func(n *nearby) {
		n.reads("k", "1", 1)
		n.reads("k", "1", 0)
		it, _ := n.near.Get(n.Context(), "k")
		copy(it.Value, "X")
		n.reads("k", "1", 0) // the value was a copy

		n.put("k", "2")
		synctest.Wait() // for the watch
		n.reads("k", "2", 1)
		n.reads("k", "2", 0)
		if err := n.store.Delete(n.Context(), "k"); err != nil {
			n.Fatal(err)
		}
		synctest.Wait()
		if _, err := n.near.Get(n.Context(), "k"); !errors.Is(err, kv.ErrNotFound) {
			n.Errorf("Get of what was deleted: %v", err)
		}
		n.put("k", "3")
		if err := n.near.Run(n.Context()); !errors.Is(err, kv.ErrInvalid) {
			n.Errorf("a second Run: %v", err)
		}
		n.counts(4, 5)
	})
}

// counts compares the metric with the requests so far. Reads before Run count as misses.
func (n *nearby) counts(hits, misses int64) {
	n.Helper()
	var rm metricdata.ResourceMetrics
	if err := n.reader.Collect(n.Context(), &rm); err != nil {
		n.Fatal(err)
	}
	got := map[string]int64{}
	for _, scope := range rm.ScopeMetrics {
		if scope.Scope.Name != "github.com/go-os/go-os/state/kv/near" || scope.Metrics[0].Name != "goos.kv.near.requests" {
			continue
		}
		for _, p := range scope.Metrics[0].Data.(metricdata.Sum[int64]).DataPoints {
			result, _ := p.Attributes.Value("goos.kv.near.result")
			got[result.AsString()] = p.Value
		}
	}
	if got["hit"] != hits || got["miss"] != misses {
		n.Errorf("the metric counts %v, want %d hits and %d misses", got, hits, misses)
	}
}

func TestNearTTL(t *testing.T) {
	inBubble(t, &near.Options{MaxStale: time.Minute}, func(n *nearby) {
		n.put("short", "x", kv.TTL(10*time.Second))
		synctest.Wait()
		n.reads("short", "x", 1)
		<-time.After(4 * time.Second)
		before := n.engine.reads.Load()
		if it, err := n.near.Get(n.Context(), "short"); err != nil || it.TTL != 6*time.Second || n.engine.reads.Load() != before {
			n.Errorf("after 4 s of 10 there are %s left, error %v", it.TTL, err)
		}
		<-time.After(6 * time.Second)
		if _, err := n.near.Get(n.Context(), "short"); !errors.Is(err, kv.ErrNotFound) {
			n.Errorf("an item past its time: %v", err)
		}
	})
}

// TestNearMaxStale drops events without ending the watch. MaxStale then limits the staleness.
func TestNearMaxStale(t *testing.T) {
	inBubble(t, &near.Options{MaxStale: 5 * time.Second, Prefix: "k"}, func(n *nearby) {
		n.reads("k", "1", 1)
		<-time.After(5*time.Second - 1)
		n.reads("k", "1", 0)
		<-time.After(1)
		n.reads("k", "1", 1)
		n.put("other", "x")
		n.reads("other", "x", 1) // not below Prefix
		n.reads("other", "x", 1)
	})
}

// TestNearLost cuts the watch. Nothing is served from memory until the watch is established again, and nothing from before the cut after
// that.
func TestNearLost(t *testing.T) {
	inBubble(t, nil, func(n *nearby) {
		n.reads("k", "1", 1)
		n.reads("k", "1", 0)
		n.engine.mu.Lock()
		close(n.engine.cut)
		n.engine.mu.Unlock()
		synctest.Wait()
		n.put("k", "2")
		n.reads("k", "2", 1)
		n.reads("k", "2", 1)
		n.engine.mu.Lock()
		n.engine.cut = make(chan struct{})
		n.engine.mu.Unlock()
		<-time.After(2 * kv.DefaultMaxBackoff)
		n.reads("k", "2", 1)
		n.reads("k", "2", 0)
	})
}

// TestNearRace changes an item while it is being read. The value read before the change must not be cached.
func TestNearRace(t *testing.T) {
	inBubble(t, nil, func(n *nearby) {
		n.engine.held = func() {
			n.engine.held = nil
			n.put("k", "2")
			synctest.Wait()
		}
		n.reads("k", "1", 1) // current when it was read
		n.reads("k", "2", 1)
		n.reads("k", "2", 0)
	})
}

// TestNearStaleness measures on the real clock how long a cache serves the old value after a write was acknowledged.
func TestNearStaleness(t *testing.T) {
	s := kv.New(memkv.New(nil), &kv.Options{Telemetry: telemetry.Off()})
	defer s.Close()
	near := near.New(s, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- near.Run(ctx) }()
	defer func() { cancel(); <-done }()
	var delays []time.Duration
	for n := range 500 {
		want := fmt.Sprint(n)
		if _, err := s.Put(ctx, "k", []byte(want)); err != nil {
			t.Fatal(err)
		}
		written := time.Now()
		for {
			it, err := near.Get(ctx, "k")
			if err != nil {
				t.Fatal(err)
			}
			if string(it.Value) == want {
				break
			}
			if time.Since(written) > time.Second {
				t.Fatal("a value is out of date for more than a second, though the watch is connected")
			}
		}
		delays = append(delays, time.Since(written))
	}
	slices.Sort(delays)
	t.Logf("staleness: median %s, p99 %s, longest %s", delays[250], delays[495], delays[499])
}

// TestWithoutDriver reads through a cache without a store. The error names the missing store.
func TestWithoutDriver(t *testing.T) {
	if _, err := near.New(nil, nil).Get(t.Context(), "k"); !errors.Is(err, kv.ErrInvalid) || !strings.Contains(err.Error(), "store is nil") {
		t.Errorf("Get without a store: %v", err)
	}
}

// blind is an engine that cannot be watched.
type blind struct{ *memkv.Driver }

func (b blind) Capabilities() driver.Capabilities {
	c := b.Driver.Capabilities()
	c.Abilities &^= driver.Watch
	return c
}

// TestWithoutWatch creates a cache on an engine without watches. The first call returns an error.
func TestWithoutWatch(t *testing.T) {
	c := near.New(kv.New(blind{memkv.New(nil)}, &kv.Options{Telemetry: telemetry.Off()}), nil)
	if _, err := c.Get(t.Context(), "k"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Get: %v, want ErrUnsupported", err)
	}
	if err := c.Run(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Run: %v, want ErrUnsupported", err)
	}
}
