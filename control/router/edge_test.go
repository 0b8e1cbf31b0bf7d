package router_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/telemetry"
)

// registry is a registry of "orders" whose records a test changes.
type registry struct {
	mu      sync.Mutex
	records []driver.Record
	changed chan struct{} // closed with the next change; nil: the registry never answers
}

func newRegistry() *registry { return &registry{changed: make(chan struct{})} }

// set replaces the records.
func (r *registry) set(records ...driver.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records = records
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *registry) System() string { return "test" }
func (r *registry) Close() error   { return nil }

func (r *registry) Watch(ctx context.Context, _ string, emit func(driver.Event) error) error {
	for {
		r.mu.Lock()
		records, changed := r.records, r.changed
		r.mu.Unlock()
		if changed != nil {
			events := []driver.Event{{Kind: driver.EventResync}}
			for _, record := range records {
				events = append(events, driver.Event{Kind: driver.EventPut, Record: record})
			}
			for _, e := range append(events, driver.Event{Kind: driver.EventSynced}) {
				if err := emit(e); err != nil {
					return err
				}
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// record returns the record of an instance of "orders". An epoch is a start of its process.
func record(id string, epoch uint64, change ...func(*driver.Record)) driver.Record {
	r := driver.Record{Instance: orders(id, "10.0.0."+fmt.Sprint(id[0]-'a'+1)+":80"), Incarnation: fmt.Sprint(epoch), Epoch: epoch}
	r.Weight = 100
	for _, c := range change {
		c(&r)
	}
	return r
}

func gone(r *driver.Record)       { r.State = driver.Gone }
func weightless(r *driver.Record) { r.Weight = 0 }
func draining(r *driver.Record)   { r.State = driver.Draining }
func unhealthy(r *driver.Record)  { r.State = driver.Unhealthy }

// follow returns "orders" on a registry. Inside of a bubble, end the test by closing what it returns.
func follow(t *testing.T, r *registry, opts *router.Options) *router.Service {
	t.Helper()
	resolver, err := discovery.NewResolver(r, &discovery.ResolverOptions{Telemetry: telemetry.Off()})
	if err != nil {
		t.Fatal(err)
	}
	routes, err := router.New(resolver, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = routes.Close(), resolver.Close() })
	return routes.Service("orders", "http")
}

// share returns the share of n requests that go to an endpoint. A request takes a millisecond.
func share(t *testing.T, s *router.Service, n int, id string) float64 {
	t.Helper()
	hits := 0
	for range n {
		p, err := s.Pick(t.Context(), router.Request{})
		if err != nil {
			t.Fatal(err)
		}
		if p.Endpoint().ID() == id {
			hits++
		}
		time.Sleep(time.Millisecond)
		p.Done(router.Outcome{})
	}
	return float64(hits) / float64(n)
}

// TestNoEndpoints names the service and the reason.
func TestNoEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		s := follow(t, r, nil)
		if _, err := s.Pick(t.Context(), router.Request{}); !errors.Is(err, router.ErrNotFound) || !strings.Contains(err.Error(), `"orders"`) {
			t.Errorf("an empty service: %v, want ErrNotFound that names it", err)
		}
		r.set(record("a", 1))
		synctest.Wait()
		if p, err := s.Pick(t.Context(), router.Request{}); err != nil {
			t.Errorf("after the first registration: %v", err)
		} else {
			p.Done(router.Outcome{})
		}
		if p, err := s.Pick(t.Context(), router.Request{}, s.Endpoint("a", "10.0.0.1:80")); !errors.Is(err, router.ErrUnavailable) {
			t.Errorf("all tried: %v, %v, want ErrUnavailable", p.Endpoint(), err)
		}
	})
}

// TestSilentRegistry waits for the stated time, and no longer than the context.
func TestSilentRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := follow(t, &registry{}, &router.Options{Wait: 3 * time.Second})
		began := time.Now()
		if _, err := s.Pick(t.Context(), router.Request{}); !errors.Is(err, router.ErrUnavailable) || time.Since(began) != 3*time.Second {
			t.Errorf("pick: %v after %v, want ErrUnavailable after 3 s", err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		if _, err := s.Pick(ctx, router.Request{}); err == nil || time.Since(began) != time.Second {
			t.Errorf("pick: %v after %v, want an error after 1 s", err, time.Since(began))
		}
	})
}

