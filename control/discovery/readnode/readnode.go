// Package readnode serves the instances of services to many clients. It follows each service once in the registry, however many clients
// follow it.
//
//	node, err := readnode.New(registry, nil)
//	…
//	server := grpc.NewServer(grpc.Creds(credentials))
//	node.Register(server)
//	go server.Serve(listener)
//	…
//	node.Close()                               // ends the streams
//	time.AfterFunc(5*time.Second, server.Stop) // GracefulStop waits for clients that do not read
//	server.GracefulStop()
//
// Clients use package readnodediscovery. Registrars write to the registry, never to a read node. Run two nodes or more: they share nothing, and
// clients of one that stops move to another.
//
// # Guarantees
//
//   - The load on the registry depends on the number of services, not of clients. At most [Options.Lists] services are listed at a time.
//   - A change is encoded once, for all clients. So is a snapshot, while no more than 64 changes follow it.
//   - A client that reconnects gets the changes that it lacks, if the node still has them (Options.History), or else a snapshot. Each node, and
//     each start of a node, has a history of its own.
//   - There are no queues. A client that reads slowly gets later changes, or a new snapshot. It delays no other client, and costs no
//     memory.
//   - The node disconnects a client that is silent for three heartbeats, or that keeps requesting services without reading the answers.
//   - The node answers for a service when the registry has answered it, and never earlier. Without the registry it keeps its records, and
//     reports how long the registry has been out of reach.
//   - A node removes a record when the registry does. The clients hold back suspicious removals, since they have the earlier state.
//
// Node and client agree on the revision of the protocol. A client that is too old is refused with FAILED_PRECONDITION.
//
// The node reads from one registry. The registry's own address must not need discovery. Credentials and limits of connections are options
// of the *grpc.Server.
//
// # Telemetry
//
// Metrics: goos.discovery.readnode.clients, goos.discovery.readnode.services, goos.discovery.readnode.snapshots (by
// goos.discovery.readnode.reason: new, history, behind), goos.discovery.readnode.resumes, goos.discovery.readnode.refusals (by reason: invalid,
// exhausted), goos.discovery.readnode.frames.encoded and goos.discovery.readnode.frames.sent. Events: goos.discovery.readnode.lost and
// goos.discovery.readnode.restored.
package readnode

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/control/discovery/internal/naming"
	pb "github.com/go-os/go-os/control/discovery/internal/readnodev1"
	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/life"
	"github.com/go-os/go-os/telemetry"
)

// The errors that callers distinguish.
var (
	// ErrInvalid: an option is invalid.
	ErrInvalid = driver.ErrInvalid
	// ErrUnavailable: the registry is out of reach of the node.
	ErrUnavailable = driver.ErrUnavailable
	// ErrClosed: the node was closed.
	ErrClosed = driver.ErrClosed
)

// errFull means that the node follows MaxFeeds services.
var errFull = errors.New("too many services")

// The defaults of Options.
const (
	DefaultHistory     = 1024
	DefaultHeartbeat   = 10 * time.Second
	DefaultMaxServices = 1000
	DefaultMaxFeeds    = 10_000
	DefaultLinger      = 10 * time.Minute
	DefaultLists       = 50
	DefaultBackoff     = 100 * time.Millisecond
	DefaultMaxBackoff  = 5 * time.Second
)

