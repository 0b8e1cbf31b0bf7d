package discovery_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/control/discovery/kvdiscovery"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
)

// fixture is a registry in memory.
type fixture struct {
	*testing.T
	store *kv.Store
}

func newFixture(t *testing.T) *fixture {
	store := kv.New(memkv.New(nil), &kv.Options{Telemetry: telemetry.Off()})
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return &fixture{t, store}
}

func (f *fixture) registry() *kvdiscovery.Registry {
	f.Helper()
	registry, err := kvdiscovery.New(f.store, nil)
	if err != nil {
		f.Fatal(err)
	}
	return registry
}

func (f *fixture) registrar() *discovery.Registrar {
	f.Helper()
	r, err := discovery.NewRegistrar(f.registry(), &discovery.RegistrarOptions{Telemetry: telemetry.Off()})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := r.Close(); err != nil {
			f.Error(err)
		}
	})
	return r
}

func (f *fixture) resolver() *discovery.Resolver {
	f.Helper()
	r, err := discovery.NewResolver(f.registry(), &discovery.ResolverOptions{Telemetry: telemetry.Off()})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := r.Close(); err != nil {
			f.Error(err)
		}
	})
	return r
}

func instance(n int) discovery.Instance {
	return discovery.Instance{
		Service: "orders", ID: fmt.Sprintf("i%d", n), Weight: 100,
		Addresses: map[string]string{"grpc": fmt.Sprintf("10.0.0.%d:9000", n+1)},
	}
}

func (f *fixture) register(r *discovery.Registrar, n int) *discovery.Registration {
	f.Helper()
	g, err := r.Register(f.Context(), instance(n))
	if err != nil {
		f.Fatal(err)
	}
	if err := g.Check(f.Context()); err != nil {
		f.Fatal(err)
	}
	return g
}

// ids returns the instances that a resolver has now.
func ids(t *testing.T, r *discovery.Resolver) string {
	t.Helper()
	synctest.Wait()
	s, err := r.Lookup(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, i := range s.Instances {
		text += " " + i.ID
		if i.State != discovery.Up {
			text += "(" + i.State.String() + ")"
		}
	}
	if s.Held > 0 {
		text += fmt.Sprintf(" held %d", s.Held)
	}
	return text
}

func (f *fixture) expect(r *discovery.Resolver, want string) {
	f.Helper()
	if got := ids(f.T, r); got != want {
		f.Errorf("instances%s, want%s", got, want)
	}
}

// TestLifeOfAnInstance registers, changes, drains and deregisters instances.
func TestLifeOfAnInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		resolver := f.resolver()
		if _, err := resolver.Lookup(t.Context(), "orders"); !errors.Is(err, discovery.ErrNotFound) {
			t.Errorf("Lookup of an unknown service: %v, want ErrNotFound", err)
		}
		registrar := f.registrar()
		first, second := f.register(registrar, 0), f.register(registrar, 1)
		f.expect(resolver, " i0 i1")
		if err := first.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.expect(resolver, " i0(draining) i1")
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		f.expect(resolver, " i1")
		if err := second.Close(); err != nil {
			t.Fatal(err)
		}
		f.expect(resolver, "")
		if err := second.Check(t.Context()); !errors.Is(err, discovery.ErrClosed) {
			t.Errorf("Check after Close: %v, want ErrClosed", err)
		}
		time.Sleep(discovery.DefaultGoodbye + time.Minute)
		synctest.Wait()
		if left := keys(t, f.store); left != "" {
			t.Errorf("keys left behind:%s", left)
		}
	})
}

func keys(t *testing.T, s *kv.Store) (all string) {
	t.Helper()
	for it, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		all += " " + it.Key
	}
	return all
}

// TestWipedPrefix deletes all records by mistake: no reader is without an instance, and all are registered again at once.
func TestWipedPrefix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		registrar, resolver := f.registrar(), f.resolver()
		for n := range 3 {
			f.register(registrar, n)
		}
		f.expect(resolver, " i0 i1 i2")
		for n := range 3 {
			if err := f.store.Delete(t.Context(), fmt.Sprintf("orders/i%d", n)); err != nil {
				t.Fatal(err)
			}
		}
		f.expect(resolver, " i0 i1 i2")
		time.Sleep(time.Second)
		synctest.Wait()
		if got := keys(t, f.store); got != " orders/i0 orders/i1 orders/i2" {
			t.Errorf("a second later the registry has%s", got)
		}
	})
}

