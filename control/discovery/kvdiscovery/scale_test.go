package kvdiscovery_test

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/discovery/kvdiscovery"
	"github.com/go-os/go-os/internal/tooling/suite"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/etcdkv"
	"github.com/go-os/go-os/telemetry"
)

const (
	scaleServices   = 100
	scaleInstances  = 10_000
	scaleTTL        = 30 * time.Second
	leasesPerClient = 1000
)

// scale is a large fleet in one etcd. Each instance has a Registrar of its own, and so a lease and a watch.
type scale struct {
	*testing.T
	engine *testenv.EtcdHandle
	stores []*kv.Store
	fleet  []*discovery.Registration
}

func newScale(t *testing.T) *scale {
	s := &scale{T: t, engine: testenv.Etcd(t)}
	for range scaleInstances / leasesPerClient {
		store := kv.New(etcdkv.New(connect(t, []string{s.engine.Endpoint()}), nil), &kv.Options{Telemetry: telemetry.Off()})
		t.Cleanup(func() { _ = store.Close() })
		s.stores = append(s.stores, store)
	}
	return s
}

func (s *scale) registry(n int) *kvdiscovery.Registry {
	r, err := kvdiscovery.New(s.stores[n/leasesPerClient].Namespace("services"), nil)
	if err != nil {
		s.Fatal(err)
	}
	return r
}

func (s *scale) resolver() *discovery.Resolver {
	r, err := discovery.NewResolver(s.registry(0), &discovery.ResolverOptions{Telemetry: telemetry.Off()})
	if err != nil {
		s.Fatal(err)
	}
	return r
}

func scaleService(n int) string { return fmt.Sprintf("service-%02d", n%scaleServices) }

// register brings all instances into the registry.
func (s *scale) register() {
	s.Helper()
	s.fleet = make([]*discovery.Registration, scaleInstances)
	var work errgroup.Group
	work.SetLimit(200)
	for n := range scaleInstances {
		registrar, err := discovery.NewRegistrar(s.registry(n), &discovery.RegistrarOptions{TTL: scaleTTL, Telemetry: telemetry.Off()})
		if err != nil {
			s.Fatal(err)
		}
		s.Cleanup(func() { go func() { _ = registrar.Close() }() })
		work.Go(func() (err error) {
			s.fleet[n], err = registrar.Register(s.Context(), discovery.Instance{
				Service: scaleService(n), ID: fmt.Sprintf("instance-%05d", n), Version: "1.2.3", Zone: "zone-a", Weight: 100,
				Addresses: map[string]string{"grpc": fmt.Sprintf("10.%d.%d.%d:9000", n>>16, n>>8&255, n&255)},
				Labels:    map[string]string{"track": "stable"},
			})
			return err
		})
	}
	if err := work.Wait(); err != nil {
		s.Fatal(err)
	}
	testenv.Eventually(s, 2*time.Minute, "all are registered", func() (err error) {
		for _, g := range s.fleet {
			err = errors.Join(err, g.Check(s.Context()))
		}
		return err
	})
}

// meter is the cost of the fleet at one moment.
type meter struct {
	at                   time.Time
	renewals             float64            // that have succeeded
	messages             map[string]float64 // that etcd has received, by method
	clientTime, etcdTime time.Duration
}

func (s *scale) meter() meter {
	s.Helper()
	m := meter{at: time.Now(), messages: map[string]float64{}, clientTime: s.processorTime(os.Getpid()), etcdTime: s.processorTime(s.engine.Pid())}
	resp, err := http.Get(s.engine.URL() + "/metrics")
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		switch {
		case name == "etcd_debugging_lease_renewed_total":
			m.renewals = s.number(value)
		case strings.HasPrefix(name, "grpc_server_msg_received_total{"):
			_, method, _ := strings.Cut(name, `grpc_method="`)
			method, _, _ = strings.Cut(method, `"`)
			m.messages[method] = s.number(value)
		}
	}
	if err := lines.Err(); err != nil {
		s.Fatal(err)
	}
	return m
}

func (s *scale) number(text string) float64 {
	s.Helper()
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		s.Fatal(err)
	}
	return n
}

