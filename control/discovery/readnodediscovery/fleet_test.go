package readnodediscovery_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/control/discovery/kvdiscovery"
	"github.com/go-os/go-os/control/discovery/readnode"
	"github.com/go-os/go-os/control/discovery/readnodediscovery"
	"github.com/go-os/go-os/internal/tooling/suite"
	"github.com/go-os/go-os/internal/tooling/testenv"
)

// readers is how many clients the fleet has.
const readers = 1000

// TestFleet has 1,000 readers follow a service through two read nodes, which are processes of their own, on one etcd. It measures the time
// until a change reaches all readers, and the cost for etcd of a node's restart and of the loss of both nodes.
func TestFleet(t *testing.T) {
	suite.Measure(t)
	etcd := testenv.Etcd(t)
	nodes := []*child{startChild(t, etcd.Endpoint(), readnode.DefaultHeartbeat), startChild(t, etcd.Endpoint(), readnode.DefaultHeartbeat)}
	write := hands(t, etcd.Endpoint()).Write
	put := func(version int) {
		write(t, driver.Record{Instance: driver.Instance{
			Service: "orders", ID: "o1", Version: strconv.Itoa(version), Weight: 1, Addresses: map[string]string{"grpc": "10.0.0.7:9000"},
		}, Incarnation: "x", Epoch: 1})
	}
	put(0)
	engine := &sharedEngine{Registry: openEtcd(t, etcd.Endpoint())}
	before := []nodeStatus{nodes[0].status(), nodes[1].status()}
	f := &fleet{t: t, etcd: etcd.Endpoint(), engine: engine}
	for range readers {
		f.join(nodes)
	}
	f.wait("all readers have the service", 0)
	lists := f.lists()
	t.Logf("%d readers, two nodes, one etcd: %d lists of etcd in all", readers, lists)
	for n, node := range nodes {
		s := node.status()
		t.Logf("node %d: %d clients, heap %.1f KiB a client", n, s.clients, float64(s.heap-before[n].heap)/1024/float64(max(s.clients, 1)))
	}
	f.spread(put)
	f.restart(nodes[0])
	f.kill(nodes)
}

// fleet is the readers.
type fleet struct {
	t       *testing.T
	etcd    string
	engine  *sharedEngine
	readers []*fleetReader
	version int
}

// fleetReader is one process of the fleet.
type fleetReader struct {
	*client
	mu      sync.Mutex
	version int
	at      time.Time // when it was seen
	synced  bool
}

// sharedEngine is the registry of several readers. It records when each of them reads from it.
type sharedEngine struct {
	*kvdiscovery.Registry

	mu sync.Mutex
	at []time.Time
}

func (*sharedEngine) Close() error { return nil }

func (e *sharedEngine) Watch(ctx context.Context, service string, emit func(driver.Event) error) error {
	e.mu.Lock()
	e.at = append(e.at, time.Now())
	e.mu.Unlock()
	return e.Registry.Watch(ctx, service, emit)
}

// since counts the reads that have begun since a time. It also returns the delay of the first one, and the largest count within one
// second.
func (e *sharedEngine) since(began time.Time) (sum int, first time.Duration, most int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	at := slices.DeleteFunc(slices.Clone(e.at), func(t time.Time) bool { return t.Before(began) })
	for from, to := 0, 0; to < len(at); to++ {
		for at[to].Sub(at[from]) >= time.Second {
			from++
		}
		most = max(most, to-from+1)
	}
	if len(at) > 0 {
		first = at[0].Sub(began)
	}
	return len(at), first, most
}

// join adds a reader.
func (f *fleet) join(nodes []*child) {
	f.t.Helper()
	r := &fleetReader{client: newClient(f.t, &readnodediscovery.Options{Engine: f.engine}, nodes[0].address, nodes[1].address), version: -1}
	ctx, cancel := context.WithCancel(f.t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = r.Watch(ctx, "orders", r.take)
	}()
	f.t.Cleanup(func() {
		cancel()
		<-ended
		_ = r.Close()
	})
	f.readers = append(f.readers, r)
}

func (r *fleetReader) take(e driver.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e.Kind {
	case driver.EventPut:
		r.version, _ = strconv.Atoi(e.Record.Version)
		r.at = time.Now()
	case driver.EventSynced:
		r.synced = true
	case driver.EventLost:
		r.synced = false
	}
	return nil
}