// TestDeadProcess lets a lease end without a goodbye.
func TestDeadProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		living, resolver := f.registrar(), f.resolver()
		for n := range 3 {
			f.register(living, n)
		}
		f.put("dead")
		f.expect(resolver, " dead i0 i1 i2")
		time.Sleep(time.Minute)
		f.expect(resolver, " i0 i1 i2")
	})
}

// TestLateDuplicate starts a second process with the same service and ID: the later one wins.
func TestLateDuplicate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		first := f.register(f.registrar(), 0)
		time.Sleep(time.Second)
		second := f.register(f.registrar(), 0)
		synctest.Wait()
		if err := first.Check(t.Context()); !errors.Is(err, discovery.ErrConflict) {
			t.Errorf("the earlier process: %v, want ErrConflict", err)
		}
		if err := first.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if err := second.Check(t.Context()); err != nil {
			t.Errorf("the later process: %v", err)
		}
	})
}

func TestInvalidInstances(t *testing.T) {
	f := newFixture(t)
	registrar := f.registrar()
	for name, change := range map[string]func(*discovery.Instance){
		"no service":         func(i *discovery.Instance) { i.Service = "" },
		"slash":              func(i *discovery.Instance) { i.Service = "a/b" },
		"no ID":              func(i *discovery.Instance) { i.ID = "" },
		"no address":         func(i *discovery.Instance) { i.Addresses = nil },
		"no port":            func(i *discovery.Instance) { i.Addresses = map[string]string{"grpc": "10.0.0.1"} },
		"unspecified":        func(i *discovery.Instance) { i.Addresses = map[string]string{"grpc": "0.0.0.0:1"} },
		"negative weight":    func(i *discovery.Instance) { i.Weight = -1 },
		"label not in UTF-8": func(i *discovery.Instance) { i.Labels = map[string]string{"a": "\xff"} },
		"unnamed label":      func(i *discovery.Instance) { i.Labels = map[string]string{"": "a"} },
		"long label":         func(i *discovery.Instance) { i.Labels = map[string]string{"a": strings.Repeat("x", 1024)} },
		"65 labels": func(i *discovery.Instance) {
			i.Labels = map[string]string{}
			for n := range 65 {
				i.Labels[fmt.Sprint(n)] = ""
			}
		},
		"long version":   func(i *discovery.Instance) { i.Version = strings.Repeat("x", 1025) },
		"long ID":        func(i *discovery.Instance) { i.ID = strings.Repeat("x", 129) },
		"heavy":          func(i *discovery.Instance) { i.Weight = 1_000_001 },
		"port of a name": func(i *discovery.Instance) { i.Addresses = map[string]string{"grpc": "10.0.0.1:http"} },
		"port 0":         func(i *discovery.Instance) { i.Addresses = map[string]string{"grpc": "10.0.0.1:0"} },
	} {
		t.Run(name, func(t *testing.T) {
			i := instance(0)
			change(&i)
			if _, err := registrar.Register(context.Background(), i); !errors.Is(err, discovery.ErrInvalid) {
				t.Errorf("%v, want ErrInvalid", err)
			}
		})
	}
}

// TestLimits: an instance at every limit is registered. The same service and ID again is a mistake.
func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		registrar := f.registrar()
		i := instance(0)
		i.ID, i.Weight, i.Version, i.Labels = strings.Repeat("x", 128), 1_000_000, strings.Repeat("x", 1024), map[string]string{}
		for n := range 64 {
			name := fmt.Sprint(n)
			i.Labels[name] = strings.Repeat("x", 1024-len(name))
		}
		g, err := registrar.Register(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Check(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := registrar.Register(t.Context(), i); !errors.Is(err, discovery.ErrInvalid) {
			t.Errorf("the same service and ID: %v, want ErrInvalid", err)
		}
	})
}

// TestOneFlight looks a service up from many goroutines at once: the registry is queried once, and all get its answer. A shorter lookup
// ends with its context.
func TestOneFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.register(f.registrar(), 0)
		slow := &countedReader{Reader: slowReader{f.registry()}}
		resolver, err := discovery.NewResolver(slow, &discovery.ResolverOptions{Telemetry: telemetry.Off()})
		if err != nil {
			t.Fatal(err)
		}
		defer resolver.Close()
		brief, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, err := resolver.Lookup(brief, "orders"); !errors.Is(err, discovery.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Lookup with 10 ms: %v, want ErrUnavailable and the end of its context", err)
		}
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if s, err := resolver.Lookup(t.Context(), "orders"); err != nil || len(s.Instances) != 1 {
					t.Errorf("Lookup: %v, %v", s, err)
				}
			})
		}
		all.Wait()
		if n := slow.watches.Load(); n != 1 {
			t.Errorf("the registry was asked %d times", n)
		}
	})
}

