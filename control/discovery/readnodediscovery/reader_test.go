package readnodediscovery_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/control/discovery/readnode"
	"github.com/go-os/go-os/control/discovery/readnodediscovery"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/telemetry"
)

// registry is a registry with events sent by a test. It is shared: each of several nodes and clients has its own Reader.
type registry struct {
	mu      sync.Mutex
	records map[string]map[string]driver.Record // by service and ID
	lost    bool
	watches map[*watch]struct{}
	lists   atomic.Int64
	hang    bool // new watches are not answered
}

type watch struct {
	service string
	events  chan driver.Event
}

func newRegistry() *registry {
	return &registry{records: map[string]map[string]driver.Record{}, watches: map[*watch]struct{}{}}
}

// reader implements driver.Reader.
type reader struct{ *registry }

func (reader) System() string { return "test" }
func (reader) Close() error   { return nil }

func (r reader) Watch(ctx context.Context, service string, emit func(driver.Event) error) error {
	w := &watch{service: service, events: make(chan driver.Event, 100_000)}
	r.mu.Lock()
	r.lists.Add(1)
	r.watches[w] = struct{}{}
	switch {
	case r.hang:
	case r.lost:
		w.events <- lost
	default:
		r.list(w)
	}
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.watches, w)
	}()
	for {
		select {
		case e := <-w.events:
			if err := emit(e); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

var lost = driver.Event{Kind: driver.EventLost, Err: fmt.Errorf("%w: cut by the test", driver.ErrUnavailable)}

func (r *registry) list(w *watch) {
	w.events <- driver.Event{Kind: driver.EventResync}
	for _, id := range slices.Sorted(maps.Keys(r.records[w.service])) {
		w.events <- driver.Event{Kind: driver.EventPut, Record: r.records[w.service][id]}
	}
	w.events <- driver.Event{Kind: driver.EventSynced}
}

// put writes records of a service.
func (r *registry) put(service string, ids ...string) {
	for _, id := range ids {
		r.write(driver.Record{Instance: driver.Instance{
			Service: service, ID: id, Weight: 1, Addresses: map[string]string{"grpc": "10.0.0.1:9000"}, Labels: map[string]string{"a": "1", "b": "2", "c": "3"},
		}, Incarnation: "inc", Epoch: 1})
	}
}

func (r *registry) write(rec driver.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.records[rec.Service] == nil {
		r.records[rec.Service] = map[string]driver.Record{}
	}
	r.records[rec.Service][rec.ID] = rec
	r.send(rec.Service, driver.Event{Kind: driver.EventPut, Record: rec})
}

func (r *registry) remove(service, id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.records[service], id)
	r.send(service, driver.Event{Kind: driver.EventDelete, Record: driver.Record{Instance: driver.Instance{Service: service, ID: id}}})
}

func (r *registry) send(service string, e driver.Event) {
	for w := range r.watches {
		if w.service == service && !r.lost && !r.hang {
			w.events <- e
		}
	}
}

// cut loses all watches, and mend restores them.
func (r *registry) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost = true
	for w := range r.watches {
		w.events <- lost
	}
}

func (r *registry) mend() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost, r.hang = false, false
	for w := range r.watches {
		r.lists.Add(1)
		r.list(w)
	}
}

// view holds the events of one Watch.
type view struct {
	t       testing.TB
	service string

	mu      sync.Mutex
	ids     map[string]bool
	unseen  map[string]bool
	synced  bool
	age     time.Duration
	lostErr error
	resyncs int
	events  int // puts and deletes
	err     error
	ended   chan struct{}
	stop    context.CancelFunc
}

// follow watches a service until the test ends.
func follow(t testing.TB, r driver.Reader, service string) *view {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	v := &view{t: t, service: service, ids: map[string]bool{}, ended: make(chan struct{}), stop: cancel}
	go func() {
		defer close(v.ended)
		err := r.Watch(ctx, service, v.take)
		v.mu.Lock()
		defer v.mu.Unlock()
		v.err = err
	}()
	t.Cleanup(func() {
		cancel()
		<-v.ended
	})
	return v
}