// wait waits until all readers are in sync and have a version.
func (f *fleet) wait(what string, version int) {
	f.t.Helper()
	testenv.Eventually(f.t, 150*time.Second, what, func() error {
		missing := 0
		for _, r := range f.readers {
			r.mu.Lock()
			if r.version != version || !r.synced {
				missing++
			}
			r.mu.Unlock()
		}
		if missing > 0 {
			return fmt.Errorf("%d readers lack version %d", missing, version)
		}
		return nil
	})
}

// spread measures how long changes take to reach the readers.
func (f *fleet) spread(put func(version int)) {
	var all []time.Duration
	for range 20 {
		f.version++
		began := time.Now()
		put(f.version)
		f.wait("a change", f.version)
		for _, r := range f.readers {
			r.mu.Lock()
			all = append(all, r.at.Sub(began))
			r.mu.Unlock()
		}
	}
	slices.Sort(all)
	p := func(share float64) time.Duration {
		return all[int(share*float64(len(all)-1))].Round(time.Millisecond / 10)
	}
	f.t.Logf("a change reaches a reader after %v (median), %v (p99), %v (longest)", p(0.5), p(0.99), p(1))
	if p(0.99) > time.Second {
		f.t.Errorf("p99 is %v, want less than 1s", p(0.99))
	}
}

// restart kills a node and restarts it.
func (f *fleet) restart(node *child) {
	lists := f.lists()
	node.kill()
	began := time.Now()
	f.moved("the readers are at the other node", func(s readnodediscovery.Status) bool { return s.Connected && s.Node == 1 })
	f.wait("the readers are in sync", f.version)
	f.t.Logf("one node killed: all readers were in sync again after %v", time.Since(began).Round(time.Millisecond))
	node.start()
	time.Sleep(5 * time.Second) // the readers stay where they are
	f.t.Logf("%d lists of etcd over the restart of a node", f.lists()-lists)
	if n := f.lists() - lists; n > 5 {
		f.t.Errorf("%d lists of etcd", n)
	}
}

// kill kills both nodes until all readers read from etcd, and counts these reads.
func (f *fleet) kill(nodes []*child) {
	for _, n := range nodes {
		n.kill()
	}
	began, lists := time.Now(), f.lists()
	f.wait("all readers read from etcd", f.version)
	sum, first, most := f.engine.since(began)
	f.t.Logf("both nodes killed: %d reads from etcd, the first after %v, the last reader after %v, at most %d within one second; %d lists of etcd in all",
		sum, first.Round(time.Second), time.Since(began).Round(time.Second), most, f.lists()-lists)
	if most > 50 || first < readnodediscovery.DefaultFallback-2*time.Second {
		f.t.Errorf("%d reads within a second, the first after %v: want 50 at most, and none before %v", most, first, readnodediscovery.DefaultFallback)
	}
	for _, n := range nodes {
		n.start()
	}
	back := time.Now()
	f.moved("the readers are back", func(s readnodediscovery.Status) bool { return s.Connected && len(s.Fallback) == 0 })
	f.t.Logf("nodes started: all readers were back after %v", time.Since(back).Round(time.Second))
}

// moved waits until all readers have a status.
func (f *fleet) moved(what string, want func(readnodediscovery.Status) bool) {
	f.t.Helper()
	testenv.Eventually(f.t, time.Minute, what, func() error {
		others := 0
		for _, r := range f.readers {
			if !want(r.Status()) {
				others++
			}
		}
		if others > 0 {
			return fmt.Errorf("%d readers are not", others)
		}
		return nil
	})
}

// lists returns how many range requests etcd has had.
func (f *fleet) lists() int {
	f.t.Helper()
	resp, err := http.Get("http://" + f.etcd + "/metrics")
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	for in := bufio.NewScanner(resp.Body); in.Scan(); {
		if value, ok := strings.CutPrefix(in.Text(), `grpc_server_started_total{grpc_method="Range",grpc_service="etcdserverpb.KV",grpc_type="unary"} `); ok {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				f.t.Fatal(err)
			}
			return int(n)
		}
	}
	f.t.Fatal("etcd does not count its requests")
	return 0
}

// nodeStatus holds the counters of a read node in its own process.
type nodeStatus struct {
	clients, services int
	heap              int64
	synced            bool
}

// status requests the node's status.
func (c *child) status() (s nodeStatus) {
	c.t.Helper()
	if _, err := fmt.Fprintln(c.in, "status"); err != nil {
		c.t.Fatal(err)
	}
	if !c.out.Scan() {
		c.t.Fatalf("no status of the read node: %v", c.out.Err())
	}
	if _, err := fmt.Sscanf(c.out.Text(), "clients=%d services=%d heap=%d synced=%t", &s.clients, &s.services, &s.heap, &s.synced); err != nil {
		c.t.Fatal(err)
	}
	return s
}
