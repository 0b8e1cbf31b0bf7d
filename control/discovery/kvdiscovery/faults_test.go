package kvdiscovery_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/discovery/kvdiscovery"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/telemetry"
)

// instances is how many servers the service "orders" has.
const instances = 5

// arena is a registry that faults are injected into, while a client of each contestant sends requests to the same servers.
type arena struct {
	*testing.T
	ttl         time.Duration
	servers     []string // addresses
	contestants []contestant
	answers     func(context.Context) error // nil once the registry answers
}

// contestant is a way to find the servers.
type contestant interface {
	name() string
	// start registers the servers again, unless their registration never gives up.
	start()
	// lookup returns the present addresses.
	lookup() []string
	// report reports whether a request to an address has succeeded.
	report(address string, ok bool)
	// registered counts the servers in the registry.
	registered(context.Context) (int, error)
	// must reports whether a failure of the contestant fails the test.
	must() bool
}

// fault is something that happens to a registry.
type fault struct {
	name string
	long bool // takes long
	// inject starts the fault. The registry is expected to answer again after mend.
	inject, mend func()
	// lasts is how long the fault lasts, in TTLs.
	lasts int
}

func newArena(t *testing.T, ttl time.Duration) *arena {
	a := &arena{T: t, ttl: ttl}
	for range instances {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
		t.Cleanup(server.Close)
		a.servers = append(a.servers, server.Listener.Addr().String())
	}
	return a
}

// run injects the faults one after the other and prints their cost.
func (a *arena) run(faults []fault) {
	a.Helper()
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "fault\tby\trequests\tretries\tfailed\twithout endpoints\tfewest endpoints\tregistered again after")
	for _, f := range faults {
		a.endure(w, f)
	}
	_ = w.Flush()
	a.Logf("%d servers, a TTL of %s:\n%s", instances, a.ttl, &table)
}

// endure injects one fault under traffic.
func (a *arena) endure(w io.Writer, f fault) {
	a.Helper()
	var all []*traffic
	for _, c := range a.contestants {
		c.start()
		testenv.Eventually(a, 4*a.ttl, c.name()+" finds all servers before: "+f.name, func() error {
			if n := len(c.lookup()); n != instances {
				return fmt.Errorf("it finds %d", n)
			}
			return nil
		})
		all = append(all, send(a.Context(), c))
	}
	f.inject()
	wait(a.Context(), time.Duration(f.lasts)*a.ttl)
	if f.mend != nil {
		f.mend()
	}
	testenv.Eventually(a, 30*time.Second, "the registry answers after: "+f.name, func() error {
		ctx, cancel := context.WithTimeout(a.Context(), time.Second)
		defer cancel()
		return a.answers(ctx)
	})
	back := a.registeredAgain()
	for i, c := range a.contestants {
		r := all[i].stop()
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%v\t%d\t%v\n", f.name, c.name(), r.requests, r.retries, r.failed, r.without.Round(time.Millisecond), r.fewest, back[i])
		if !c.must() {
			continue
		}
		if r.failed > 0 || r.fewest < instances-1 || r.requests == 0 {
			a.Errorf("%s: %d of %d requests failed, the client had %d endpoints at least: want no failure, and no fewer than %d", f.name, r.failed, r.requests, r.fewest, instances-1)
		}
		if back[i].missing > 0 || back[i].after > a.ttl {
			a.Errorf("%s: registered again after %v: want all within %s", f.name, back[i], a.ttl)
		}
	}
}

// returned is the time when the last server was in the registry again.
type returned struct {
	after   time.Duration
	missing int
}

// String implements fmt.Stringer.
func (r returned) String() string {
	if r.missing > 0 {
		return fmt.Sprintf("never: %d of %d missing", r.missing, instances)
	}
	return r.after.Round(10 * time.Millisecond).String()
}

// registeredAgain watches the registry for one and a half TTLs: leases of the time before the fault end meanwhile.
func (a *arena) registeredAgain() []returned {
	all := make([]returned, len(a.contestants))
	for began := time.Now(); time.Since(began) < a.ttl*3/2 && a.Context().Err() == nil; wait(a.Context(), 50*time.Millisecond) {
		for i, c := range a.contestants {
			n, err := c.registered(a.Context())
			if all[i].missing = instances - n; err != nil {
				all[i].missing = instances
			}
			if all[i].missing > 0 {
				all[i].after = time.Since(began)
			}
		}
	}
	return all
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// result holds the observations of a client.
type result struct {
	requests, retries, failed int
	fewest                    int           // endpoints
	without                   time.Duration // without any endpoint
}

// traffic is a client that sends one request after the other.
type traffic struct {
	contestant contestant
	client     http.Client
	end        context.CancelFunc
	work       sync.WaitGroup
	result     result
}

func send(ctx context.Context, c contestant) *traffic {
	ctx, cancel := context.WithCancel(ctx)
	r := &traffic{contestant: c, end: cancel, result: result{fewest: instances}}
	r.client = http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 2}}
	r.work.Go(func() {
		defer r.client.CloseIdleConnections()
		for ; ctx.Err() == nil; wait(ctx, 2*time.Millisecond) {
			r.request(ctx)
		}
	})
	return r
}