func (v *view) take(e driver.Event) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	id := e.Record.ID
	switch e.Kind {
	case driver.EventResync:
		v.resyncs++
		v.unseen = maps.Clone(v.ids)
	case driver.EventPut:
		v.events++
		delete(v.unseen, id)
		v.ids[id] = true
	case driver.EventDelete:
		v.events++
		delete(v.ids, id)
	case driver.EventSynced:
		for id := range v.unseen {
			delete(v.ids, id)
		}
		v.unseen, v.synced, v.lostErr, v.age = nil, true, nil, 0
	case driver.EventLost:
		v.synced, v.lostErr, v.age = false, e.Err, e.Age
	}
	return nil
}

// show returns the IDs, and "lost" unless they are in sync.
func (v *view) show() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	text := strings.Join(slices.Sorted(maps.Keys(v.ids)), " ")
	if !v.synced {
		text += " lost"
	}
	return strings.TrimSpace(text)
}

func (v *view) expect(what, want string) {
	v.t.Helper()
	testenv.Eventually(v.t, 20*time.Second, what, func() error {
		if got := v.show(); got != want {
			return fmt.Errorf("%s has %q, want %q", v.service, got, want)
		}
		return nil
	})
}

// counts returns how many lists and how many other events there have been.
func (v *view) counts() (resyncs, events int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.resyncs, v.events
}

func quick(engine driver.Reader) *readnodediscovery.Options {
	return &readnodediscovery.Options{
		Engine: engine, Timeout: time.Second, Patience: time.Second, Fallback: 500 * time.Millisecond, MaxBackoff: 500 * time.Millisecond,
	}
}

func fastNode() *readnode.Options {
	return &readnode.Options{Heartbeat: 200 * time.Millisecond, MaxBackoff: 500 * time.Millisecond, Telemetry: telemetry.Off()}
}

func closing(t testing.TB, c *client) *client {
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// TestOneWatchForManyClients follows a service with many clients, and changes it.
func TestOneWatchForManyClients(t *testing.T) {
	engine := newRegistry()
	engine.put("orders", "a", "b")
	node := serve(t, reader{engine}, fastNode())
	var views []*view
	for range 20 {
		c := closing(t, newClient(t, quick(nil), node.address))
		views = append(views, follow(t, c, "orders"), follow(t, c, "payments"))
	}
	for n, v := range views {
		v.expect("all are found", []string{"a b", ""}[n%2])
	}
	engine.remove("orders", "a")
	engine.put("orders", "c")
	engine.put("payments", "p")
	for n, v := range views {
		v.expect("changes", []string{"b c", "p"}[n%2])
	}
	if n := engine.lists.Load(); n != 2 {
		t.Errorf("%d lists of the registry for two services", n)
	}
	if n := node.node.Clients(); n != 20 {
		t.Errorf("%d clients", n)
	}
}

// TestNodeStops moves clients to the other node, and back once that stops too.
func TestNodeStops(t *testing.T) {
	engine := newRegistry()
	engine.put("orders", "a")
	nodes := []*local{serve(t, reader{engine}, fastNode()), serve(t, reader{engine}, fastNode())}
	c := closing(t, newClient(t, quick(nil), nodes[0].address, nodes[1].address))
	v := follow(t, c, "orders")
	v.expect("the first node answers", "a")
	first := c.Status().Node
	_ = nodes[first].node.Close()
	nodes[first].server.Stop()
	engine.put("orders", "b")
	engine.remove("orders", "a")
	v.expect("the second node answers", "b")
	if s := c.Status(); !s.Connected || s.Node == first || s.Connections != 2 {
		t.Errorf("status %+v", s)
	}
}

// TestSilentNode uses one node with hanging connections.
func TestSilentNode(t *testing.T) {
	engine := newRegistry()
	engine.put("orders", "a")
	well := serve(t, reader{engine}, fastNode())
	ill := serve(t, reader{engine}, fastNode())
	tap := testenv.Tap(t, ill.address)
	c := closing(t, newClient(t, quick(nil), tap.Endpoint(), well.address))
	v := follow(t, c, "orders")
	v.expect("a node answers", "a")
	tap.Answers(func([]byte) (int, <-chan struct{}) { return 0, make(chan struct{}) }) // for ever
	for n := range 3 {
		id := fmt.Sprint("b", n)
		engine.put("orders", id)
		v.expect("a change", strings.Join(append([]string{"a"}, ids("b", n+1)...), " "))
	}
	testenv.Eventually(t, 20*time.Second, "the other node", func() error {
		if s := c.Status(); s.Node != 1 {
			return fmt.Errorf("status %+v", s)
		}
		return nil
	})
}

func ids(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint(prefix, i)
	}
	return all
}