// TestStates chooses among the best instances that there are.
func TestStates(t *testing.T) {
	tests := []struct {
		name    string
		records []driver.Record
		want    string // the IDs that may get requests
	}{
		{"draining", []driver.Record{record("a", 1), record("b", 1, draining)}, "a"},
		{"all drain", []driver.Record{record("a", 1, draining), record("b", 1, draining)}, "ab"},
		{"weight zero", []driver.Record{record("a", 1), record("b", 1, weightless)}, "a"},
		{"all have weight zero", []driver.Record{record("a", 1, weightless), record("b", 1, weightless)}, "ab"},
		{"unhealthy", []driver.Record{record("a", 1), record("b", 1), record("c", 1, unhealthy)}, "ab"},
		{"most are unhealthy", []driver.Record{record("a", 1), record("b", 1, unhealthy), record("c", 1, unhealthy)}, "abc"},
		{"all are unhealthy", []driver.Record{record("a", 1, unhealthy)}, "a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRegistry()
				r.set(tt.records...)
				s := follow(t, r, &router.Options{Policies: map[string]router.Policy{"*": {Balance: router.Balance{Algorithm: router.Weighted}}}})
				got := map[string]bool{}
				for range 100 {
					p, err := s.Pick(t.Context(), router.Request{})
					if err != nil {
						t.Fatal(err)
					}
					got[p.Endpoint().ID()] = true
					p.Done(router.Outcome{})
				}
				for _, record := range tt.records {
					if want := strings.Contains(tt.want, record.ID); got[record.ID] != want {
						t.Errorf("requests at %v, want them at %q", got, tt.want)
					}
				}
			})
		})
	}
}

// TestFlapping keeps what was learnt about endpoints that come and go each second, and forgets a former process.
func TestFlapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		r.set(record("a", 1), record("b", 1), record("c", 1))
		s := follow(t, r, nil)
		slow := func(n int) {
			for range n {
				p, err := s.Pick(t.Context(), router.Request{})
				if err != nil {
					t.Fatal(err)
				}
				if p.Endpoint().ID() == "a" {
					time.Sleep(time.Second)
				}
				p.Done(router.Outcome{})
			}
		}
		slow(50)
		before := s.Endpoint("a", "10.0.0.1:80")
		if before == nil || s.Status().Endpoints[0].Latency < 100*time.Millisecond {
			t.Fatalf("the slow endpoint was not learnt: %+v", s.Status().Endpoints)
		}
		for range 10 {
			r.set(record("a", 1, gone), record("b", 1), record("c", 1))
			time.Sleep(time.Second)
			slow(1)
			r.set(record("a", 1), record("b", 1), record("c", 1))
			time.Sleep(time.Second)
			slow(1)
		}
		if got := s.Endpoint("a", "10.0.0.1:80"); got != before {
			t.Error("an endpoint that returns is another one")
		} else if latency := s.Status().Endpoints[0].Latency; latency == 0 {
			t.Error("what was learnt is lost")
		}
		r.set(record("a", 2), record("b", 1), record("c", 1))
		synctest.Wait()
		if got := s.Endpoint("a", "10.0.0.1:80"); got == nil || got == before {
			t.Error("a restarted process is the same endpoint")
		} else if latency := s.Status().Endpoints[0].Latency; latency != 0 {
			t.Errorf("a restarted process has a latency of %v", latency)
		}
	})
}

// TestSameAddress treats two instances at one address as two endpoints.
func TestSameAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		at := func(record *driver.Record) { record.Addresses = map[string]string{"http": "10.0.0.9:80"} }
		r.set(record("a", 1, at), record("b", 1, at))
		s := follow(t, r, nil)
		if got := share(t, s, 1000, "a"); got < 0.3 || got > 0.7 {
			t.Errorf("%v of the requests name the first instance, want about half", got)
		}
		idle(t, s)
	})
}

// TestRefuse takes an endpoint out until its record changes, or for half a minute.
func TestRefuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		r.set(record("a", 1), record("b", 1))
		s := follow(t, r, nil)
		share(t, s, 10, "a")
		a, b := s.Endpoint("a", "10.0.0.1:80"), s.Endpoint("b", "10.0.0.2:80")
		if !a.Refuse() || a.Refuse() {
			t.Error("Refuse does not tell the first call from the second")
		}
		if got := share(t, s, 100, "a"); got != 0 {
			t.Errorf("%v of the requests go to an endpoint that refuses", got)
		}
		b.Refuse()
		if got := share(t, s, 100, "a"); got == 0 {
			t.Error("with all endpoints refusing, one gets nothing")
		}
		time.Sleep(31 * time.Second)
		if got := share(t, s, 100, "a"); got == 0 {
			t.Error("an endpoint refuses for longer than half a minute")
		}
		a.Refuse()
		r.set(record("a", 1, func(r *driver.Record) { r.Version = "2" }), record("b", 1))
		synctest.Wait()
		if got := share(t, s, 100, "a"); got == 0 {
			t.Error("an endpoint refuses although its record has changed")
		}
	})
}

