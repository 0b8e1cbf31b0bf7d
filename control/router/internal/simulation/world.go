package simulation

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/go-os/go-os/control/router/internal/balance"
)

// World is the simulated fleet.
type World struct {
	config  Config
	random  *rand.Rand
	now     time.Duration
	events  events
	waiting []*request // in the order of their deadlines, which all are equally long
	servers []server
	clients []Client
	picked  int // the last pick, for Probe
	result  Result
	started int // requests that are measured
	left    int // those of them that have not ended
	gap     float64
}

func newWorld(config Config) *World {
	if config.Cores == 0 {
		config.Cores = 4
	}
	if config.WarmUp == 0 {
		config.WarmUp = 10 * time.Second
	}
	w := &World{
		config:  config,
		random:  rand.New(rand.NewPCG(config.Seed, 0x5eed)),
		servers: make([]server, config.Servers),
		left:    config.Requests,
	}
	w.result.PerServer = make([]int, config.Servers)
	w.result.Late = make([]int, config.Servers)
	w.gap = meanWork() / (config.Load * config.Cores * float64(config.Servers)) * float64(config.Clients)
	return w
}

// meanWork returns the mean CPU time of a request, in nanoseconds: that of a normal distribution whose negative values count as zero.
func meanWork() float64 {
	const density, below = 0.24197072451914337, 0.8413447460685429 // of the standard normal distribution, at 1
	return float64(work) * (below + density)
}

// begin schedules what starts a run.
func (w *World) begin() {
	for _, i := range w.random.Perm(len(w.servers))[:int(math.Round(crowdedShare*float64(len(w.servers))))] {
		w.servers[i].crowded = true
	}
	for i := range w.servers {
		w.servers[i].failing = i < w.config.Faults.Failing
		w.disturb(i)
	}
	for c := range w.clients {
		w.scheduleArrival(c)
		if w.config.Faults.Churn {
			w.events.add(event{at: time.Second + w.within(time.Second), kind: churn, client: int32(c)})
		}
	}
}

func (w *World) handle(e *event) {
	switch e.kind {
	case arrival:
		w.arrive(int(e.client))
	case delivery:
		w.deliver(e.request)
	case completion:
		w.complete(int(e.server), e.version)
	case answer:
		w.finish(e.request, e.load)
	case cancel:
		w.change(e.request.server, func(s *server) { s.remove(e.request) })
	case disturb:
		w.disturb(int(e.server))
	case probeSent:
		w.probe(e)
	case probeBack:
		w.clients[e.client].Probed(w.now, int(e.server), e.load)
	case churn:
		w.resolve(int(e.client))
	}
}

func (w *World) scheduleArrival(client int) {
	wait := time.Duration(w.random.ExpFloat64() * w.gap)
	w.events.add(event{at: w.now + wait, kind: arrival, client: int32(client)})
}

// arrive sends a request.
func (w *World) arrive(client int) {
	w.scheduleArrival(client)
	c := w.clients[client]
	r := &request{client: client, started: w.now, place: -1, work: w.work()}
	r.server = c.Pick(w.now)
	w.picked = r.server
	c.Sent(w.now, r)
	w.result.Sent++
	w.count(r)
	w.events.add(event{at: w.now + w.delay(), kind: delivery, request: r})
	w.waiting = append(w.waiting, r)
	for {
		server, ok := c.Probe(w.now)
		if !ok {
			return
		}
		w.result.Probes++
		if w.random.Float64() >= w.config.ProbeLoss {
			w.events.add(event{at: w.now + w.delay(), kind: probeSent, client: int32(client), server: int32(server)})
		}
	}
}

// count decides whether a request is measured.
func (w *World) count(r *request) {
	if w.now < w.config.WarmUp || w.started == w.config.Requests {
		return
	}
	w.started++
	r.measured = true
	w.result.PerServer[r.server]++
	if w.config.Faults.Frozen > 0 && w.now > w.config.Faults.FrozenAt+2*time.Second {
		w.result.Late[r.server]++
	}
}

func (w *World) deliver(r *request) {
	switch s := &w.servers[r.server]; {
	case r.done:
	case s.failing:
		r.failed = true
		w.events.add(event{at: w.now + w.delay(), kind: answer, request: r, load: s.load()})
	default:
		w.change(r.server, func(s *server) { s.start(r) })
	}
}

