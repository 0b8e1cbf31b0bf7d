package kv_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
)

// cuttable is memkv whose watches can be cut.
type cuttable struct {
	*memkv.Driver

	mu  sync.Mutex
	cut chan struct{} // closed while watches are cut
}

func newCuttable() *cuttable { return &cuttable{Driver: memkv.New(nil), cut: make(chan struct{})} }

func (c *cuttable) state() chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cut
}

func (c *cuttable) Watch(ctx context.Context, req driver.WatchRequest, emit func(driver.Event) error) error {
	cut := c.state()
	select {
	case <-cut:
		return driver.ErrUnavailable
	default:
	}
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

func (c *cuttable) Cut() { close(c.state()) }

func (c *cuttable) Heal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = make(chan struct{})
}

// scripted is an engine whose watch emits each event of a test once.
type scripted struct {
	*memkv.Driver
	events chan driver.Event
}

func (s *scripted) Watch(ctx context.Context, _ driver.WatchRequest, emit func(driver.Event) error) error {
	for {
		select {
		case ev := <-s.events:
			if err := emit(ev); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// script emits events, each after the mirror has applied the previous one.
func (s *scripted) script(events ...driver.Event) {
	for _, ev := range events {
		s.events <- ev
		synctest.Wait()
	}
}

func shown(key, value string, version kv.Version) driver.Event {
	return driver.Event{Kind: kv.EventPut, Item: kv.Item{Key: key, Value: []byte(value), Version: version}}
}

// mirroring is a mirror that runs in a synctest bubble.
type mirroring struct {
	*testing.T
	store  *kv.Store
	mirror *kv.Mirror[int]
	stop   func() // ends Run
}

// mirrored runs a mirror of a whole store in a synctest bubble, and calls check once it is filled.
func mirrored(t *testing.T, d func() driver.Driver, check func(*mirroring)) {
	synctest.Test(t, func(t *testing.T) {
		m := &mirroring{T: t, store: kv.New(d(), &kv.Options{Telemetry: telemetry.Off()})}
		defer m.store.Close()
		var err error
		if m.mirror, err = kv.NewMirror[int](m.store, "", nil); err != nil {
			t.Fatal(err)
		}
		m.stop = m.run()
		defer m.stop()
		synctest.Wait()
		check(m)
	})
}

// run runs the mirror until stop is called.
func (m *mirroring) run() (stop func()) {
	ctx, cancel := context.WithCancel(m.Context())
	done := make(chan error, 1)
	go func() { done <- m.mirror.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			m.Errorf("Run returns %v after the end of its context", err)
		}
	})
}

func (m *mirroring) put(key, value string, opts ...kv.PutOption) {
	m.Helper()
	if _, err := m.store.Put(m.Context(), key, []byte(value), opts...); err != nil {
		m.Fatal(err)
	}
}

func (m *mirroring) delete(key string) {
	m.Helper()
	if err := m.store.Delete(m.Context(), key); err != nil {
		m.Fatal(err)
	}
}

// shows fails the test unless the mirror holds exactly these values.
func (m *mirroring) shows(want map[string]int) {
	m.Helper()
	if got := values(m.mirror); !maps.Equal(got, want) || m.mirror.Len() != len(want) {
		m.Errorf("the mirror holds %v, and says that these are %d; want %v", got, m.mirror.Len(), want)
	}
	for key, value := range want {
		if it, ok := m.mirror.Get(key); !ok || it.Value != value || it.Key != key || it.Version == 0 {
			m.Errorf("Get(%q) = %+v, %v; want %d", key, it, ok, value)
		}
	}
}

func values(m *kv.Mirror[int]) map[string]int {
	all := map[string]int{}
	for it := range m.All() {
		all[it.Key] = it.Value
	}
	return all
}

// is fails the test unless the mirror has this state and staleness.
func (m *mirroring) is(state kv.MirrorState, stale time.Duration) {
	m.Helper()
	if got := m.mirror.Status(); got.State != state || got.Stale != stale || got.Items != m.mirror.Len() {
		m.Errorf("the mirror is %s, stale for %s, with %d items; want %s for %s", got.State, got.Stale, got.Items, state, stale)
	}
}

func TestMirror(t *testing.T) {
	mirrored(t, func() driver.Driver { return memkv.New(nil) }, func(m *mirroring) {
		<-m.mirror.Complete()
		m.shows(map[string]int{})
		m.put("a", "1")
		m.put("b", "2", kv.TTL(time.Minute))
		m.put("c", "3")
		synctest.Wait()
		m.shows(map[string]int{"a": 1, "b": 2, "c": 3})
		m.put("a", "4")
		m.delete("c")
		synctest.Wait()
		m.shows(map[string]int{"a": 4, "b": 2})
		<-time.After(time.Minute)
		synctest.Wait()
		m.shows(map[string]int{"a": 4})
		m.is(kv.MirrorCurrent, 0)
		if _, ok := m.mirror.Get("b"); ok {
			m.Error("Get finds an item that has expired")
		}
		if err := m.mirror.Run(m.Context()); !errors.Is(err, kv.ErrInvalid) || !strings.Contains(err.Error(), "already running") {
			m.Errorf("a second Run: %v", err)
		}

		m.stop()
		m.put("a", "5")
		<-time.After(time.Hour)
		m.shows(map[string]int{"a": 4})
		m.is(kv.MirrorStale, time.Hour)
		defer m.run()()
		synctest.Wait()
		m.shows(map[string]int{"a": 5})
		m.is(kv.MirrorCurrent, 0)
	})
}

// TestMirrorOfNamespace mirrors a namespace. Keys are relative to it, and only those below the prefix are held.
func TestMirrorOfNamespace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := kv.New(memkv.New(nil), &kv.Options{Telemetry: telemetry.Off()})
		defer s.Close()
		for _, key := range []string{"prod/route/eu", "prod/other", "test/route/eu", "route/eu"} {
			if _, err := s.Put(t.Context(), key, []byte("1")); err != nil {
				t.Fatal(err)
			}
		}
		prod := s.Namespace("prod")
		mirror, err := kv.NewMirror[int](prod, "route/", nil)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- mirror.Run(t.Context()) }()
		<-mirror.Complete()
		if got := values(mirror); !maps.Equal(got, map[string]int{"route/eu": 1}) {
			t.Errorf("the mirror holds %v", got)
		}
		if err := prod.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, kv.ErrClosed) {
			t.Errorf("Run on a store that is closed: %v", err)
		}
	})
}

