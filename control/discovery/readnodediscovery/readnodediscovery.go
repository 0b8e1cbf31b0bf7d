// Package readnodediscovery reads the instances of services from read nodes, which serve many clients in place of the registry: see package
// readnode.
//
//	one, err := grpc.NewClient("dns:///readnode-1:7600", grpc.WithTransportCredentials(credentials))
//	two, err := grpc.NewClient("dns:///readnode-2:7600", grpc.WithTransportCredentials(credentials))
//	…
//	reader, err := readnodediscovery.New([]grpc.ClientConnInterface{one, two}, &readnodediscovery.Options{Engine: registry})
//	…
//	resolver, err := discovery.NewResolver(reader, nil)
//
// A process has one stream to one node, chosen at random, for all its services. If that node stops, is silent or has lost the registry, the
// Reader moves to another one and resumes there. Two nodes have different histories, so the other one sends a snapshot.
//
// # Without read nodes
//
// While no node answers, instances stay as they were last known. The Reader then follows the services in the registry (Options.Engine):
//
//   - A service without instances at once, after every node was tried.
//   - Any other one after a random time between Options.Fallback and three times as much. If the nodes had many clients the time is longer,
//     so that all of them together list at most some 25 services a second. A registry that does not answer is queried again after such a
//     time.
//   - At most Options.Lists services of the process are listed at a time.
//
// A recovered node takes over as soon as it has answered for a service. Clients of a node with N clients reconnect within N milliseconds,
// and within 30 s at most.
//
// A node that has lost the registry still answers. The Reader forwards its age, and uses its snapshots only for services without instances.
//
// # Connections
//
// The caller sets the credentials and keepalive of connections, and closes them. The stream has heartbeats of its own, so that half-open
// connections are noticed without a keepalive. The addresses of read nodes and registry must not resolve through discovery: New refuses a
// connection with the scheme "os".
//
// A driver has no telemetry: Status returns the state of the Reader.
package readnodediscovery

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/control/discovery/internal/naming"
	pb "github.com/go-os/go-os/control/discovery/internal/readnodev1"
	"github.com/go-os/go-os/internal/backoff"
	"github.com/go-os/go-os/internal/defaults"
)

// The defaults of Options.
const (
	DefaultTimeout    = 3 * time.Second
	DefaultPatience   = 10 * time.Second
	DefaultFallback   = 30 * time.Second
	DefaultLists      = 50
	DefaultBackoff    = 100 * time.Millisecond
	DefaultMaxBackoff = 30 * time.Second
)

// Options configure New.
type Options struct {
	// Engine is the registry itself, used while no read node answers. The Reader closes it. Default: none.
	Engine driver.Reader
	// Timeout is how long a node may take to accept a stream. Default: DefaultTimeout.
	Timeout time.Duration
	// Patience is the timeout of silence: the time after which a service without an answer is requested from another node. It applies to
	// nodes and to the fallback registry. It doubles while no node is better. Default: DefaultPatience.
	Patience time.Duration
	// Fallback is the shortest time without an answering node before a service with instances is read from Engine. The longest is three
	// times as much, or more with many clients. Default: DefaultFallback.
	Fallback time.Duration
	// Lists is the greatest number of concurrent lists of services in Engine. Default: DefaultLists.
	Lists int
	// Backoff is the wait after all nodes have failed. It doubles up to MaxBackoff, and half of it is random. Default: DefaultBackoff.
	Backoff time.Duration
	// MaxBackoff is the longest such wait. Default: DefaultMaxBackoff.
	MaxBackoff time.Duration
}

func (o *Options) withDefaults() (Options, error) {
	all := defaults.Copy(o)
	return all, cmp.Or(
		defaults.Fill("readnodediscovery.Options.Timeout", &all.Timeout, DefaultTimeout),
		defaults.Fill("readnodediscovery.Options.Patience", &all.Patience, DefaultPatience),
		defaults.Fill("readnodediscovery.Options.Fallback", &all.Fallback, DefaultFallback),
		defaults.Fill("readnodediscovery.Options.Lists", &all.Lists, DefaultLists),
		defaults.Fill("readnodediscovery.Options.Backoff", &all.Backoff, DefaultBackoff),
		defaults.Fill("readnodediscovery.Options.MaxBackoff", &all.MaxBackoff, DefaultMaxBackoff),
	)
}

