package simulation

import (
	"math"
	"time"

	"github.com/go-os/go-os/control/router/internal/balance"
)

// idle is a Client that learns nothing.
type idle struct{}

func (idle) Sent(time.Duration, *request)                  {}
func (idle) Done(time.Duration, *request, balance.Outcome) {}
func (idle) Probe(time.Duration) (int, bool)               { return 0, false }
func (idle) Probed(time.Duration, int, load)               {}
func (idle) Answered(time.Duration, int, load)             {}
func (idle) Resolve([]int)                                 {}

// ours is a client with a policy of package balance.
type ours struct {
	world    *World
	balancer *balance.Balancer
	all      []*balance.Endpoint
	servers  []int // of the set
	set      *balance.Set
}

// Ours returns a policy of package balance with its defaults.
func Ours(p balance.Policy) Policy { return Configured(balance.Config{Policy: p}) }

// Configured returns a policy of package balance.
func Configured(config balance.Config) Policy {
	return func(w *World) Client {
		config.Random = w.random.Uint64
		c := &ours{world: w, balancer: balance.New(config)}
		var servers []int
		for i := range w.servers {
			servers = append(servers, i)
			c.all = append(c.all, balance.NewEndpoint(0))
			c.all[i].Identify(uint64(i + 1))
		}
		c.Resolve(servers)
		return c
	}
}

func (c *ours) Pick(now time.Duration) int {
	i, _ := c.balancer.Pick(now, c.set, balance.Key{}, nil)
	return c.servers[i]
}

func (c *ours) Sent(now time.Duration, r *request) { r.ticket = c.all[r.server].Begin(now, false) }

func (c *ours) Done(now time.Duration, r *request, o balance.Outcome) { r.ticket.Done(now, o) }

func (c *ours) Probe(now time.Duration) (server int, ok bool) {
	i, ok := c.balancer.Probe(now, c.set, -1)
	if !ok {
		return 0, false
	}
	return c.servers[i], true
}

func (c *ours) Probed(now time.Duration, server int, l load) {
	c.all[server].Report(now, l.inFlight, l.latency, true)
}

func (c *ours) Answered(now time.Duration, server int, l load) {
	c.all[server].Report(now, l.inFlight, l.latency, false)
}

func (c *ours) Resolve(servers []int) {
	c.servers = servers
	endpoints := make([]*balance.Endpoint, len(servers))
	for i, s := range servers {
		endpoints[i] = c.all[s]
	}
	c.set = balance.NewSet(endpoints, nil)
}

// random picks any server.
type random struct {
	idle
	world *World
}

// Random is the policy that picks any server.
func Random(w *World) Client { return random{world: w} }

func (c random) Pick(time.Duration) int { return c.world.random.IntN(len(c.world.servers)) }

// roundRobin picks servers in turn, each client from another one on.
type roundRobin struct {
	idle
	world *World
	next  int
}

// RoundRobin is the policy that picks servers in turn.
func RoundRobin(w *World) Client {
	return &roundRobin{world: w, next: w.random.IntN(len(w.servers))}
}

func (c *roundRobin) Pick(time.Duration) int {
	c.next = (c.next + 1) % len(c.world.servers)
	return c.next
}

// pair draws two servers.
func pair(w *World) (a, b int) {
	n := len(w.servers)
	a, b = w.random.IntN(n), w.random.IntN(n-1)
	if b >= a {
		b++
	}
	return a, b
}

// oracle knows the requests in flight at every server, also those still on their way.
type oracle struct {
	idle
	world *World
	sent  []int // shared by all clients
}

// Oracle returns the policy that picks the better of two servers by their exact requests in flight.
func Oracle() Policy {
	var of *World
	var sent []int
	return func(w *World) Client {
		if of != w {
			of, sent = w, make([]int, len(w.servers))
		}
		return &oracle{world: w, sent: sent}
	}
}

func (c *oracle) Pick(time.Duration) int {
	a, b := pair(c.world)
	if c.sent[b] < c.sent[a] {
		return b
	}
	return a
}

func (c *oracle) Sent(_ time.Duration, r *request)                    { c.sent[r.server]++ }
func (c *oracle) Done(_ time.Duration, r *request, _ balance.Outcome) { c.sent[r.server]-- }

// leastLoaded knows the requests in flight of its own client.
type leastLoaded struct {
	idle
	world *World
	own   []int
}

// LeastLoaded is the policy that picks the better of two servers by the client's own requests in flight, as grpc's least_request does.
func LeastLoaded(w *World) Client { return &leastLoaded{world: w, own: make([]int, len(w.servers))} }

func (c *leastLoaded) Pick(time.Duration) int {
	a, b := pair(c.world)
	if c.own[b] < c.own[a] {
		return b
	}
	return a
}

func (c *leastLoaded) Sent(_ time.Duration, r *request)                    { c.own[r.server]++ }
func (c *leastLoaded) Done(_ time.Duration, r *request, _ balance.Outcome) { c.own[r.server]-- }

// finagle is the peak EWMA of finagle: com.twitter.finagle.loadbalancer.PeakEwma.
type finagle struct {
	idle
	world   *World
	metrics []metric
}

type metric struct {
	pending int
	stamp   time.Duration
	cost    float64
}

// decayOfFinagle is the default decay time of finagle.
const decayOfFinagle = 10 * time.Second

// Finagle is the policy that picks the better of two servers by finagle's peak EWMA.
func Finagle(w *World) Client { return &finagle{world: w, metrics: make([]metric, len(w.servers))} }

func (c *finagle) Pick(now time.Duration) int {
	a, b := pair(c.world)
	if c.metrics[b].load(now) < c.metrics[a].load(now) {
		return b
	}
	return a
}

func (c *finagle) Sent(_ time.Duration, r *request) { c.metrics[r.server].pending++ }

func (c *finagle) Done(now time.Duration, r *request, _ balance.Outcome) {
	c.metrics[r.server].pending--
	c.metrics[r.server].observe(now, float64(now-r.started))
}

func (m *metric) observe(now time.Duration, sample float64) {
	weight := math.Exp(-float64(max(now-m.stamp, 0)) / float64(decayOfFinagle))
	m.stamp = now
	if sample > m.cost {
		m.cost = sample
	} else {
		m.cost = m.cost*weight + sample*(1-weight)
	}
}

// load returns the cost of a request. A server with a request pending and without an answer yet is to be avoided.
func (m *metric) load(now time.Duration) float64 {
	m.observe(now, 0)
	if m.cost == 0 && m.pending != 0 {
		return 1e15 + float64(m.pending)
	}
	return m.cost * float64(m.pending+1)
}