// TestMirrorLost cuts the watch. The mirror keeps its items, reports its staleness, and catches up.
func TestMirrorLost(t *testing.T) {
	var engine *cuttable
	mirrored(t, func() driver.Driver { engine = newCuttable(); return engine }, func(m *mirroring) {
		m.put("a", "1")
		m.put("b", "2")
		synctest.Wait()
		engine.Cut()
		synctest.Wait()
		m.put("a", "3")
		m.delete("b")
		m.put("c", "4")
		for n := range 3 {
			m.shows(map[string]int{"a": 1, "b": 2})
			m.is(kv.MirrorStale, time.Duration(n)*time.Hour)
			<-time.After(time.Hour)
		}
		engine.Heal()
		<-time.After(kv.DefaultMaxBackoff)
		synctest.Wait()
		m.shows(map[string]int{"a": 3, "c": 4})
		m.is(kv.MirrorCurrent, 0)
	})
}

// TestMirrorResync emits snapshots event by event. No item disappears before the end of a snapshot, even when one is interrupted.
func TestMirrorResync(t *testing.T) {
	var engine *scripted
	begin, end := driver.Event{Kind: kv.EventResync}, driver.Event{Kind: kv.EventSynced, Position: 9}
	mirrored(t, func() driver.Driver {
		engine = &scripted{Driver: memkv.New(nil), events: make(chan driver.Event)}
		return engine
	}, func(m *mirroring) {
		m.is(kv.MirrorFilling, 0)
		engine.script(begin, shown("a", "1", 1))
		m.shows(map[string]int{"a": 1}) // while it fills
		m.is(kv.MirrorFilling, 0)
		engine.script(shown("b", "2", 2), end)
		m.is(kv.MirrorCurrent, 0)

		engine.script(begin)
		m.shows(map[string]int{"a": 1, "b": 2})
		<-time.After(time.Second)
		m.is(kv.MirrorStale, time.Second)
		engine.script(shown("c", "3", 3))
		m.shows(map[string]int{"a": 1, "b": 2, "c": 3})
		engine.script(begin, shown("b", "4", 4)) // and c is deleted
		m.shows(map[string]int{"a": 1, "b": 4, "c": 3})
		engine.script(end)
		m.shows(map[string]int{"b": 4})
		m.is(kv.MirrorCurrent, 0)
		engine.script(begin, shown("b", "4", 4), end)
		m.shows(map[string]int{"b": 4})
	})
}