// Reader reads from read nodes. It implements driver.Reader.
type Reader struct {
	nodes []pb.ReadNodeClient
	opts  Options
	lists chan struct{} // has an element for each list of the engine that is not answered

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup
	wanted chan struct{} // has an element after a service was added

	mu        sync.Mutex
	started   bool
	closed    bool
	interests map[string]*interest
	joined    uint64   // interests so far
	session   *session // nil without a stream
	node      int      // of the session
	switches  int
	err       error // why no node answers, once all have been tried

	clients, services atomic.Uint64 // load of the node that was connected last
}

// New returns a Reader on connections to read nodes. It does no I/O and starts no goroutine. It returns driver.ErrInvalid without a node, for a
// node whose address needs discovery, or if an option is negative.
func New(nodes []grpc.ClientConnInterface, opts *Options) (*Reader, error) {
	o, err := opts.withDefaults()
	if err == nil {
		err = checkNodes(nodes)
	}
	if err != nil {
		return nil, fmt.Errorf("readnodediscovery: New: %w", err)
	}
	r := &Reader{opts: o, lists: make(chan struct{}, o.Lists), wanted: make(chan struct{}, 1), interests: map[string]*interest{}}
	for _, conn := range nodes {
		r.nodes = append(r.nodes, pb.NewReadNodeClient(conn))
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r, nil
}

// resolverScheme is the scheme of addresses that resolve through discovery.
const resolverScheme = "os:"

func checkNodes(nodes []grpc.ClientConnInterface) error {
	if len(nodes) == 0 {
		return fmt.Errorf("%w: no read nodes: give at least one connection", driver.ErrInvalid)
	}
	for n, conn := range nodes {
		if conn == nil {
			return fmt.Errorf("%w: the connection to node %d is nil", driver.ErrInvalid, n)
		}
		if c, ok := conn.(interface{ Target() string }); ok && strings.HasPrefix(c.Target(), resolverScheme) {
			return fmt.Errorf("%w: %s resolves through discovery, which needs the read node: use another scheme, such as dns", driver.ErrInvalid, c.Target())
		}
	}
	return nil
}

// System implements driver.Reader.
func (*Reader) System() string { return "readnode" }

// Close implements driver.Reader. It closes Options.Engine, and leaves the connections to the nodes open.
func (r *Reader) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	r.cancel()
	r.mu.Unlock()
	for _, i := range r.all() {
		i.stop()
	}
	r.work.Wait()
	if r.opts.Engine != nil {
		return r.opts.Engine.Close()
	}
	return nil
}

// Watch implements driver.Reader.
func (r *Reader) Watch(ctx context.Context, service string, emit func(driver.Event) error) error {
	if err := naming.CheckService(service); err != nil {
		return err
	}
	w := &watcher{failed: make(chan error, 1), signal: make(chan struct{}, 1)}
	i, err := r.join(service, w)
	if err != nil {
		return err
	}
	defer r.leave(i, w)
	for {
		events, behind := i.take(w)
		for _, e := range events {
			switch {
			case ctx.Err() != nil:
				return nil
			case r.ctx.Err() != nil:
				return driver.ErrClosed
			}
			if err := emit(e); err != nil {
				return err
			}
		}
		if behind {
			r.rejoin(i, w)
		}
		select {
		case <-w.signal:
		case err := <-w.failed:
			return err
		case <-ctx.Done():
			return nil
		case <-r.ctx.Done():
			return driver.ErrClosed
		}
	}
}

// join adds a watcher. A further watcher of a service requests the service again, for all of its watchers.
func (r *Reader) join(service string, w *watcher) (*interest, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, driver.ErrClosed
	}
	i := r.interests[service]
	if i == nil {
		r.joined++
		i = &interest{service: service, reader: r, order: r.joined, watchers: map[*watcher]struct{}{}}
		r.interests[service] = i
	}
	if !r.started {
		r.started = true
		r.work.Go(r.run)
	}
	r.begin(i, w)
	select {
	case r.wanted <- struct{}{}:
	default:
	}
	return i, nil
}

// rejoin restarts a watcher that has missed events.
func (r *Reader) rejoin(i *interest, w *watcher) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.begin(i, w)
	}
}

// begin requests a service for a watcher from its beginning. The lock must be held.
func (r *Reader) begin(i *interest, w *watcher) {
	i.add(w)
	if r.session != nil {
		r.session.ask(i)
	} else if r.err != nil { // all nodes have failed
		i.fallBack()
	}
}

