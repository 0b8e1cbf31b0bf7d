package discovery_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/telemetry"
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

// TestCloseDuringFirstRegister closes a registration whose first request was carried out and not answered. The instance must not stay.
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

// TestCloseDuringOutage closes one registration of two while the registry is silent for a moment. The lease of the process lives on, and the
// instance must not.
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

// scripted is a reader whose events the test writes.
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

// TestGoodbyeAfterVanish removes an instance, has it say goodbye, and removes so many that they are held: not the one that said goodbye.
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
			s.events <- driver.Event{Kind: driver.EventPut, Record: recordOf(0, driver.Gone)} // it came back and said goodbye
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

// TestHugeEpoch: a record that no start could come after is malformed, and does not shut the ID out.
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

// TestUpdateAfterRefusal mends a record that the registry has refused.
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

// TestCheckAfterRefusedUpdate has the registry refuse an update: the record before is still registered.
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

// TestCostOfManyRemovals removes 10,000 instances one by one and at once. The costs must grow with their number, not with its square: that
// took minutes.
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