// TestSilentEndpoint sends nearly nothing to an endpoint that accepts requests and never answers.
func TestSilentEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service(t, router.Policy{}, 20)
		var late, silent int
		began := time.Now()
		for time.Since(began) < 5*time.Second {
			p, err := s.Pick(t.Context(), router.Request{})
			if err != nil {
				t.Fatal(err)
			}
			if time.Since(began) > 2*time.Second {
				late++
				if p.Endpoint().ID() == "c" {
					silent++
				}
			}
			if p.Endpoint().ID() != "c" {
				go func() {
					time.Sleep(10 * time.Millisecond)
					p.Done(router.Outcome{})
				}()
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		if float64(silent) > 0.005*float64(late) {
			t.Errorf("%d of %d requests to the silent endpoint after 2 s, want 0.5 %% at most", silent, late)
		}
	})
}

// TestFastFailures sends few requests to endpoints that fail at once, as long as nothing ejects them.
func TestFastFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service(t, router.Policy{Ejection: router.Ejection{Off: true}}, 20)
		failed := 0
		const requests = 5000
		for range requests {
			p, err := s.Pick(t.Context(), router.Request{})
			if err != nil {
				t.Fatal(err)
			}
			if id := p.Endpoint().ID(); id == "c" || id == "d" {
				failed++
				p.Done(router.Outcome{Kind: router.Fault})
				continue
			}
			go func() {
				time.Sleep(10 * time.Millisecond)
				p.Done(router.Outcome{})
			}()
			time.Sleep(time.Millisecond)
		}
		if round := requests / 10; failed > round*15/100 {
			t.Errorf("%d of %d requests failed: want at most 15 %% of the %d of a round robin", failed, requests, round)
		}
		time.Sleep(time.Second)
		idle(t, s)
	})
}

// TestMixedOutcomes leaves nothing in flight, whatever the outcomes, and however often Done is called.
func TestMixedOutcomes(t *testing.T) {
	s := service(t, router.Policy{
		Breaker: router.Breaker{Ratio: 0.9}, EndpointBreaker: router.Breaker{Ratio: 0.9}, Throttle: router.Throttle{K: 2},
		Limits: router.Limits{Concurrent: 1000, EndpointConcurrent: 100},
	}, 10)
	total := 1_000_000
	if raceEnabled || testing.Short() {
		total = 40_000
	}
	var work sync.WaitGroup
	for range 8 {
		work.Go(func() {
			for range total / 8 {
				p, err := s.Pick(context.Background(), router.Request{Stream: rand.N(10) == 0})
				if err != nil {
					continue
				}
				if rand.N(2) == 0 {
					p.Answered()
				}
				kind := router.Success
				if rand.N(3) == 0 {
					kind = router.Kind(rand.N(8))
				}
				p.Done(router.Outcome{Kind: kind})
				if rand.N(4) == 0 {
					p.Done(router.Outcome{Kind: router.Fault})
				}
			}
		})
	}
	work.Wait()
	idle(t, s)
}

// TestClose ends the picks, not the requests in flight.
func TestClose(t *testing.T) {
	r := newRouter(t, nil, orders("a", "10.0.0.1:80"))
	s := r.Service("orders", "http")
	p, err := s.Pick(context.Background(), router.Request{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Close(), r.Close()); err != nil {
		t.Error(err)
	}
	if _, err := s.Pick(context.Background(), router.Request{}); !errors.Is(err, router.ErrClosed) {
		t.Errorf("pick: %v, want ErrClosed", err)
	}
	p.Done(router.Outcome{})
	idle(t, s)
}

// TestPanic uses ejected endpoints while too few are healthy, and says so.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service(t, router.Policy{Ejection: router.Ejection{MaxShare: 1}}, 4)
		share(t, s, 10, "a")
		for _, id := range []string{"a", "b", "c", "d"} {
			for range 20 {
				s.Endpoint(id, fmt.Sprintf("10.0.0.%d:80", id[0]-'a'+1)).Connected(errors.New("refused"))
			}
		}
		if _, err := s.Pick(t.Context(), router.Request{}); err != nil {
			t.Fatal(err)
		}
		status := s.Status()
		ejected := 0
		for _, e := range status.Endpoints {
			if e.State == "ejected" {
				ejected++
			}
		}
		if ejected != 3 || !status.Panic {
			t.Errorf("%d of 4 ejected, panic %v: want all but one, and panic", ejected, status.Panic)
		}
	})
}
