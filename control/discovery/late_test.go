package discovery_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/control/discovery/kvdiscovery"
	"github.com/go-os/go-os/telemetry"
	"github.com/go-os/go-os/telemetry/telemetrytest"
)

// lossyRegistrar loses answers to Register, or requests to deregister.
type lossyRegistrar struct {
	driver.Registrar
	loseAnswers bool
	loseGoodbye func() bool // nil means never
}

func (s *lossyRegistrar) Grant(ctx context.Context, ttl time.Duration) (driver.Lease, error) {
	l, err := s.Registrar.Grant(ctx, ttl)
	if err != nil {
		return nil, err
	}
	return &lossyLease{l, s}, nil
}

type lossyLease struct {
	driver.Lease
	s *lossyRegistrar
}

func (l *lossyLease) Register(ctx context.Context, r driver.Record) error {
	err := l.Lease.Register(ctx, r)
	if l.s.loseAnswers {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (l *lossyLease) Deregister(ctx context.Context, r driver.Record, keep time.Duration) error {
	if l.s.loseGoodbye != nil && l.s.loseGoodbye() {
		<-ctx.Done()
		return ctx.Err()
	}
	return l.Lease.Deregister(ctx, r, keep)
}

// TestCloseDuringFirstRegister closes a registration after its first request succeeded without an answer. The instance must not stay.
func TestCloseDuringFirstRegister(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		r, err := discovery.NewRegistrar(&lossyRegistrar{Registrar: f.registry(), loseAnswers: true}, &discovery.RegistrarOptions{Telemetry: telemetry.Off()})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		resolver := f.resolver()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		g, err := r.Register(ctx, instance(0))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := g.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		time.Sleep(time.Minute)
		f.expect(resolver, "")
	})
}

// TestCloseDuringOutage closes one registration of two while the registry is silent for a moment. The lease of the process continues, but
// the instance must not.
func TestCloseDuringOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		var silent atomic.Bool
		r, err := discovery.NewRegistrar(&lossyRegistrar{Registrar: f.registry(), loseGoodbye: func() bool { return silent.Load() }}, &discovery.RegistrarOptions{Telemetry: telemetry.Off()})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		resolver := f.resolver()
		g := f.register(r, 0)
		f.register(r, 1)
		silent.Store(true)
		if err := g.Close(); !errors.Is(err, discovery.ErrUnavailable) {
			t.Fatalf("Close during the outage: %v, want ErrUnavailable", err)
		}
		silent.Store(false)
		time.Sleep(10 * time.Minute)
		f.expect(resolver, " i1")
	})
}

// scripted is a reader with events from the test.
type scripted struct{ events chan driver.Event }

func (*scripted) System() string { return "scripted" }
func (*scripted) Close() error   { return nil }
func (s *scripted) Watch(ctx context.Context, _ string, emit func(driver.Event) error) error {
	for {
		select {
		case e := <-s.events:
			if err := emit(e); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func recordOf(n int, state driver.State) driver.Record {
	i := instance(n)
	i.State = state
	return driver.Record{Instance: i, Incarnation: fmt.Sprint("inc", n), Epoch: 1}
}

// TestGoodbyeAfterVanish removes an instance, emits its goodbye, and removes so many that they are held. The one with a goodbye is not
// held.
func TestGoodbyeAfterVanish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{make(chan driver.Event)}
		r, err := discovery.NewResolver(s, &discovery.ResolverOptions{Telemetry: telemetry.Off()})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		go func() {
			s.events <- driver.Event{Kind: driver.EventResync}
			for n := range 4 {
				s.events <- driver.Event{Kind: driver.EventPut, Record: recordOf(n, driver.Up)}
			}
			s.events <- driver.Event{Kind: driver.EventSynced}
			s.events <- driver.Event{Kind: driver.EventDelete, Record: recordOf(0, driver.Up)}
			s.events <- driver.Event{Kind: driver.EventPut, Record: recordOf(0, driver.Gone)} // it returned and deregistered
			s.events <- driver.Event{Kind: driver.EventDelete, Record: recordOf(1, driver.Up)}
		}()
		if _, err := r.Lookup(t.Context(), "orders"); err != nil {
			t.Fatal(err)
		}
		if got := ids(t, r); strings.Contains(got, "i0") {
			t.Errorf("instances%s: i0 has said goodbye", got)
		}
	})
}