// TestSilentFromTheStart has the first node accept connections, and nothing else.
func TestSilentFromTheStart(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	engine := newRegistry()
	engine.put("orders", "a")
	well := serve(t, reader{engine}, fastNode())
	c := closing(t, newClient(t, quick(nil), listener.Addr().String(), well.address))
	follow(t, c, "orders").expect("the node that answers", "a")
}

// TestResume cuts the stream for a moment: only the missing changes are sent.
func TestResume(t *testing.T) {
	engine := newRegistry()
	engine.put("orders", ids("i", 100)...)
	node := serve(t, reader{engine}, fastNode())
	proxy := testenv.Proxy(t, node.address)
	c := closing(t, newClient(t, quick(nil), proxy.Endpoint()))
	v := follow(t, c, "orders")
	v.expect("all are found", strings.Join(slices.Sorted(slices.Values(ids("i", 100))), " "))
	resyncs, events := v.counts()
	proxy.Cut()
	testenv.Eventually(t, 10*time.Second, "the stream is lost", func() error {
		if !strings.HasSuffix(v.show(), " lost") {
			return errors.New("in sync")
		}
		return nil
	})
	engine.remove("orders", "i7")
	engine.put("orders", "new")
	proxy.Heal()
	want := append(slices.DeleteFunc(ids("i", 100), func(id string) bool { return id == "i7" }), "new")
	v.expect("the changes", strings.Join(slices.Sorted(slices.Values(want)), " "))
	if r, e := v.counts(); r != resyncs || e != events+2 {
		t.Errorf("%d lists and %d events after the cut, want the two changes only", r-resyncs, e-events)
	}
}

// TestBehind is away for longer than the node keeps changes.
func TestBehind(t *testing.T) {
	engine := newRegistry()
	engine.put("orders", "a")
	opts := fastNode()
	opts.History = 4
	node := serve(t, reader{engine}, opts)
	proxy := testenv.Proxy(t, node.address)
	c := closing(t, newClient(t, quick(nil), proxy.Endpoint()))
	v := follow(t, c, "orders")
	v.expect("found", "a")
	proxy.Cut()
	v.expect("cut", "a lost")
	engine.put("orders", ids("n", 9)...)
	engine.remove("orders", "a")
	proxy.Heal()
	v.expect("a snapshot", strings.Join(ids("n", 9), " "))
	if r, _ := v.counts(); r != 2 {
		t.Errorf("%d lists, want 2", r)
	}
}