// countedReader counts watches.
type countedReader struct {
	driver.Reader
	watches atomic.Int64
}

func (r *countedReader) Watch(ctx context.Context, service string, emit func(driver.Event) error) error {
	r.watches.Add(1)
	return r.Reader.Watch(ctx, service, emit)
}

func BenchmarkLookup(b *testing.B) {
	store := kv.New(memkv.New(nil), nil)
	defer store.Close()
	registry, _ := kvdiscovery.New(store, nil)
	resolver, _ := discovery.NewResolver(registry, nil)
	defer resolver.Close()
	for n := range 10_000 {
		if _, err := store.Put(b.Context(), fmt.Sprintf("orders/i%d", n), []byte(`{"addresses":{"grpc":"10.1.1.1:1"},"weight":1,"state":"up"}`)); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := resolver.Lookup(b.Context(), "orders"); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := resolver.Lookup(b.Context(), "orders"); err != nil {
			b.Fatal(err)
		}
	}
}

// cable is a registry that can be unplugged.
type cable struct {
	*kvdiscovery.Registry
	mu  sync.Mutex
	out chan struct{} // closed while it is plugged in
}

func newCable(r *kvdiscovery.Registry) *cable {
	c := &cable{Registry: r, out: make(chan struct{})}
	return c
}

// unplug lets all requests fail and ends all watches, until plug.
func (c *cable) unplug() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.out)
}

func (c *cable) plug() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = make(chan struct{})
}

func (c *cable) err() error {
	select {
	case <-c.unplugged():
		return fmt.Errorf("%w: the cable is out", discovery.ErrUnavailable)
	default:
		return nil
	}
}

func (c *cable) unplugged() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out
}

func (c *cable) within(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := c.unplugged()
	go func() {
		select {
		case <-out:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := do(ctx)
	return errors.Join(c.err(), err)
}

func (c *cable) Grant(ctx context.Context, ttl time.Duration) (driver.Lease, error) {
	if err := c.err(); err != nil {
		return nil, err
	}
	l, err := c.Registry.Grant(ctx, ttl)
	return &cableLease{l, c}, err
}

func (c *cable) Watch(ctx context.Context, service string, emit func(driver.Event) error) error {
	if err := c.err(); err != nil {
		return err
	}
	return c.within(ctx, func(ctx context.Context) error { return c.Registry.Watch(ctx, service, emit) })
}

type cableLease struct {
	driver.Lease
	cable *cable
}

func (l *cableLease) Renew(ctx context.Context) error {
	if err := l.cable.err(); err != nil {
		return err
	}
	return l.Lease.Renew(ctx)
}

func (l *cableLease) Register(ctx context.Context, r driver.Record) error {
	if err := l.cable.err(); err != nil {
		return err
	}
	return l.Lease.Register(ctx, r)
}

func (l *cableLease) Deregister(ctx context.Context, r driver.Record, keep time.Duration) error {
	if err := l.cable.err(); err != nil {
		return err
	}
	return l.Lease.Deregister(ctx, r, keep)
}

func (l *cableLease) Watch(ctx context.Context, r driver.Record, changed func()) error {
	if err := l.cable.err(); err != nil {
		return err
	}
	return l.cable.within(ctx, func(ctx context.Context) error { return l.Lease.Watch(ctx, r, changed) })
}

// TestOutage cuts writers and readers off from the registry for much longer than the lease. No reader is ever without an instance, and
// all report the age of their view. The instances are registered again within a third of a TTL.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		cable := newCable(f.registry())
		registrar, err := discovery.NewRegistrar(cable, &discovery.RegistrarOptions{Telemetry: telemetry.Off()})
		if err != nil {
			t.Fatal(err)
		}
		defer registrar.Close()
		resolver, err := discovery.NewResolver(cable, &discovery.ResolverOptions{Telemetry: telemetry.Off()})
		if err != nil {
			t.Fatal(err)
		}
		defer resolver.Close()
		first, second := f.register(registrar, 0), f.register(registrar, 1)
		f.expect(resolver, " i0 i1")

		cable.unplug()
		time.Sleep(time.Hour)
		f.expect(resolver, " i0 i1")
		s, err := resolver.Lookup(t.Context(), "orders")
		if err != nil || s.Age() < 59*time.Minute {
			t.Errorf("age %v after an hour, error %v", s.Age(), err)
		}
		for _, g := range []*discovery.Registration{first, second} {
			if err := g.Check(t.Context()); !errors.Is(err, discovery.ErrUnavailable) {
				t.Errorf("Check while the registry is away: %v, want ErrUnavailable", err)
			}
		}
		if left := keys(t, f.store); left != "" {
			t.Fatalf("the leases have not ended:%s", left)
		}

		cable.plug()
		for range 50 { // 5 s are a third of the TTL
			time.Sleep(100 * time.Millisecond)
			f.instances(resolver, 2)
		}
		synctest.Wait()
		for _, g := range []*discovery.Registration{first, second} {
			if err := g.Check(t.Context()); err != nil {
				t.Errorf("a third of a TTL after the registry is back: %v", err)
			}
		}
		time.Sleep(5 * time.Second)
		f.expect(resolver, " i0 i1")
		if s, _ := resolver.Lookup(t.Context(), "orders"); s.Age() != 0 {
			t.Errorf("age %v although the registry is back", s.Age())
		}
	})
}