// TestHugeEpoch: an epoch that no later start could exceed is malformed, and does not block the ID.
func TestHugeEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		value := fmt.Sprintf(`{"addresses":{"grpc":"10.0.0.9:1"},"weight":1,"state":"up","incarnation":"x","epoch":%d}`, uint64(math.MaxUint64))
		if _, err := f.store.Put(t.Context(), "orders/i0", []byte(value)); err != nil {
			t.Fatal(err)
		}
		r := f.registrar()
		g, err := r.Register(t.Context(), instance(0))
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Check(t.Context()); err != nil {
			t.Errorf("a process that starts later has to win: %v", err)
		}
	})
}

// pickyRegistrar refuses records with a label.
type pickyRegistrar struct{ driver.Registrar }
type pickyLease struct{ driver.Lease }

func (s *pickyRegistrar) Grant(ctx context.Context, ttl time.Duration) (driver.Lease, error) {
	l, err := s.Registrar.Grant(ctx, ttl)
	return &pickyLease{l}, err
}

func (l *pickyLease) Register(ctx context.Context, r driver.Record) error {
	if len(r.Labels) > 0 {
		return fmt.Errorf("%w: too large", driver.ErrTooLarge)
	}
	return l.Lease.Register(ctx, r)
}

// TestUpdateAfterRefusal corrects a record that the registry has refused.
func TestUpdateAfterRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		r, err := discovery.NewRegistrar(&pickyRegistrar{f.registry()}, &discovery.RegistrarOptions{Telemetry: telemetry.Off()})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		i := instance(0)
		i.Labels = map[string]string{"a": "b"}
		g, err := r.Register(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Check(t.Context()); !errors.Is(err, discovery.ErrTooLarge) {
			t.Fatal(err)
		}
		if err := g.Update(t.Context(), func(i *discovery.Instance) { i.Labels = nil }); err != nil {
			t.Errorf("Update that mends the record: %v", err)
		}
		synctest.Wait()
		if err := g.Check(t.Context()); err != nil {
			t.Errorf("Check after Update: %v", err)
		}
	})
}

// TestCheckAfterRefusedUpdate updates a record that the registry refuses: the previous record is still registered.
func TestCheckAfterRefusedUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		r, err := discovery.NewRegistrar(&pickyRegistrar{f.registry()}, &discovery.RegistrarOptions{Telemetry: telemetry.Off()})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		g := f.register(r, 0)
		err = g.Update(t.Context(), func(i *discovery.Instance) { i.Labels = map[string]string{"a": "b"} })
		if !errors.Is(err, discovery.ErrTooLarge) {
			t.Fatal(err)
		}
		if err := g.Check(t.Context()); err != nil {
			t.Errorf("Check, with the older record registered: %v", err)
		}
	})
}

// TestCostOfManyRemovals removes 10,000 instances one by one and at once. The cost must grow linearly with their number. With its square,
// it took minutes.
func TestCostOfManyRemovals(t *testing.T) {
	const n = 10_000
	s := &scripted{make(chan driver.Event)}
	r, err := discovery.NewResolver(s, &discovery.ResolverOptions{Telemetry: telemetry.Off()})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	go func() { _, _ = r.Lookup(t.Context(), "orders") }()
	began := time.Now()
	s.all(n)
	for n := range n {
		s.events <- driver.Event{Kind: driver.EventDelete, Record: recordOf(n, driver.Up)}
	}
	s.all(n)
	s.all(0)
	if held := len(r.Status()[0].Held); held != n {
		t.Errorf("%d held, want %d", held, n)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}

// all shows a snapshot of n instances, and waits until it was taken.
func (s *scripted) all(n int) {
	s.events <- driver.Event{Kind: driver.EventResync}
	for n := range n {
		s.events <- driver.Event{Kind: driver.EventPut, Record: recordOf(n, driver.Up)}
	}
	for range 2 {
		s.events <- driver.Event{Kind: driver.EventSynced}
	}
}

// TestGoodbyeOfAnEarlierRegistration loses a goodbye and registers the ID again. The goodbye is repeated, and must not touch the new record.
func TestGoodbyeOfAnEarlierRegistration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		var silent atomic.Bool
		r, err := discovery.NewRegistrar(&lossyRegistrar{Registrar: f.registry(), loseGoodbye: silent.Load}, &discovery.RegistrarOptions{Telemetry: telemetry.Off()})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		resolver := f.resolver()
		g := f.register(r, 0)
		f.expect(resolver, " i0")
		silent.Store(true)
		_ = g.Close()
		f.register(r, 0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		goodbyes := 0
		time.AfterFunc(time.Millisecond, func() { silent.Store(false) })
		for e := range f.store.Watch(ctx, "orders/i0") {
			if strings.Contains(string(e.Item.Value), `"gone"`) {
				goodbyes++
			}
		}
		if goodbyes > 0 {
			t.Errorf("its record was replaced by a goodbye %d times, although the new registration lives", goodbyes)
		}
	})
}