// TestEngineLost loses the registry behind the node. Clients see the age and keep their records; new clients get the records
// with their age.
func TestEngineLost(t *testing.T) {
	engine := newRegistry()
	engine.put("orders", "a")
	node := serve(t, reader{engine}, fastNode())
	c := closing(t, newClient(t, quick(nil), node.address))
	v := follow(t, c, "orders")
	v.expect("found", "a")
	engine.cut()
	v.expect("lost", "a lost")
	if node.node.Check(t.Context()) == nil {
		t.Error("the node's Check succeeds without the registry")
	}
	time.Sleep(300 * time.Millisecond) // the age
	late := follow(t, closing(t, newClient(t, quick(nil), node.address)), "orders")
	late.expect("the last known instances", "a lost")
	late.mu.Lock()
	if late.age < 300*time.Millisecond || !strings.Contains(fmt.Sprint(late.lostErr), "cut by the test") {
		t.Errorf("age %v, error %v", late.age, late.lostErr)
	}
	late.mu.Unlock()
	engine.mend()
	v.expect("restored", "a")
	late.expect("restored", "a")
	if r, _ := v.counts(); r != 1 {
		t.Errorf("%d lists: an outage of the registry needs none", r)
	}
	if err := node.node.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestRestartWithoutTheEngine restarts the node while the registry is down: it must not answer that there is nothing.
func TestRestartWithoutTheEngine(t *testing.T) {
	engine := newRegistry()
	engine.put("orders", "a", "b")
	node := serve(t, reader{engine}, fastNode())
	c := closing(t, newClient(t, quick(nil), node.address))
	v := follow(t, c, "orders")
	v.expect("found", "a b")
	engine.cut()
	_ = node.node.Close()
	node.server.Stop()
	listener, err := net.Listen("tcp", node.address)
	if err != nil {
		t.Fatal(err)
	}
	node.serve(listener, reader{engine}, fastNode())
	testenv.Eventually(t, 20*time.Second, "the node is back", func() error {
		if s := c.Status(); !s.Connected || s.Connections < 2 {
			return fmt.Errorf("status %+v", s)
		}
		return nil
	})
	empty := follow(t, closing(t, newClient(t, quick(nil), node.address)), "orders")
	testenv.Eventually(t, 20*time.Second, "the empty client learns why", func() error {
		empty.mu.Lock()
		defer empty.mu.Unlock()
		if empty.lostErr == nil {
			return errors.New("no event")
		}
		return nil
	})
	if r, _ := empty.counts(); r != 0 || empty.show() != "lost" {
		t.Errorf("a client without instances got %d lists from a node without a registry: %q", r, empty.show())
	}
	v.expect("what it had", "a b lost")
	engine.remove("orders", "b")
	engine.mend()
	v.expect("back", "a")
	empty.expect("back", "a")
}

// TestStaleNode prefers a client's records to the older snapshot of a node that has lost the registry.
func TestStaleNode(t *testing.T) {
	engine, cutOff := newRegistry(), newRegistry()
	engine.put("orders", "a", "b", "c")
	cutOff.put("orders", "old")
	well, stale := serve(t, reader{engine}, fastNode()), serve(t, reader{cutOff}, fastNode())
	warm := follow(t, closing(t, newClient(t, quick(nil), stale.address)), "orders")
	warm.expect("the stale node is loaded", "old")
	cutOff.cut()
	warm.expect("the stale node is cut off", "old lost")
	proxy := testenv.Proxy(t, stale.address)
	proxy.Cut()
	c := closing(t, newClient(t, quick(reader{engine}), well.address, proxy.Endpoint()))
	v := follow(t, c, "orders")
	v.expect("found", "a b c")
	proxy.Heal()
	_ = well.node.Close()
	well.server.Stop()
	v.expect("the stale node changes nothing", "a b c lost")
	engine.remove("orders", "c")
	v.expect("the registry itself", "a b")
	if s := c.Status(); !slices.Equal(s.Fallback, []string{"orders"}) {
		t.Errorf("status %+v", s)
	}
	cutOff.remove("orders", "old")
	cutOff.put("orders", "a", "b", "d")
	cutOff.mend()
	v.expect("the node has the registry again", "a b d")
	testenv.Eventually(t, 10*time.Second, "the fallback ends", func() error {
		if s := c.Status(); len(s.Fallback) > 0 {
			return fmt.Errorf("status %+v", s)
		}
		return nil
	})
}

// TestFallback has no node answer. A service without instances is read from the registry at once, and others later.
func TestFallback(t *testing.T) {
	engine := newRegistry()
	engine.put("orders", "a")
	node := serve(t, reader{engine}, fastNode())
	opts := quick(reader{engine})
	opts.Fallback = time.Second
	c := closing(t, newClient(t, opts, node.address))
	v := follow(t, c, "orders")
	v.expect("found", "a")
	lists := engine.lists.Load()
	began := time.Now()
	_ = node.node.Close()
	node.server.Stop()
	v.expect("lost", "a lost")
	engine.put("payments", "p")
	follow(t, c, "payments").expect("at once", "p")
	if engine.lists.Load() != lists+1 {
		t.Error("a service with instances was read from the registry at once, too")
	}
	engine.put("orders", "b")
	v.expect("later", "a b")
	if took := time.Since(began); took < opts.Fallback {
		t.Errorf("fell back after %v", took)
	}
	second := follow(t, c, "orders") // the registry lists again
	second.expect("a second watch during the fallback", "a b")
	listener, err := net.Listen("tcp", node.address)
	if err != nil {
		t.Fatal(err)
	}
	node.serve(listener, reader{engine}, fastNode())
	testenv.Eventually(t, 20*time.Second, "back to the node", func() error {
		if s := c.Status(); !s.Connected || len(s.Fallback) > 0 {
			return fmt.Errorf("status %+v", s)
		}
		return nil
	})
	engine.remove("orders", "a")
	v.expect("through the node", "b")
	second.expect("through the node", "b")
	testenv.Eventually(t, 10*time.Second, "only the node watches", func() error {
		engine.mu.Lock()
		defer engine.mu.Unlock()
		if len(engine.watches) != 2 {
			return fmt.Errorf("%d watches of the registry", len(engine.watches))
		}
		return nil
	})
}

// TestHangingRegistry reads from the registry if the node waits for an answer of its own.
func TestHangingRegistry(t *testing.T) {
	hangs, engine := newRegistry(), newRegistry()
	hangs.hang = true
	engine.put("orders", "a")
	node := serve(t, reader{hangs}, fastNode())
	c := closing(t, newClient(t, quick(reader{engine}), node.address))
	follow(t, c, "orders").expect("the registry answers", "a")
}

// TestDuplicateInterest watches one service twice: each watch gets everything.
func TestDuplicateInterest(t *testing.T) {
	engine := newRegistry()
	engine.put("orders", "a")
	node := serve(t, reader{engine}, fastNode())
	c := closing(t, newClient(t, quick(nil), node.address))
	var views []*view
	for range 10 {
		views = append(views, follow(t, c, "orders"))
	}
	for n := range 20 {
		engine.put("orders", fmt.Sprint("b", n%10))
		if n == 10 {
			views = append(views, follow(t, c, "orders"))
		}
	}
	want := "a " + strings.Join(ids("b", 10), " ")
	for _, v := range views {
		v.expect("all", want)
	}
	views[0].stop()
	engine.remove("orders", "a")
	for _, v := range views[1:] {
		v.expect("a change", strings.Join(ids("b", 10), " "))
	}
	for _, v := range views[1:] {
		v.stop()
	}
	testenv.Eventually(t, 10*time.Second, "the node has no followers, and no client", func() error {
		if s := node.node.Status(); len(s) != 1 || s[0].Clients != 0 || node.node.Clients() != 0 {
			return fmt.Errorf("status %+v, %d clients", s, node.node.Clients())
		}
		return nil
	})
	follow(t, c, "orders").expect("again", strings.Join(ids("b", 10), " "))
}

// TestSlowWatch delays one client; others are not delayed, and it ends with the latest records.
func TestSlowWatch(t *testing.T) {
	engine := newRegistry()
	engine.put("orders", "a")
	opts := fastNode()
	opts.History = 16
	node := serve(t, reader{engine}, opts)
	slow := closing(t, newClient(t, &readnodediscovery.Options{}, node.address))
	hold := make(chan struct{})
	v := &view{t: t, service: "orders", ids: map[string]bool{}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = slow.Watch(ctx, "orders", func(e driver.Event) error {
			if e.Kind == driver.EventDelete {
				<-hold
			}
			return v.take(e)
		})
	}()
	defer func() {
		cancel()
		<-ended
	}()
	v.expect("found", "a")
	other := follow(t, closing(t, newClient(t, quick(nil), node.address)), "orders")
	other.expect("found", "a")
	engine.remove("orders", "a")
	big := strings.Repeat("x", 10_000)
	for n := range 2000 { // 20 MB, more than the buffers of a connection
		engine.write(driver.Record{Instance: driver.Instance{Service: "orders", ID: fmt.Sprint("n", n%10), Version: fmt.Sprint(n, big)}})
	}
	other.expect("the other client", strings.Join(ids("n", 10), " "))
	close(hold)
	v.expect("the slow client", strings.Join(ids("n", 10), " "))
	if _, events := v.counts(); events > 1500 {
		t.Errorf("the slow client read %d events of 2001: nothing was skipped", events)
	}
}

// TestSlowWatchOfAnotherService blocks one watch of a process. Others of the process are not delayed, and the stream stays.
func TestSlowWatchOfAnotherService(t *testing.T) {
	engine := newRegistry()
	engine.put("slow", "a")
	engine.put("fast", "a")
	node := serve(t, reader{engine}, fastNode())
	c := closing(t, newClient(t, quick(nil), node.address))
	hold := make(chan struct{})
	release := sync.OnceFunc(func() { close(hold) })
	slow := &view{t: t, service: "slow", ids: map[string]bool{}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.Watch(ctx, "slow", func(e driver.Event) error {
			if e.Kind == driver.EventDelete {
				<-hold
			}
			return slow.take(e)
		})
	}()
	defer func() {
		release()
		cancel()
		<-ended
	}()
	slow.expect("found", "a")
	fast := follow(t, c, "fast")
	fast.expect("found", "a")
	engine.remove("slow", "a")
	beside := follow(t, c, "slow")
	for n := range 3000 {
		engine.put("slow", fmt.Sprint("n", n%10))
		engine.remove("slow", fmt.Sprint("n", (n+5)%10))
		if n%100 == 0 {
			engine.put("fast", fmt.Sprint("b", n))
			fast.expect("a change while another watch is blocked", "a "+fmt.Sprint("b", n))
			engine.remove("fast", fmt.Sprint("b", n))
			fast.expect("another one", "a")
		}
	}
	want := strings.Join(ids("n", 5), " ")
	for n := range 5 {
		engine.put("slow", fmt.Sprint("n", n))
		engine.remove("slow", fmt.Sprint("n", n+5))
	}
	beside.expect("another watch of the same service", want)
	if s := c.Status(); s.Connections != 1 {
		t.Errorf("the node was given up: %+v", s)
	}
	if got := slow.show(); got != "a" {
		t.Errorf("the blocked watch has %q", got)
	}
	release()
	slow.expect("the slow watch", want)
	if _, events := slow.counts(); events > 2000 {
		t.Errorf("the slow watch read %d events of 6000: its queue has no bound", events)
	}
	engine.put("slow", "z")
	slow.expect("it goes on", want+" z")
}

// TestBadInterests requests too many services, and invalid names.
func TestBadInterests(t *testing.T) {
	engine := newRegistry()
	engine.put("orders", "a")
	opts := fastNode()
	opts.MaxServices, opts.Heartbeat = 50, 10*time.Second
	node := serve(t, reader{engine}, opts)
	c := closing(t, newClient(t, &readnodediscovery.Options{}, node.address))
	v := follow(t, c, "orders")
	v.expect("found", "a")
	for _, name := range []string{"", "a/b", "a\x00b", strings.Repeat("x", 200), "öl", "\xff"} {
		bad := follow(t, c, name)
		select {
		case <-bad.ended:
			if !errors.Is(bad.err, driver.ErrInvalid) {
				t.Errorf("service %q: %v, want ErrInvalid", name, bad.err)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("the watch of service %q does not end", name)
		}
	}
	many := make([]*view, 10_000)
	for n := range many {
		many[n] = follow(t, c, fmt.Sprint("s", n))
	}
	refused := 0
	testenv.Eventually(t, 30*time.Second, "all are answered", func() error {
		refused = 0
		for _, m := range many {
			m.mu.Lock()
			synced, err := m.synced, m.lostErr
			m.mu.Unlock()
			switch {
			case err != nil && strings.Contains(err.Error(), "MaxServices"):
				refused++
			case !synced:
				return fmt.Errorf("%s has no answer: %v", m.service, err)
			}
		}
		return nil
	})
	if refused != 10_000-49 {
		t.Errorf("%d services were refused, want all but 49", refused)
	}
	if n := engine.lists.Load(); n > 51 {
		t.Errorf("%d lists of the registry", n)
	}
	engine.put("orders", "b")
	v.expect("the good one goes on", "a b")
}

// TestInvalidOptions checks the errors of invalid options.
func TestInvalidOptions(t *testing.T) {
	good, err := grpc.NewClient("passthrough:///127.0.0.1:1", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = good.Close() }()
	for want, call := range map[string]func() error{
		"no read nodes": func() error { _, err := readnodediscovery.New(nil, nil); return err },
		"node 0 is nil": func() error { _, err := readnodediscovery.New([]grpc.ClientConnInterface{nil}, nil); return err },
		"os:///readnode resolves through discovery": func() error {
			_, err := readnodediscovery.New([]grpc.ClientConnInterface{targeted{good}}, nil)
			return err
		},
		"readnodediscovery.Options.Fallback is -1s": func() error {
			_, err := readnodediscovery.New([]grpc.ClientConnInterface{good}, &readnodediscovery.Options{Fallback: -time.Second})
			return err
		},
		"no registry":                       func() error { _, err := readnode.New(nil, nil); return err },
		"readnode.Options.Heartbeat is -1s": func() error { _, err := readnode.New(reader{}, &readnode.Options{Heartbeat: -time.Second}); return err },
	} {
		if err := call(); !errors.Is(err, driver.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want ErrInvalid and %q", err, want)
		}
	}
}

// targeted is a connection that resolves through discovery.
type targeted struct{ grpc.ClientConnInterface }

func (targeted) Target() string { return "os:///readnode" }