// instances fails unless the resolver has so many.
func (f *fixture) instances(r *discovery.Resolver, want int) {
	f.Helper()
	s, err := r.Lookup(f.Context(), "orders")
	if err != nil || len(s.Instances) != want {
		f.Fatalf("%d instances, error %v, want %d", len(s.Instances), err, want)
	}
}

// TestHoldEnds kills processes; their records then vanish together.
func TestHoldEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		resolver := f.resolver()
		for n := range 4 {
			f.put(fmt.Sprint("dead", n))
		}
		f.register(f.registrar(), 0)
		f.expect(resolver, " dead0 dead1 dead2 dead3 i0")
		time.Sleep(30 * time.Second)
		f.expect(resolver, " dead0 dead1 dead2 dead3 i0 held 4")
		for range 3 {
			resolver.Report("orders", "dead0", false)
		}
		resolver.Report("orders", "dead1", false)
		resolver.Report("orders", "dead1", false)
		resolver.Report("orders", "dead1", true)
		resolver.Report("orders", "dead1", false)
		f.expect(resolver, " dead1 dead2 dead3 i0 held 3")
		f.put("dead2")
		f.expect(resolver, " dead1 dead2 dead3 i0 held 2")
		for range 3 {
			resolver.Report("orders", "i0", false)
			resolver.Report("orders", "nobody", false)
		}
		f.expect(resolver, " dead1 dead2 dead3 i0 held 2")
		time.Sleep(time.Hour + time.Minute) // dead2 dies again meanwhile
		f.expect(resolver, " i0")
	})
}

// put registers an instance of a process that dies at once.
func (f *fixture) put(id string) {
	f.Helper()
	lease, err := f.store.Lease(f.Context(), 15*time.Second)
	if err != nil {
		f.Fatal(err)
	}
	text := []byte(`{"addresses":{"grpc":"10.1.1.1:1"},"weight":1,"state":"up"}`)
	if _, err := f.store.Put(f.Context(), "orders/"+id, text, kv.WithLease(lease)); err != nil {
		f.Fatal(err)
	}
}

// TestForeignRecords writes foreign records that cannot be decoded. They affect no other record, and a known instance stays.
func TestForeignRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		resolver := f.resolver()
		f.register(f.registrar(), 0)
		f.put("other")
		f.expect(resolver, " i0 other")
		for key, text := range map[string]string{
			"orders/other": "not JSON", "orders/list": `[1]`, "orders/a/b": `{}`, "orders/none": `{"state":"up"}`, "orders/odd": `{"state":"ill","addresses":{"a":"b:1"}}`,
			"orders/portless": `{"state":"up","addresses":{"a":"b"}}`, "orders/light": `{"state":"up","weight":-1,"addresses":{"a":"b:1"}}`,
		} {
			if _, err := f.store.Put(t.Context(), key, []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		f.expect(resolver, " i0 other")
		if got := len(resolver.Status()[0].Invalid); got != 7 {
			t.Errorf("%d invalid records, want 7: %v", got, resolver.Status()[0].Invalid)
		}
	})
}