// change alters a server, and schedules its next completion anew.
func (w *World) change(index int, alter func(*server)) {
	s := &w.servers[index]
	s.advance(w.now)
	alter(s)
	s.version++
	if at, ok := s.completion(); ok {
		w.events.add(event{at: at, kind: completion, server: int32(index), version: s.version})
	}
}

func (w *World) complete(index int, version uint64) {
	if w.servers[index].version != version {
		return
	}
	w.change(index, func(s *server) {
		r := s.jobs[0]
		s.remove(r)
		s.signals.add(r.load, w.now-r.delivered)
		w.events.add(event{at: w.now + w.delay(), kind: answer, request: r, load: s.load()})
	})
}

func (w *World) finish(r *request, reported load) {
	if r.done {
		return
	}
	outcome := balance.Success
	if r.failed {
		outcome = balance.Fault
	}
	w.end(r, outcome)
	w.clients[r.client].Answered(w.now, r.server, reported)
}

// giveUpBefore ends the requests whose deadline is before a time.
func (w *World) giveUpBefore(at time.Duration) {
	for len(w.waiting) > 0 && (w.waiting[0].done || w.waiting[0].started+timeout <= at) {
		r := w.waiting[0]
		w.waiting = w.waiting[1:]
		if !r.done {
			w.giveUp(r)
		}
	}
}

func (w *World) giveUp(r *request) {
	w.now = r.started + timeout
	w.end(r, balance.Timeout)
	w.events.add(event{at: w.now + w.delay(), kind: cancel, request: r})
}

func (w *World) end(r *request, o balance.Outcome) {
	r.done = true
	w.clients[r.client].Done(w.now, r, o)
	if !r.measured {
		return
	}
	w.left--
	w.result.latencies = append(w.result.latencies, w.now-r.started)
	switch o {
	case balance.Timeout:
		w.result.Timeouts++
	case balance.Fault:
		w.result.Failures++
	}
}

// disturb lets the antagonists of a server change.
func (w *World) disturb(index int) {
	faults := w.config.Faults
	w.change(index, func(s *server) {
		s.frozen = index < faults.Frozen && w.now >= faults.FrozenAt
		s.cores = w.config.Cores * w.share(index)
		if index < faults.Slow {
			s.cores = 1. / 16
		}
	})
	wait := disturbance/2 + w.within(disturbance)
	if frozen := faults.FrozenAt - w.now; index < faults.Frozen && frozen > 0 {
		wait = min(wait, frozen)
	}
	w.events.add(event{at: w.now + wait, kind: disturb, server: int32(index)})
}

// share returns what antagonists leave of a machine, relative to the allocation.
func (w *World) share(index int) float64 {
	crowded := w.servers[index].crowded
	if w.config.Faults.Moving {
		crowded = w.random.Float64() < crowdedShare
	}
	switch {
	case w.config.Faults.Steady:
		return 1
	case crowded:
		return 0.5 + 0.4*w.random.Float64()
	}
	return 1.2 + 1.8*w.random.Float64()
}

// probe answers a probe.
func (w *World) probe(e *event) {
	reported := w.servers[e.server].load()
	if !reported.ok {
		return
	}
	w.events.add(event{at: w.now + w.delay(), kind: probeBack, client: e.client, server: e.server, load: reported})
}

func (w *World) resolve(client int) {
	first := w.random.IntN(w.config.Servers)
	var servers []int
	for i := range w.config.Servers {
		if (i-first+w.config.Servers)%w.config.Servers >= (w.config.Servers+9)/10 {
			servers = append(servers, i)
		}
	}
	w.clients[client].Resolve(servers)
	w.events.add(event{at: w.now + time.Second, kind: churn, client: int32(client)})
}

// work returns the CPU time of a request.
func (w *World) work() time.Duration {
	return time.Duration(math.Max(0, float64(work)*(1+w.random.NormFloat64())))
}

// delay returns the time in the network, one way.
func (w *World) delay() time.Duration { return 100*time.Microsecond + w.within(200*time.Microsecond) }

func (w *World) within(d time.Duration) time.Duration {
	return time.Duration(w.random.Int64N(int64(d)))
}