// stop ends the client.
func (r *traffic) stop() result {
	r.end()
	r.work.Wait()
	return r.result
}

// request sends a request to one server, and to the others if that fails.
func (r *traffic) request(ctx context.Context) {
	began, addresses := time.Now(), r.contestant.lookup()
	r.result.requests++
	r.result.fewest = min(r.result.fewest, len(addresses))
	for n, i := range rand.Perm(len(addresses)) {
		if n > 0 {
			r.result.retries++
		}
		err := r.get(ctx, addresses[i])
		if ctx.Err() != nil {
			return
		}
		if r.contestant.report(addresses[i], err == nil); err == nil {
			return
		}
	}
	r.result.failed++
	if len(addresses) == 0 {
		wait(ctx, 10*time.Millisecond)
		r.result.without += time.Since(began)
	}
}

func (r *traffic) get(ctx context.Context, address string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address, nil)
	if err != nil {
		return err
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// ours is package discovery on a kv.Store. Each server has its own process, and so does the client.
type ours struct {
	arena    *arena
	open     func() *kv.Store // makes a client of its own
	count    func(context.Context) (int, error)
	began    bool
	servers  []*discovery.Registration
	resolver *discovery.Resolver

	mu  sync.Mutex
	ids map[string]string // by address
}

func (*ours) name() string { return "go-os" }
func (*ours) must() bool   { return true }

// start registers the servers once: the same registrations have to survive all faults.
func (o *ours) start() {
	if o.began {
		return
	}
	o.began, o.ids = true, map[string]string{}
	for n, address := range o.arena.servers {
		o.servers = append(o.servers, o.register(fmt.Sprint("i", n), address))
	}
	resolver, err := discovery.NewResolver(o.registry(), &discovery.ResolverOptions{HoldWindow: o.arena.ttl, Telemetry: telemetry.Off()})
	if err != nil {
		o.arena.Fatal(err)
	}
	o.arena.Cleanup(func() {
		if err := resolver.Close(); err != nil {
			o.arena.Error(err)
		}
	})
	o.resolver = resolver
}

func (o *ours) registry() *kvdiscovery.Registry {
	store := o.open()
	o.arena.Cleanup(func() { _ = store.Close() })
	r, err := kvdiscovery.New(store, nil)
	if err != nil {
		o.arena.Fatal(err)
	}
	return r
}

func (o *ours) register(id, address string) *discovery.Registration {
	registrar, err := discovery.NewRegistrar(o.registry(), &discovery.RegistrarOptions{TTL: o.arena.ttl, Telemetry: telemetry.Off()})
	if err != nil {
		o.arena.Fatal(err)
	}
	o.arena.Cleanup(func() {
		if err := registrar.Close(); err != nil {
			o.arena.Error(err)
		}
	})
	g, err := registrar.Register(o.arena.Context(), discovery.Instance{
		Service: "orders", ID: id, Weight: 1, Addresses: map[string]string{"http": address},
	})
	if err != nil {
		o.arena.Fatal(err)
	}
	return g
}

func (o *ours) lookup() (all []string) {
	s, err := o.resolver.Lookup(o.arena.Context(), "orders")
	if err != nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, i := range s.Instances {
		all = append(all, i.Addresses["http"])
		o.ids[i.Addresses["http"]] = i.ID
	}
	return all
}

func (o *ours) report(address string, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.resolver.Report("orders", o.ids[address], ok)
}

// registered counts the registrations that the registry has and that report it.
func (o *ours) registered(ctx context.Context) (int, error) {
	n, err := o.count(ctx)
	sure := 0
	for _, g := range o.servers {
		if g.Check(ctx) == nil {
			sure++
		}
	}
	return min(n, sure), err
}

// countKeys counts the keys of a prefix.
func countKeys(s *kv.Store, prefix string) func(context.Context) (int, error) {
	return func(ctx context.Context) (n int, err error) {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		for _, e := range s.List(ctx, prefix) {
			n, err = n+1, errors.Join(err, e)
		}
		return n, err
	}
}