// eventNames records the names of telemetry events with their keys.
type eventNames struct {
	mu    sync.Mutex
	names []string
}

func (e *eventNames) OnEmit(_ context.Context, r *sdklog.Record) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	key := ""
	r.WalkAttributes(func(a attribute.KeyValue) bool {
		if a.Key == "goos.kv.key" {
			key = a.Value.AsString()
		}
		return true
	})
	e.names = append(e.names, r.EventName()+" "+key)
	return nil
}

// count returns the number of events with this name and key.
func (e *eventNames) count(name string) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, got := range e.names {
		if got == name {
			n++
		}
	}
	return n
}

func (*eventNames) Enabled(context.Context, sdklog.EnabledParameters) bool { return true }
func (*eventNames) Shutdown(context.Context) error                         { return nil }
func (*eventNames) ForceFlush(context.Context) error                       { return nil }

// TestMirrorInvalid emits values that do not decode. Each is missing, listed, counted and reported once; other items are not affected.
func TestMirrorInvalid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names, reader := &eventNames{}, sdkmetric.NewManualReader()
		p := telemetry.Off()
		p.LoggerProvider = sdklog.NewLoggerProvider(sdklog.WithProcessor(names))
		p.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
		engine := &scripted{Driver: memkv.New(nil), events: make(chan driver.Event)}
		m := &mirroring{T: t, store: kv.New(engine, &kv.Options{Telemetry: p})}
		defer m.store.Close()
		m.mirror, _ = kv.NewMirror[int](m.store, "", nil)
		defer m.run()()
		begin, end := driver.Event{Kind: kv.EventResync}, driver.Event{Kind: kv.EventSynced, Position: 9}

		engine.script(begin, shown("a", "1", 1), shown("bad", "x", 2), shown("c", "3", 3), end)
		m.shows(map[string]int{"a": 1, "c": 3})
		engine.script(begin, shown("a", "1", 1), shown("bad", "x", 2), shown("c", "3", 3), end)
		invalid := m.mirror.Invalid()
		if err := invalid["bad"]; len(invalid) != 1 || !errors.Is(err, kv.ErrInvalid) || !strings.HasPrefix(err.Error(), `kv: mirror "bad": invalid: `) {
			t.Errorf("invalid items: %v", invalid)
		}
		want := []string{"goos.kv.watch.resync ", "goos.kv.mirror.invalid bad", "goos.kv.watch.resync "}
		if !slices.Equal(names.names, want) {
			t.Errorf("events %q, want %q", names.names, want)
		}

		engine.script(shown("c", "x", 4), shown("bad", "2", 5)) // a valid value becomes invalid, and the reverse
		m.shows(map[string]int{"a": 1, "bad": 2})
		if status := m.mirror.Status(); status.Invalid != 1 || m.mirror.Invalid()["c"] == nil {
			t.Errorf("%d invalid items: %v", status.Invalid, m.mirror.Invalid())
		}
		if n := counted(t, reader, "goos.kv.mirror.invalid_items"); n != 2 {
			t.Errorf("the metric counts %d invalid items, want 2", n)
		}
		engine.script(driver.Event{Kind: kv.EventDelete, Item: kv.Item{Key: "c"}})
		if status := m.mirror.Status(); status.Invalid != 0 || status.Items != 2 {
			t.Errorf("after the last invalid item was deleted: %+v", status)
		}
	})
}

// counted returns the value of a counter.
func counted(t *testing.T, reader sdkmetric.Reader, name string) (total int64) {
	t.Helper()
	var rm metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &rm); err != nil {
		t.Fatal(err)
	}
	for _, scope := range rm.ScopeMetrics {
		for _, m := range scope.Metrics {
			if sum, ok := m.Data.(metricdata.Sum[int64]); ok && m.Name == name {
				for _, p := range sum.DataPoints {
					total += p.Value
				}
			}
		}
	}
	return total
}