// processorTime returns the time that a process has used, from /proc.
func (s *scale) processorTime(pid int) time.Duration {
	s.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		s.Skip(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var ticks int
	for _, field := range fields[11:13] { // utime, stime
		n, err := strconv.Atoi(field)
		if err != nil {
			s.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// idle measures a fleet at rest.
func (s *scale) idle(d time.Duration) {
	wait(s.Context(), scaleTTL/2) // until each has read its own record
	before := s.meter()
	wait(s.Context(), d)
	after := s.meter()
	seconds := after.at.Sub(before.at).Seconds()
	renewals, predicted := (after.renewals-before.renewals)/seconds, 3*scaleInstances/scaleTTL.Seconds()
	s.Logf("at rest: %.0f renewals/s (3N/TTL predicts %.0f); client %.2f cores, etcd %.2f cores; %d leases a connection", renewals, predicted,
		(after.clientTime-before.clientTime).Seconds()/seconds, (after.etcdTime-before.etcdTime).Seconds()/seconds, leasesPerClient)
	for method, n := range after.messages {
		if n -= before.messages[method]; n > 0 {
			s.Logf("at rest: %.1f messages/s of %s", n/seconds, method)
		}
	}
	if renewals > 1.1*predicted {
		s.Errorf("%.0f renewals a second: want %.0f at most", renewals, 1.1*predicted)
	}
}

// lookups measures a resolver of all services.
func (s *scale) lookups() {
	heap := testenv.Heap()
	resolver := s.resolver()
	defer resolver.Close()
	began := time.Now()
	var work errgroup.Group
	for n := range scaleServices {
		work.Go(func() error {
			_, err := resolver.Lookup(s.Context(), scaleService(n))
			return err
		})
	}
	if err := work.Wait(); err != nil {
		s.Fatal(err)
	}
	loaded := time.Since(began)
	size := max(testenv.Heap()-heap, 0)
	testenv.Eventually(s, time.Minute, "all are found", func() error {
		found := 0
		for _, status := range resolver.Status() {
			found += status.Instances
		}
		if found != scaleInstances {
			return fmt.Errorf("%d are", found)
		}
		return nil
	})
	lookup := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := resolver.Lookup(s.Context(), "service-42"); err != nil {
				b.Fatal(err)
			}
		}
	})
	s.Logf("a resolver of all: loaded in %v, %d bytes an instance; Lookup %v ns, %d allocations", loaded.Round(time.Millisecond), size/scaleInstances, lookup.NsPerOp(), lookup.AllocsPerOp())
	if lookup.AllocsPerOp() > 0 {
		s.Errorf("Lookup makes %d allocations", lookup.AllocsPerOp())
	}
	began = time.Now()
	if err := s.fleet[42].Update(s.Context(), func(i *discovery.Instance) { i.Weight = 7 }); err != nil {
		s.Fatal(err)
	}
	testenv.Eventually(s, time.Minute, "the change is seen", func() error {
		snapshot, err := resolver.Lookup(s.Context(), scaleService(42))
		if err == nil && snapshot.Instances[0].Weight != 7 {
			err = errors.New("the weight is the old one")
		}
		return err
	})
	s.Logf("a change in a service of %d is seen after %v", scaleInstances/scaleServices, time.Since(began).Round(time.Millisecond))
	runtime.KeepAlive(resolver)
}

// oneService measures a service of as many instances. One lease keeps them all.
func (s *scale) oneService() {
	store := s.stores[0].Namespace("services")
	lease, err := store.Lease(s.Context(), 10*time.Minute)
	if err != nil {
		s.Fatal(err)
	}
	put := func(n, weight int) error {
		value := fmt.Sprintf(`{"version":"1.2.3","addresses":{"grpc":"10.%d.%d.%d:9000"},"zone":"zone-a","weight":%d,"labels":{"track":"stable"},"state":"up"}`, n>>16, n>>8&255, n&255, weight)
		_, err := store.Put(s.Context(), fmt.Sprintf("large/instance-%05d", n), []byte(value), kv.WithLease(lease))
		return err
	}
	var work errgroup.Group
	work.SetLimit(200)
	for n := range scaleInstances {
		work.Go(func() error { return put(n, 100) })
	}
	if err := work.Wait(); err != nil {
		s.Fatal(err)
	}
	resolver := s.resolver()
	defer resolver.Close()
	began := time.Now()
	if _, err := resolver.Lookup(s.Context(), "large"); err != nil {
		s.Fatal(err)
	}
	loaded := time.Since(began)
	began = time.Now()
	if err := put(42, 7); err != nil {
		s.Fatal(err)
	}
	testenv.Eventually(s, time.Minute, "the change is seen", func() error {
		snapshot, err := resolver.Lookup(s.Context(), "large")
		if err == nil && snapshot.Instances[42].Weight != 7 {
			err = errors.New("the weight is the old one")
		}
		return err
	})
	s.Logf("one service of %d: loaded in %v, a change is seen after %v", scaleInstances, loaded.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
}

// TestTenThousandInstances prints the cost of a large fleet for one etcd and its clients.
func TestTenThousandInstances(t *testing.T) {
	suite.Measure(t)
	s := newScale(t)
	s.oneService()
	began := time.Now()
	s.register()
	t.Logf("%d instances of %d services are registered after %v", scaleInstances, scaleServices, time.Since(began).Round(time.Millisecond))
	s.idle(scaleTTL)
	s.lookups()
}
