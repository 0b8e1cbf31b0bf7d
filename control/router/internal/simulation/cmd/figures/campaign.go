package main

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/go-os/go-os/control/router/internal/balance"
	"github.com/go-os/go-os/control/router/internal/simulation"
)

var (
	sizes = []int{100, 20}
	loads = []float64{0.7, 0.9, 1.27, 1.74}
)

// warmUp is how long a run is not measured.
const warmUp = 5 * time.Second

// A policy is a line of the tables and the plots.
type policy struct {
	name string
	make func() simulation.Policy
}

func fixed(p simulation.Policy) func() simulation.Policy {
	return func() simulation.Policy { return p }
}

var policies = []policy{
	{"round robin", fixed(simulation.RoundRobin)},
	{"least loaded, own requests", fixed(simulation.LeastLoaded)},
	{"finagle's peak EWMA", fixed(simulation.Finagle)},
	{"peak_ewma", fixed(simulation.Ours(balance.PeakEWMA))},
	{"prequal", fixed(simulation.Ours(balance.Prequal))},
	{"auto", fixed(simulation.Ours(balance.Auto))},
	{"oracle", simulation.Oracle},
}

// A point is one cell of a table: a policy in a situation.
type point struct {
	situation string
	n         int
	load      float64
	policy    string
}

// The situations.
const (
	normal = "normal"
	dense  = "dense" // clients call every server often
	moving = "moving"
	sink   = "sink"
	frozen = "frozen"
	slow   = "slow"
)

// A campaign is all runs of the page.
type campaign struct {
	seeds, requests, workers int

	mu      sync.Mutex
	results map[point][]result // by seed
}

// result is what the page shows of a run.
type result struct {
	p50, p99, p995, p999 time.Duration
	timeouts, failures   float64 // share of the requests
	probes               float64 // for each request
	late                 float64 // share of the silent server
}

// run makes all runs. The results do not depend on the order.
func (c *campaign) run() {
	c.results = map[point][]result{}
	points := c.points()
	work := make(chan func())
	var group sync.WaitGroup
	for range c.workers {
		group.Go(func() {
			for one := range work {
				one()
			}
		})
	}
	for _, p := range points {
		c.results[p.point] = make([]result, c.seeds)
		for seed := range c.seeds {
			work <- func() { c.one(p, seed) }
		}
		fmt.Fprintf(os.Stderr, "%s %s %d×%d, load %.2f, %s\n", time.Now().Format(time.TimeOnly), p.situation, p.n, p.n, p.load, p.policy)
	}
	close(work)
	group.Wait()
}

// task is a point and how to measure it.
type task struct {
	point
	config simulation.Config
	make   func() simulation.Policy
}

func (c *campaign) points() (all []task) {
	for _, p := range policies {
		add := func(situation string, load float64, config simulation.Config) {
			config.Load, config.Requests, config.WarmUp = load, c.requests, warmUp
			if situation != normal {
				config.Requests = c.requests / 4
			}
			all = append(all, task{point{situation, config.Servers, load, p.name}, config, p.make})
		}
		add(dense, 0.9, simulation.Config{Clients: 4, Servers: 20, Cores: 16})
		for _, n := range sizes {
			if p.name == "prequal" {
				break // auto does the same in these fleets
			}
			for _, load := range loads {
				add(normal, load, simulation.Config{Clients: n, Servers: n})
			}
			add(moving, 0.9, simulation.Config{Clients: n, Servers: n, Faults: simulation.Faults{Moving: true}})
		}
		if p.name == "oracle" {
			continue // it sees requests in flight, not faults
		}
		fleet := simulation.Config{Clients: 5, Servers: 20, Cores: 2}
		fleet.Faults = simulation.Faults{Failing: 2, Steady: true}
		add(sink, 0.7, fleet)
		fleet.Faults = simulation.Faults{Frozen: 1, FrozenAt: 6 * time.Second, Steady: true}
		add(frozen, 0.7, fleet)
		fleet = simulation.Config{Clients: 5, Servers: 16, Cores: 2, Faults: simulation.Faults{Slow: 2, Steady: true}}
		add(slow, 0.3, fleet)
	}
	return all
}

func (c *campaign) one(t task, seed int) {
	t.config.Seed = uint64(seed) + 1
	r := simulation.Run(t.config, t.make())
	requests := float64(r.Requests())
	measured := result{
		p50: r.Quantile(0.5), p99: r.Quantile(0.99), p995: r.Quantile(0.995), p999: r.Quantile(0.999),
		timeouts: float64(r.Timeouts) / requests, failures: float64(r.Failures) / requests,
		probes: float64(r.Probes) / float64(r.Sent),
	}
	if late := sum(r.Late); late > 0 {
		measured.late = float64(r.Late[0]) / float64(late)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.results[t.point][seed] = measured
}

func sum(counts []int) (total int) {
	for _, n := range counts {
		total += n
	}
	return total
}

// A spread is the median of the seeds, and the interval that holds the true median with a confidence of 95 % or more.
type spread struct{ median, low, high float64 }

// spread returns that of a value of the runs of a point.
func (c *campaign) spread(p point, value func(result) float64) spread {
	values := make([]float64, 0, c.seeds)
	for _, r := range c.results[p] {
		values = append(values, value(r))
	}
	return spreadOf(values)
}

// measured returns the policies that were run in a situation with n servers.
func (c *campaign) measured(situation string, n int) (names []string) {
	for _, p := range policies {
		for at := range c.results {
			if at.situation == situation && at.n == n && at.policy == p.name {
				names = append(names, p.name)
				break
			}
		}
	}
	return names
}

// ratio returns the spread of the ratio of two points, seed by seed.
func (c *campaign) ratio(a, b point, value func(result) float64) spread {
	values := make([]float64, 0, c.seeds)
	for seed := range c.seeds {
		values = append(values, value(c.results[a][seed])/value(c.results[b][seed]))
	}
	return spreadOf(values)
}

// spreadOf takes the interval from the order of the values: of ten, the second and the ninth have a confidence of 97.9 %.
func spreadOf(values []float64) spread {
	slices.Sort(values)
	n := len(values)
	trim := n / 10
	if n < 10 {
		trim = 0
	}
	return spread{(values[(n-1)/2] + values[n/2]) / 2, values[trim], values[n-1-trim]}
}