// TestMirrorChanges runs one consumer that keeps up and one that blocks. The blocked one delays no one, and receives the latest states at
// the end.
func TestMirrorChanges(t *testing.T) {
	mirrored(t, func() driver.Driver { return memkv.New(nil) }, func(m *mirroring) {
		m.put("first", "1")
		synctest.Wait()
		ctx, cancel := context.WithCancel(m.Context())
		var quick, slow []string
		release := make(chan struct{})
		var group sync.WaitGroup
		group.Go(func() {
			for c := range m.mirror.Changes(ctx) {
				quick = append(quick, fmt.Sprint(c.Item.Key, "=", c.Item.Value, " ", c.Removed))
			}
		})
		group.Go(func() {
			for c := range m.mirror.Changes(ctx) {
				slow = append(slow, fmt.Sprint(c.Item.Key, "=", c.Item.Value, " ", c.Removed))
				<-release
			}
		})
		synctest.Wait()
		for n := range 1000 {
			m.put("k", fmt.Sprint(n))
			synctest.Wait()
		}
		m.delete("first")
		synctest.Wait()
		m.shows(map[string]int{"k": 999})
		close(release)
		synctest.Wait()
		cancel()
		group.Wait()
		if want := []string{"first=1 false", "first=0 true", "k=999 false"}; !slices.Equal(slow, want) {
			m.Errorf("the slow loop saw %q, want %q", slow, want)
		}
		last := quick[max(len(quick)-2, 0):]
		if want := []string{"k=999 false", "first=0 true"}; len(quick) != 1002 || !slices.Equal(last, want) {
			m.Errorf("the quick loop saw %d changes, the last %q; want 1002, the last %q", len(quick), last, want)
		}
	})
}

// TestMirrorConverges makes random writes while the watch is cut and loses its position. In the end the mirror equals the store, and so
// does a copy built from its changes.
func TestMirrorConverges(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 0))
		var engine *cuttable
		mirrored(t, func() driver.Driver { engine = newCuttable(); return engine }, func(m *mirroring) {
			ctx, cancel := context.WithCancel(m.Context())
			copied := map[string]int{}
			var group sync.WaitGroup
			group.Go(func() {
				for c := range m.mirror.Changes(ctx) {
					if copied[c.Item.Key] = c.Item.Value; c.Removed {
						delete(copied, c.Item.Key)
					}
				}
			})
			up := true
			for range 300 {
				key := fmt.Sprint("k", random.IntN(20))
				switch n := random.IntN(20); {
				case n < 10:
					m.put(key, fmt.Sprint(random.IntN(1000)))
				case n < 12:
					m.put(key, fmt.Sprint(random.IntN(1000)), kv.TTL(time.Second))
				case n < 16:
					m.delete(key)
				case n == 16 && up:
					engine.Cut()
					up = false
				case n == 17 && !up:
					engine.Heal()
					up = true
				case n == 18:
					engine.Compact()
				default:
					<-time.After(time.Duration(random.IntN(3000)) * time.Millisecond)
				}
			}
			if !up {
				engine.Heal()
			}
			<-time.After(2 * kv.DefaultMaxBackoff)
			synctest.Wait()
			want := map[string]int{}
			for it, err := range kv.NewTyped[int](m.store, nil).List(m.Context(), "") {
				if err != nil {
					m.Fatal(err)
				}
				want[it.Key] = it.Value
			}
			m.shows(want)
			m.is(kv.MirrorCurrent, 0)
			cancel()
			group.Wait()
			if !maps.Equal(copied, want) {
				m.Errorf("seed %d: a copy by Changes holds %v, want %v", seed, copied, want)
			}
		})
	}
}