// deniedRegistrar refuses all writes of records while deny is set.
type deniedRegistrar struct {
	driver.Registrar
	deny     atomic.Bool
	goodbyes atomic.Int64
}

type deniedLease struct {
	driver.Lease
	r *deniedRegistrar
}

func (s *deniedRegistrar) Grant(ctx context.Context, ttl time.Duration) (driver.Lease, error) {
	l, err := s.Registrar.Grant(ctx, ttl)
	return &deniedLease{l, s}, err
}

func (l *deniedLease) Register(ctx context.Context, r driver.Record) error {
	if l.r.deny.Load() {
		return fmt.Errorf("%w: no", driver.ErrDenied)
	}
	return l.Lease.Register(ctx, r)
}

func (l *deniedLease) Deregister(ctx context.Context, r driver.Record, keep time.Duration) error {
	l.r.goodbyes.Add(1)
	if l.r.deny.Load() {
		return fmt.Errorf("%w: no", driver.ErrDenied)
	}
	return l.Lease.Deregister(ctx, r, keep)
}

// TestCheckOfARemovedRecord removes a record that cannot be rewritten: the instance is not registered.
func TestCheckOfARemovedRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		d := &deniedRegistrar{Registrar: f.registry()}
		r, err := discovery.NewRegistrar(d, &discovery.RegistrarOptions{Telemetry: telemetry.Off()})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		g := f.register(r, 0)
		d.deny.Store(true)
		if err := f.store.Delete(t.Context(), "orders/i0"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		if err := g.Check(t.Context()); err == nil {
			t.Error("Check returns nil, the record was removed 10 minutes ago and is refused since")
		}
	})
}

// TestRefusedGoodbye: a goodbye that the registry refuses is not repeated for ever.
func TestRefusedGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		d := &deniedRegistrar{Registrar: f.registry()}
		r, err := discovery.NewRegistrar(d, &discovery.RegistrarOptions{Telemetry: telemetry.Off()})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		g := f.register(r, 0)
		d.deny.Store(true)
		_ = g.Close()
		time.Sleep(time.Hour)
		if got := d.goodbyes.Load(); got > 20 {
			t.Errorf("a goodbye that the registry refuses was sent %d times in an hour", got)
		}
		d.deny.Store(false)
	})
}

// TestLargestEpoch: an epoch without a larger one for a later start is invalid, and its record is replaced.
func TestLargestEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		value := fmt.Sprintf(`{"addresses":{"grpc":"10.0.0.9:1"},"weight":1,"state":"up","incarnation":"x","epoch":%d}`, uint64(driver.MaxEpoch))
		if _, err := f.store.Put(t.Context(), "orders/i0", []byte(value)); err != nil {
			t.Fatal(err)
		}
		g, err := f.registrar().Register(t.Context(), instance(0))
		if err != nil {
			t.Fatal(err)
		}
		r := f.resolver()
		s, err := r.Lookup(t.Context(), "orders")
		synctest.Wait()
		if err != nil || len(s.Instances) != 1 || s.Instances[0].Addresses["grpc"] != "10.0.0.1:9000" {
			t.Errorf("Check %v, Lookup %+v, %v, status %+v", g.Check(t.Context()), s, err, r.Status())
		}
	})
}