// TestForeignRecordsRemoved removes a record that cannot be decoded while the registry is away: it is no longer listed.
func TestForeignRecordsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.register(f.registrar(), 0)
		for _, key := range []string{"orders/one", "orders/two"} {
			if _, err := f.store.Put(t.Context(), key, []byte("?")); err != nil {
				t.Fatal(err)
			}
		}
		cable := newCable(f.registry())
		resolver, err := discovery.NewResolver(cable, &discovery.ResolverOptions{Telemetry: telemetry.Off()})
		if err != nil {
			t.Fatal(err)
		}
		defer resolver.Close()
		f.expect(resolver, " i0")
		cable.unplug()
		synctest.Wait()
		if err := f.store.Delete(t.Context(), "orders/one"); err != nil {
			t.Fatal(err)
		}
		cable.plug()
		time.Sleep(10 * time.Second)
		f.expect(resolver, " i0")
		if got := resolver.Status()[0].Invalid; len(got) != 1 || got["two"] == nil {
			t.Errorf("invalid records %v, want two", got)
		}
	})
}

// TestAlteredRecord alters and deletes a record of a live process from outside.
func TestAlteredRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		g := f.register(f.registrar(), 0)
		before, err := f.store.Get(t.Context(), "orders/i0")
		if err != nil {
			t.Fatal(err)
		}
		for _, alter := range []func() error{
			func() error { return f.store.Delete(t.Context(), "orders/i0") },
			func() error { _, err := f.store.Put(t.Context(), "orders/i0", []byte("?")); return err },
		} {
			if err := alter(); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			after, err := f.store.Get(t.Context(), "orders/i0")
			if err != nil || string(after.Value) != string(before.Value) {
				t.Errorf("%s, error %v, want %s", after.Value, err, before.Value)
			}
			if err := g.Check(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestWatch follows a service.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		resolver, registrar := f.resolver(), f.registrar()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		changes := make(chan string, 10)
		go func() {
			defer close(changes)
			for c, err := range resolver.Watch(ctx, "orders") {
				changes <- fmt.Sprint(names(c.Added), names(c.Removed), names(c.Updated), err)
			}
		}()
		first := f.register(registrar, 0)
		f.expectChange(changes, "[i0] [] [] <nil>")
		second := f.register(registrar, 1)
		f.expectChange(changes, "[i1] [] [] <nil>")
		if err := second.Update(t.Context(), func(i *discovery.Instance) { i.Weight = 7 }); err != nil {
			t.Fatal(err)
		}
		f.expectChange(changes, "[] [] [i1] <nil>")
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		f.expectChange(changes, "[] [i0] [] <nil>")
		cancel()
		if got, more := <-changes; more {
			t.Errorf("%s after the end of the context", got)
		}
	})
}

func (f *fixture) expectChange(changes <-chan string, want string) {
	f.Helper()
	synctest.Wait()
	select {
	case got := <-changes:
		if got != want {
			f.Errorf("change %s, want %s", got, want)
		}
	default:
		f.Errorf("no change, want %s", want)
	}
}

func names(all []discovery.Instance) (ids []string) {
	for _, i := range all {
		ids = append(ids, i.ID)
	}
	return ids
}

func TestView(t *testing.T) {
	instances := []discovery.Instance{instance(0), instance(1), instance(2), instance(3)}
	instances[0].Zone, instances[1].Zone = "a", "a"
	instances[1].State = discovery.Unhealthy
	instances[2].Labels = map[string]string{"canary": ""}
	instances[3].State, instances[3].Version = discovery.Draining, "2"
	registry, err := discovery.Static(instances...)
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := discovery.NewResolver(registry, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resolver.Close()
	for name, c := range map[string]struct {
		filters []discovery.Filter
		want    string
	}{
		"all":             {nil, "[i0 i1 i2 i3]"},
		"available":       {[]discovery.Filter{discovery.Available}, "[i0 i2]"},
		"zone":            {[]discovery.Filter{discovery.InZone("a")}, "[i0 i1]"},
		"available, zone": {[]discovery.Filter{discovery.Available, discovery.InZone("a")}, "[i0]"},
		"label":           {[]discovery.Filter{discovery.WithLabel("canary", "")}, "[i2]"},
		"version":         {[]discovery.Filter{discovery.WithVersion("2")}, "[i3]"},
		"none":            {[]discovery.Filter{discovery.InZone("c")}, "[]"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := resolver.View(t.Context(), "orders", c.filters...)
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(names(v.Snapshot().Instances)); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			if first, second := v.Snapshot(), v.Snapshot(); first != second {
				t.Error("the filters run for each reading")
			}
		})
	}
}