// TestMirrorReaders runs 1,000 readers of 100,000 items while items change and the mirror resyncs twice.
func TestMirrorReaders(t *testing.T) {
	const items, readers = 100_000, 1_000
	engine := newCuttable()
	s := kv.New(engine, &kv.Options{Telemetry: telemetry.Off(), Backoff: time.Millisecond, MaxBackoff: 10 * time.Millisecond})
	defer s.Close()
	for n := range items {
		if _, err := engine.Put(t.Context(), driver.PutRequest{Key: mirrorKey(n), Value: []byte("0")}); err != nil {
			t.Fatal(err)
		}
	}
	mirror, err := kv.NewMirror[int](s, "m/", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- mirror.Run(ctx) }()
	<-mirror.Complete()
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	for range readers {
		group.Go(func() { readAll(ctx, t, mirror, items, mirrorKey(3)) })
	}
	for round := 1; round <= 2; round++ {
		follows(t, mirror, s, "before the watch is cut", 10*round)
		engine.Cut()
		stale(t, mirror)
		if err := s.Delete(ctx, mirrorKey(3)); err != nil {
			t.Fatal(err)
		}
		engine.Compact()
		engine.Heal()
		follows(t, mirror, s, "after a compaction", 10*round+1)
		if _, ok := mirror.Get(mirrorKey(3)); ok {
			t.Error("an item that was deleted while the watch was cut is still there")
		}
		if _, err := s.Put(ctx, mirrorKey(3), []byte("0")); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestNewMirrorErrors(t *testing.T) {
	blind := kv.New(&limited{Driver: memkv.New(nil), caps: driver.Capabilities{System: "blind"}}, nil)
	closed := kv.New(memkv.New(nil), nil)
	_ = closed.Close()
	create := func(s *kv.Store, prefix string) error {
		_, err := kv.NewMirror[int](s, prefix, nil)
		return err
	}
	for want, err := range map[string]error{
		`kv: mirror "": invalid: no store: give NewMirror one from New`:  create(nil, ""),
		`kv: mirror "a/": unsupported operation: blind cannot do: watch`: create(blind, "a/"),
		`kv: mirror "a/": closed`: create(closed, "a/"),
		`kv: mirror "\xff": invalid: the key is not UTF-8; encode binary keys, for example in base64`: create(open(t, nil), "\xff"),
		`kv: mirror "a/": invalid: "" is no name for a namespace: use UTF-8 that is not empty`:        create(open(t, nil).Namespace(""), "a/"),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

// small is a value without pointers, of 8 bytes.
type small struct{}

func (small) Encode(n int) ([]byte, error)    { return []byte{byte(n)}, nil }
func (small) Decode(data []byte) (int, error) { return int(data[0]), nil }

// TestMirrorMemory compares the memory per item with the comment of Mirror.
func TestMirrorMemory(t *testing.T) {
	const items = 100_000
	engine := &scripted{Driver: memkv.New(nil), events: make(chan driver.Event)}
	s := kv.New(engine, &kv.Options{Telemetry: telemetry.Off()})
	defer s.Close()
	before := testenv.Heap()
	mirror, err := kv.NewMirror(s, "", &kv.MirrorOptions[int]{Codec: small{}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- mirror.Run(ctx) }()
	engine.events <- driver.Event{Kind: kv.EventResync}
	for n := range items {
		engine.events <- shown(fmt.Sprintf("key/%012d", n), "x", kv.Version(n+1)) // keys of 16 bytes
	}
	engine.events <- driver.Event{Kind: kv.EventSynced, Position: 1}
	<-mirror.Complete()
	each := float64(testenv.Heap()-before) / items
	t.Logf("an item takes %.0f bytes, of which 24 are key and value", each)
	if beside := each - 24; beside < 40 || beside > 100 {
		t.Errorf("an item takes %.0f bytes beside its key and value; the comment of Mirror says 40 to 100", beside)
	}
	cancel()
	if err := <-done; err != nil || mirror.Len() != items {
		t.Errorf("Run: %v, %d items", err, mirror.Len())
	}
}

// BenchmarkMirrorGet reads one of 10,000 items, on all processors.
func BenchmarkMirrorGet(b *testing.B) {
	s, keys := filled(b, telemetry.Off())
	mirror, err := kv.NewMirror(s, "", &kv.MirrorOptions[int]{Codec: small{}})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mirror.Run(ctx) }()
	<-mirror.Complete()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, ok := mirror.Get(keys[i%benchKeys]); !ok {
				b.Error("no item")
			}
		}
	})
	cancel()
	<-done
}