// Options configure New.
type Options struct {
	// History is how many changes of a service the node keeps for clients that reconnect or are slow. It keeps 1 MiB at most. Default:
	// DefaultHistory.
	History int
	// Heartbeat is how often node and client send something. A peer that is silent for three times as long is disconnected. Default:
	// DefaultHeartbeat.
	Heartbeat time.Duration
	// MaxServices is how many services one client may follow. Default: DefaultMaxServices.
	MaxServices int
	// MaxFeeds is how many services the node follows for all clients. Default: DefaultMaxFeeds.
	MaxFeeds int
	// Linger is how long the node follows a service with records after its last client has left. Default: DefaultLinger.
	Linger time.Duration
	// Lists is how many services are listed in the registry at a time. Default: DefaultLists.
	Lists int
	// Backoff is the wait before a failed watch of the registry is restarted. It doubles up to MaxBackoff, and half of it is random.
	// Default: DefaultBackoff.
	Backoff time.Duration
	// MaxBackoff is the longest such wait. Default: DefaultMaxBackoff.
	MaxBackoff time.Duration
	// Telemetry receives metrics and events. A no-op provider turns its signal off.
	Telemetry telemetry.Providers
}

func (o *Options) withDefaults() (Options, error) {
	all := defaults.Copy(o)
	return all, cmp.Or(
		defaults.Fill("readnode.Options.History", &all.History, DefaultHistory),
		defaults.Fill("readnode.Options.Heartbeat", &all.Heartbeat, DefaultHeartbeat),
		defaults.Fill("readnode.Options.MaxServices", &all.MaxServices, DefaultMaxServices),
		defaults.Fill("readnode.Options.MaxFeeds", &all.MaxFeeds, DefaultMaxFeeds),
		defaults.Fill("readnode.Options.Linger", &all.Linger, DefaultLinger),
		defaults.Fill("readnode.Options.Lists", &all.Lists, DefaultLists),
		defaults.Fill("readnode.Options.Backoff", &all.Backoff, DefaultBackoff),
		defaults.Fill("readnode.Options.MaxBackoff", &all.MaxBackoff, DefaultMaxBackoff),
	)
}

// Node follows services in a registry and streams them to clients. It is safe for concurrent use.
type Node struct {
	reader  driver.Reader
	opts    Options
	obs     observer
	id      string
	started time.Time
	lists   chan struct{} // has an element for each list that is not answered

	life   life.Life
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup

	clients   atomic.Int64
	interests atomic.Int64

	mu    sync.Mutex
	feeds map[string]*feed
}

// New returns a Node on a registry, which the Node closes. It does no I/O and starts no goroutine. It returns ErrInvalid without a registry,
// or if an option is negative.
func New(r driver.Reader, opts *Options) (*Node, error) {
	o, err := opts.withDefaults()
	if err == nil && r == nil {
		err = fmt.Errorf("%w: no registry", ErrInvalid)
	}
	if err != nil {
		return nil, fmt.Errorf("readnode: New: %w", err)
	}
	n := &Node{
		reader: r, opts: o, obs: observe(r.System(), o.Telemetry), id: rand.Text(), started: time.Now(), lists: make(chan struct{}, o.Lists),
		feeds: map[string]*feed{},
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	return n, nil
}

// Register adds the node to a gRPC server. Call it before Serve.
func (n *Node) Register(s grpc.ServiceRegistrar) { pb.RegisterReadNodeServer(s, &server{node: n}) }

// Check returns nil if the registry is in reach for every service that the node follows. Otherwise it returns ErrUnavailable and names a
// service, or ErrClosed. It does no I/O.
func (n *Node) Check(context.Context) error {
	if err := n.life.Err(); err != nil {
		return err
	}
	for _, s := range n.Status() {
		if s.Age > 0 {
			return fmt.Errorf("%w: no news of %q for %v: %s", ErrUnavailable, s.Service, s.Age.Round(time.Millisecond), s.Reason)
		}
	}
	return nil
}

// Status is the state of one service in a Node.
type Status struct {
	// Service is its name.
	Service string
	// Loaded is set once the registry has answered.
	Loaded bool
	// Records is the number of its records, including goodbyes and invalid ones.
	Records int
	// Clients is how many clients follow it.
	Clients int
	// Age is how long the registry has been out of reach; zero while it is reachable.
	Age time.Duration
	// Reason is why the registry is out of reach.
	Reason string
}

// Status returns the state of each followed service, ordered by name.
func (n *Node) Status() []Status {
	var all []Status
	for _, f := range n.following() {
		f.mu.Lock()
		all = append(all, Status{f.service, f.synced, len(f.records), len(f.followers), f.age(), f.why()})
		f.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b Status) int { return strings.Compare(a.Service, b.Service) })
	return all
}