// TestViewBeforeTheService makes a view of an unregistered service.
func TestViewBeforeTheService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		view, err := f.resolver().View(t.Context(), "orders", discovery.Available)
		if err != nil {
			t.Fatal(err)
		}
		if s := view.Snapshot(); s.Service != "orders" || len(s.Instances) != 0 {
			t.Errorf("snapshot %+v, want an empty one", s)
		}
		f.register(f.registrar(), 0)
		synctest.Wait()
		if got := fmt.Sprint(names(view.Snapshot().Instances)); got != "[i0]" {
			t.Errorf("instances %s, want [i0]", got)
		}
	})
}

// TestWeights: an instance that is registered without a weight takes requests, and Update can set zero.
func TestWeights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		unweighted := instance(0)
		unweighted.Weight = 0
		g, err := f.registrar().Register(t.Context(), unweighted)
		if err != nil {
			t.Fatal(err)
		}
		if got := g.Instance().Weight; got != discovery.DefaultWeight {
			t.Errorf("weight %d, want DefaultWeight", got)
		}
		view, err := f.resolver().View(t.Context(), "orders", discovery.Available)
		if err != nil || len(view.Snapshot().Instances) != 1 {
			t.Fatalf("available %v, error %v", view, err)
		}
		if err := g.Update(t.Context(), func(i *discovery.Instance) { i.Weight = 0 }); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := names(view.Snapshot().Instances); len(got) != 0 {
			t.Errorf("available with a weight of zero: %v", got)
		}
		if err := g.Update(t.Context(), func(i *discovery.Instance) { i.ID = "other" }); !errors.Is(err, discovery.ErrInvalid) {
			t.Errorf("Update of the ID: %v, want ErrInvalid", err)
		}
	})
}

// TestWatchHolds: a watch shows that an instance is held, and that it no longer is.
func TestWatchHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		resolver := f.resolver()
		f.put("only")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		changes := make(chan string, 10)
		go func() {
			for c := range resolver.Watch(ctx, "orders") {
				changes <- fmt.Sprint(names(c.Added), names(c.Updated), c.Snapshot.Held, c.Snapshot.IsHeld(0))
			}
		}()
		f.expectChange(changes, "[only] [] 0 false")
		time.Sleep(time.Minute)
		f.expectChange(changes, "[] [only] 1 true")
		f.put("only")
		f.expectChange(changes, "[] [only] 0 false")
	})
}

func TestStaticMistakes(t *testing.T) {
	twice, none := instance(0), instance(1)
	none.Addresses = nil
	for name, all := range map[string][]discovery.Instance{"twice": {twice, twice}, "no address": {none}} {
		t.Run(name, func(t *testing.T) {
			if _, err := discovery.Static(all...); !errors.Is(err, discovery.ErrInvalid) {
				t.Errorf("%v, want ErrInvalid", err)
			}
		})
	}
}

// TestAgeOfAnotherReader forwards another reader's loss of a minute.
func TestAgeOfAnotherReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := discovery.NewResolver(agedReader{}, &discovery.ResolverOptions{Telemetry: telemetry.Off()})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Close() }()
		s, err := r.Lookup(t.Context(), "orders")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		time.Sleep(time.Second)
		if age := s.Age(); age != time.Minute+time.Second {
			t.Errorf("age %v, want 1m1s", age)
		}
	})
}

// agedReader has one instance, and reports that it lost the registry a minute ago.
type agedReader struct{ driver.Reader }

func (agedReader) System() string { return "aged" }
func (agedReader) Close() error   { return nil }
func (agedReader) Watch(ctx context.Context, _ string, emit func(driver.Event) error) error {
	for _, e := range []driver.Event{
		{Kind: driver.EventResync}, {Kind: driver.EventPut, Record: driver.Record{Instance: instance(0)}}, {Kind: driver.EventSynced},
		{Kind: driver.EventLost, Err: driver.ErrUnavailable}, {Kind: driver.EventLost, Err: driver.ErrUnavailable, Age: time.Minute},
	} {
		if err := emit(e); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return nil
}