// TestSlowHandlers: neither a slow log handler nor a foreign name does any harm.
func TestSlowHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{make(chan driver.Event)}
		lines := &slowHandler{}
		r, err := discovery.NewResolver(s, &discovery.ResolverOptions{Telemetry: telemetry.Providers{Logger: slog.New(lines)}})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		go s.all(1)
		if _, err := r.Lookup(t.Context(), "orders"); err != nil {
			t.Fatal(err)
		}
		for n := 1; n < 2000; n++ {
			s.events <- driver.Event{Kind: driver.EventPut, Record: recordOf(n, driver.Up)}
		}
		odd := recordOf(2000, driver.Up)
		odd.ID = "i\xff\n" + strings.Repeat("x", 1<<20)
		s.events <- driver.Event{Kind: driver.EventDelete, Record: recordOf(0, driver.Up)}
		s.events <- driver.Event{Kind: driver.EventPut, Record: odd}
		if took := time.Since(began); took > time.Second {
			t.Errorf("the watch took %v", took)
		}
		time.Sleep(10 * time.Minute)
		s.events <- driver.Event{Kind: driver.EventInvalid, Record: odd, Err: driver.ErrInvalid}
		time.Sleep(time.Minute)
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if got := lines.count.Load(); got < 1000 || got > 1100 {
			t.Errorf("%d lines, want those of about 1,000 events that may wait", got)
		}
		if longest := lines.longest.Load(); longest > 300 || lines.invalid.Load() {
			t.Errorf("a text of %d bytes in a line, not UTF-8: %v", longest, lines.invalid.Load())
		}
	})
}

// slowHandler takes 50 ms for a line.
type slowHandler struct {
	count, longest atomic.Int64
	invalid        atomic.Bool
}

func (*slowHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h *slowHandler) WithAttrs([]slog.Attr) slog.Handler     { return h }
func (h *slowHandler) WithGroup(string) slog.Handler          { return h }
func (h *slowHandler) Handle(_ context.Context, r slog.Record) error {
	time.Sleep(50 * time.Millisecond)
	h.count.Add(1)
	r.Attrs(func(a slog.Attr) bool {
		text := a.Value.String()
		h.longest.Store(max(h.longest.Load(), int64(len(text))))
		if !utf8.ValidString(text) {
			h.invalid.Store(true)
		}
		return true
	})
	return nil
}

// TestRegistryAwayAtStart starts a process without a reachable registry. The process reports the outage with its reason, and the later
// success.
func TestRegistryAwayAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		cable, recorded := newCable(f.registry()), telemetrytest.New()
		cable.unplug()
		registrar, err := discovery.NewRegistrar(cable, &discovery.RegistrarOptions{Telemetry: recorded.Providers})
		if err != nil {
			t.Fatal(err)
		}
		defer registrar.Close()
		if _, err := registrar.Register(t.Context(), instance(0)); err != nil {
			t.Fatal(err)
		}
		hung, err := discovery.NewResolver(silent{}, &discovery.ResolverOptions{Telemetry: recorded.Providers})
		if err != nil {
			t.Fatal(err)
		}
		defer hung.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = hung.Lookup(ctx, "orders")
		if !errors.Is(err, discovery.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "\n") {
			t.Errorf("Lookup: %q, want ErrUnavailable and the end of the context on one line", err)
		}
		if s := hung.Status()[0]; s.Err == nil || s.Age < time.Minute {
			t.Errorf("status %+v, want an error and its age", s)
		}
		cable.plug()
		time.Sleep(time.Minute)
		for name, want := range map[string]int{
			"goos.discovery.registration.failed": 1, "goos.discovery.registration.restored": 1, "goos.discovery.watch.lost": 1,
		} {
			if got := count(recorded.Events(), name); got != want {
				t.Errorf("%d events %s, want %d", got, name, want)
			}
		}
	})
}

// TestClosedStore: a store that was closed too early ends Lookups at once.
func TestClosedStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		resolver := f.resolver()
		if err := f.store.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := resolver.Lookup(t.Context(), "orders"); !errors.Is(err, discovery.ErrClosed) {
			t.Errorf("Lookup: %v, want ErrClosed", err)
		}
	})
}

// TestNil: a missing registry is an error, not a panic.
func TestNil(t *testing.T) {
	var none *kvdiscovery.Registry
	if _, err := discovery.NewRegistrar(none, nil); !errors.Is(err, discovery.ErrInvalid) {
		t.Errorf("NewRegistrar: %v, want ErrInvalid", err)
	}
	if _, err := discovery.NewResolver(none, nil); !errors.Is(err, discovery.ErrInvalid) {
		t.Errorf("NewResolver: %v, want ErrInvalid", err)
	}
}