// Clients returns how many clients are connected.
func (n *Node) Clients() int { return int(n.clients.Load()) }

func (n *Node) following() []*feed {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Collect(maps.Values(n.feeds))
}

// Close ends the streams of all clients and the watches of the registry, and closes the registry's driver. A second Close does nothing.
func (n *Node) Close() error {
	if !n.life.End() {
		return nil
	}
	n.mu.Lock()
	n.cancel()
	for _, f := range n.feeds {
		f.idle.Stop()
	}
	n.mu.Unlock()
	n.work.Wait()
	return n.reader.Close()
}

// follow adds a follower to the feed of its service. It starts the feed if needed.
func (n *Node) follow(w *follower) error {
	service := w.interest.GetService()
	if err := naming.CheckService(service); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	f := n.feeds[service]
	switch {
	case n.life.Err() != nil:
		return ErrClosed
	case f == nil && len(n.feeds) >= n.opts.MaxFeeds:
		return fmt.Errorf("%w: the read node follows %d: raise readnode.Options.MaxFeeds", errFull, len(n.feeds))
	case f == nil:
		f = n.start(service)
	}
	f.idle.Stop()
	w.feed = f
	n.interests.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.followers[w] = struct{}{}
	return nil
}

// start starts a feed. The lock must be held.
func (n *Node) start(service string) *feed {
	f := newFeed(n, service)
	ctx, cancel := context.WithCancel(n.ctx)
	f.cancel = cancel
	f.idle = time.AfterFunc(n.opts.Linger, func() { n.expire(f) })
	n.feeds[service] = f
	n.obs.service(1)
	n.work.Go(func() { f.run(ctx) })
	return f
}

// unfollow removes a follower. The feed ends later if it has records, and at once if the service was never registered.
func (n *Node) unfollow(w *follower) {
	f := w.feed
	n.interests.Add(-1)
	f.mu.Lock()
	delete(f.followers, w)
	left, records := len(f.followers), len(f.records)
	f.mu.Unlock()
	switch {
	case left > 0:
	case records == 0:
		n.expire(f)
	default:
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.life.Err() == nil {
			f.idle.Reset(n.opts.Linger)
		}
	}
}

// expire ends a feed without followers.
func (n *Node) expire(f *feed) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f.mu.Lock()
	followed := len(f.followers) > 0
	f.mu.Unlock()
	if !followed {
		n.remove(f)
	}
}

// drop removes a feed that has ended. A later interest starts another one.
func (n *Node) drop(f *feed) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.remove(f)
}

func (n *Node) remove(f *feed) {
	if n.feeds[f.service] != f {
		return
	}
	f.idle.Stop()
	f.cancel()
	delete(n.feeds, f.service)
	n.obs.service(-1)
}

func (n *Node) joined(clients int) {
	n.clients.Add(int64(clients))
	n.obs.client(clients)
}

func (n *Node) encoded() { n.obs.encoded() }

func (n *Node) welcome(protocol uint32) []byte {
	return mustMarshal(&pb.Frame{Kind: &pb.Frame_Welcome{Welcome: &pb.Welcome{
		Protocol: protocol, Node: n.id, HeartbeatMs: uint32(n.opts.Heartbeat.Milliseconds()),
		Clients: uint64(n.clients.Load()), Interests: uint64(n.interests.Load()),
	}}})
}

func (n *Node) heartbeat() []byte {
	return mustMarshal(&pb.Frame{Kind: &pb.Frame_Heartbeat{Heartbeat: &pb.Heartbeat{
		Clients: uint64(n.clients.Load()), Interests: uint64(n.interests.Load()),
	}}})
}