func (r *Reader) leave(i *interest, w *watcher) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i.remove(w) > 0 || r.interests[i.service] != i {
		return
	}
	delete(r.interests, i.service)
	i.stop()
	if r.session != nil {
		r.session.forget(i.service)
	}
}

func (r *Reader) all() []*interest {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*interest, 0, len(r.interests))
	for _, i := range r.interests {
		all = append(all, i)
	}
	return all
}

// run keeps a stream to one of the nodes while there are watches.
func (r *Reader) run() {
	wait := backoff.Backoff{First: r.opts.Backoff, Longest: r.opts.MaxBackoff}
	patience := backoff.Backoff{First: 2 * r.opts.Patience, Longest: 32 * r.opts.Patience}
	node := rand.IntN(len(r.nodes))
	for failed := 0; r.needed(); node = (node + 1) % len(r.nodes) {
		s, err := r.connect(node)
		if err != nil {
			if failed++; failed%len(r.nodes) == 0 {
				r.exhausted(err)
				_ = wait.Wait(r.ctx)
			}
			continue
		}
		failed = 0
		wait.Reset()
		satisfied, err := s.run(patience.Next())
		if satisfied {
			patience.Reset()
		}
		r.disconnected(s, err)
		if r.ctx.Err() == nil && len(r.all()) > 0 {
			_ = backoff.Sleep(r.ctx, r.spread())
		}
	}
}

// needed waits until there is something to follow. It returns false after Close.
func (r *Reader) needed() bool {
	for r.ctx.Err() == nil {
		if len(r.all()) > 0 {
			return true
		}
		select {
		case <-r.wanted:
		case <-r.ctx.Done():
		}
	}
	return false
}

// maxSpread limits the time within which the clients of a node reconnect.
const maxSpread = 30 * time.Second

// spread returns a random wait before the next stream, so that the clients of a stopped node do not all reconnect at once: one millisecond
// per client.
func (r *Reader) spread() time.Duration {
	return rand.N(min(time.Duration(r.clients.Load())*time.Millisecond, maxSpread) + 1)
}

// listRate is how many services all clients together list in the engine per second while no node answers.
const listRate = 25

// delay returns how long a service with instances waits before it is read from the engine.
func (r *Reader) delay() time.Duration {
	fleet := r.services.Load() * uint64(len(r.nodes)) // assumes the same load on all nodes
	window := max(2*r.opts.Fallback, time.Duration(fleet)*time.Second/listRate)
	return r.opts.Fallback + rand.N(window)
}

// exhausted records that no node answers.
func (r *Reader) exhausted(err error) {
	r.mu.Lock()
	r.err = err
	r.mu.Unlock()
	for _, i := range r.all() {
		i.unanswered(err)
	}
}

// connected makes a session the present one, and requests all services from it.
func (r *Reader) connected(s *session, node int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.session, r.node, r.err = s, node, nil
	r.switches++
	// The order is oldest first: if the node refuses some, it refuses the same ones as before.
	for _, i := range slices.SortedFunc(maps.Values(r.interests), func(a, b *interest) int { return cmp.Compare(a.order, b.order) }) {
		s.ask(i)
	}
}

// loaded records how many clients a node has, and how many services they follow in sum.
func (r *Reader) loaded(clients, services uint64) {
	r.clients.Store(clients)
	r.services.Store(services)
}

// disconnected records that a session has ended.
func (r *Reader) disconnected(s *session, err error) {
	r.mu.Lock()
	r.session = nil
	r.mu.Unlock()
	for _, i := range r.all() {
		i.lose(s, err)
	}
}

// ask requests a service again, from its beginning.
func (r *Reader) ask(i *interest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.session != nil && r.interests[i.service] == i {
		r.session.ask(i)
	}
}

// Status is the state of a Reader.
type Status struct {
	// Connected is set while there is a stream to a node.
	Connected bool
	// Node is the index of that node among those given to New.
	Node int
	// Connections is how many streams there have been.
	Connections int
	// Err is why no node answers, once all have been tried.
	Err error
	// Fallback are the services that are read from Options.Engine, sorted.
	Fallback []string
}

// Status returns the state of the Reader.
func (r *Reader) Status() Status {
	all := r.all()
	r.mu.Lock()
	st := Status{Connected: r.session != nil, Node: r.node, Connections: r.switches, Err: r.err}
	r.mu.Unlock()
	for _, i := range all {
		if i.fallenBack() {
			st.Fallback = append(st.Fallback, i.service)
		}
	}
	slices.Sort(st.Fallback)
	return st
}
