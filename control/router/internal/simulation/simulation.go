// Package simulation runs policies of load balancing against simulated servers, in simulated time.
//
//	result := simulation.Run(simulation.Config{Clients: 100, Servers: 100, Load: 0.9, Requests: 100_000, Seed: 1}, simulation.Ours(balance.Auto))
//	fmt.Println(result.Quantile(0.99))
//
// The model is that of section 5 of the Prequal paper (Wydick et al., NSDI 2024). Every server has an allocation of cores on a machine that
// antagonists share. What the antagonists leave changes every 2 s on average: one machine in ten leaves less than the allocation. A request
// needs CPU time of a normal distribution with σ = μ, without negative values. A request without an answer in 5 s is a timeout.
//
// The policies of package balance run as they are. Baselines from other libraries are written anew here.
package simulation

import (
	"slices"
	"time"

	"github.com/go-os/go-os/control/router/internal/balance"
)

const (
	// timeout is the deadline of a request.
	timeout = 5 * time.Second
	// work is μ and σ of the CPU time of a request.
	work = 62 * time.Millisecond
	// disturbance is how long antagonists stay the same, on average.
	disturbance = 2 * time.Second
	// crowdedShare is the share of machines whose antagonists leave less than the allocation.
	crowdedShare = 0.1
)

// Config describes a run. Zero fields have their defaults.
type Config struct {
	Clients, Servers int
	// Load is the CPU time that requests need, relative to the allocation of the servers.
	Load float64
	// Cores is the allocation of one server. Default: 4.
	Cores float64
	// Requests is how many requests are measured: as many as start after the warm-up. The run ends when the last of them has ended.
	Requests int
	// WarmUp is how long nothing is measured. Default: 10 s.
	WarmUp time.Duration
	Seed   uint64
	// ProbeLoss is the share of probes that are lost.
	ProbeLoss float64
	// Faults are what goes wrong.
	Faults Faults
}

// Faults describes what goes wrong in a run.
type Faults struct {
	// Frozen is how many servers stop without a reset, FrozenAt when.
	Frozen   int
	FrozenAt time.Duration
	// Failing is how many servers fail every request at once.
	Failing int
	// Slow is how many servers are slower by a factor of 16.
	Slow int
	// Churn makes every client resolve the service anew every second: each time another tenth of the servers is missing.
	Churn bool
	// Steady is a run without antagonists: every server has exactly its allocation.
	Steady bool
	// Moving makes antagonists move: whichever machine leaves too little changes every 2 s, too.
	Moving bool
}

// A request is one request of a client.
type request struct {
	client, server int
	started        time.Duration // at the client
	delivered      time.Duration // at the server
	work           time.Duration
	finish         float64 // virtual time of the server
	place          int     // among the jobs of the server; -1: not there
	load           int     // requests in flight at its arrival
	measured       bool
	done           bool
	failed         bool
	ticket         balance.Ticket
}

// Result is what a run has measured.
type Result struct {
	latencies          []time.Duration // sorted; a timeout counts 5 s
	Timeouts, Failures int
	// Sent and Probes are the requests and the probes of the whole run.
	Sent, Probes int
	// PerServer are the requests sent to each server. Late are those sent more than 2 s after a server has frozen.
	PerServer, Late []int
}

// Requests returns how many requests were measured.
func (r *Result) Requests() int { return len(r.latencies) }

// Quantile returns a quantile of the latency, from 0 to 1.
func (r *Result) Quantile(q float64) time.Duration {
	if len(r.latencies) == 0 {
		return 0
	}
	return r.latencies[min(int(q*float64(len(r.latencies))), len(r.latencies)-1)]
}

// A Policy makes the balancer of one client.
type Policy func(*World) Client

// A Client is the balancer of one client.
type Client interface {
	// Pick returns the server of a request.
	Pick(now time.Duration) int
	// Sent and Done see every request.
	Sent(now time.Duration, r *request)
	Done(now time.Duration, r *request, o balance.Outcome)
	// Probe returns a server to probe after a pick, until ok is false.
	Probe(now time.Duration) (server int, ok bool)
	Probed(now time.Duration, server int, l load)
	// Answered takes in the load that a server reports with an answer.
	Answered(now time.Duration, server int, l load)
	// Resolve replaces the servers.
	Resolve(servers []int)
}

// Run simulates a fleet.
func Run(config Config, policy Policy) *Result {
	w := newWorld(config)
	for range config.Clients {
		w.clients = append(w.clients, policy(w))
	}
	w.begin()
	for w.left > 0 {
		w.giveUpBefore(w.events.heap[0].at)
		e := w.events.next()
		w.now = e.at
		w.handle(&e)
	}
	slices.Sort(w.result.latencies)
	return &w.result
}
