package balance

import (
	"math"
	"slices"
	"sync"
	"time"
)

// mostProbes bounds the probes of a Balancer that are on their way or in the pool.
const mostProbes = 64

// Probes describes the probes of Prequal and Auto. The defaults are those of section 5 of the paper.
type Probes struct {
	// Rate is how many probes a request causes. Default: 3.
	Rate float64
	// Remove is how many probes a request removes from the pool, the oldest and the worst by turns. Default: 1.
	Remove float64
	// Pool bounds the answers that are kept, at most 64. A request uses the best of them, but of no more than a quarter of the endpoints.
	// Default: 16.
	Pool int
	// Age is how long an answer is used. Default: 1 s.
	Age time.Duration
	// Hot is the quantile of requests in flight above which an endpoint is hot. Default: 0.84.
	Hot float64
	// Reuse is δ of the formula for how many requests use one answer. Default: 1.
	Reuse float64
}

func (p Probes) withDefaults() Probes {
	return Probes{
		Rate:   orDefault(p.Rate, 3),
		Remove: orDefault(p.Remove, 1),
		Pool:   min(orDefault(p.Pool, 16), mostProbes),
		Age:    orDefault(p.Age, time.Second),
		Hot:    min(orDefault(p.Hot, 0.84), 1),
		Reuse:  orDefault(p.Reuse, 1),
	}
}

// reuses returns how many requests may use one answer (b_reuse in the paper).
func (p Probes) reuses(endpoints int) float64 {
	n := float64(endpoints)
	left := (1-float64(p.size(endpoints))/n)*p.Rate - p.Remove
	if left <= 0 {
		return mostProbes
	}
	return min(max(1, (1+p.Reuse)/left), mostProbes)
}

// size returns of how many answers a request uses one. In a small fleet a large pool holds every endpoint, and all clients choose the same.
func (p Probes) size(endpoints int) int { return max(min(p.Pool, (endpoints+3)/4), 2) }

// A pool holds the probes of a Balancer: those on their way, and the answers.
type pool struct {
	mu      sync.Mutex
	probes  [mostProbes]probe
	n       int
	due     float64 // probes that requests have caused and that are not sent yet
	removal float64 // answers that requests have caused to be removed and that are not removed yet
	worst   bool    // the next removal takes the worst answer, not the oldest

	recent  [64]float64 // requests in flight of the last answers
	answers int
	hot     float64 // more requests in flight are hot
}

// A probe is on its way until the endpoint has a report that is younger.
type probe struct {
	endpoint *Endpoint
	set      *Set // for which index is right
	index    int
	sent     time.Duration
	uses     int // requests that may use the answer
	answered bool
}

// Probe returns an endpoint to probe now. Call it after Pick, until ok is false. Pass what the probe learns to [Endpoint.Report] or
// [Endpoint.ProbeRefused]. Policies without probes return false.
func (b *Balancer) Probe(now time.Duration, s *Set, picked int) (index int, ok bool) {
	if b.config.Policy != Prequal && b.config.Policy != Auto {
		return -1, false
	}
	p := &b.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.due >= 1 && s.Len() > 1 {
		p.due--
		if i := b.target(now, s, picked); i >= 0 {
			p.add(probe{endpoint: s.endpoints[i], set: s, index: i, sent: now, uses: b.uses(s.Len())})
			return i, true
		}
	}
	return -1, false
}

// target draws an endpoint to probe, or returns -1. The caller holds the lock of the pool.
func (b *Balancer) target(now time.Duration, s *Set, picked int) int {
	for range 4 {
		i := int(b.config.Random() % uint64(s.Len()))
		e := s.endpoints[i]
		if i == picked || !s.pickable(i) || !e.probeable(now) || b.pool.sentNow(now, e) {
			continue
		}
		if b.config.Policy == Auto && !e.probed.Load() {
			return -1 // the requests of this client are enough
		}
		return i
	}
	return -1
}

// uses returns how many requests may use an answer: the number of the formula, rounded up or down at random.
func (b *Balancer) uses(endpoints int) int {
	reuses := b.config.Probes.reuses(endpoints)
	whole := math.Floor(reuses)
	if float64(b.config.Random()>>11)/(1<<53) < reuses-whole {
		whole++
	}
	return int(whole)
}

// sentNow reports whether a probe of the endpoint is on its way.
func (p *pool) sentNow(now time.Duration, e *Endpoint) bool {
	for i := range p.n {
		if p.probes[i].endpoint == e && !p.probes[i].answered {
			return true
		}
	}
	return false
}

// add adds a probe. It replaces an older one of the same endpoint, or the oldest if there are too many.
func (p *pool) add(sent probe) {
	place := p.n
	for i := range p.n {
		if p.probes[i].endpoint == sent.endpoint {
			place = i
		}
	}
	switch {
	case place < p.n:
		p.drop(place)
	case p.n == mostProbes:
		p.drop(0)
	}
	p.probes[p.n] = sent
	p.n++
}

// drop removes a probe. The others stay in the order of their sending.
func (p *pool) drop(i int) {
	copy(p.probes[i:p.n-1], p.probes[i+1:p.n])
	p.n--
	p.probes[p.n] = probe{}
}

// account counts a request: it causes probes, and the removal of answers.
func (p *pool) account(config *Probes) {
	p.due = min(p.due+config.Rate, 2*config.Rate+1)
	p.removal += config.Remove
	for ; p.removal >= 1; p.removal-- {
		p.remove()
	}
}

// remove removes the oldest or the worst answer.
func (p *pool) remove() {
	p.worst = !p.worst
	victim := -1
	for i := range p.n {
		switch q := &p.probes[i]; {
		case !q.answered:
		case victim < 0:
			victim = i
		case p.worst && p.better(&p.probes[victim], q):
			victim = i
		}
		if victim >= 0 && !p.worst {
			break
		}
	}
	if victim >= 0 {
		p.drop(victim)
	}
}

// better reports whether the hot/cold rule prefers a to b.
func (p *pool) better(a, b *probe) bool {
	return preferred(a.endpoint.reportedLoad(), float64(a.endpoint.report.latency.Load()),
		b.endpoint.reportedLoad(), float64(b.endpoint.report.latency.Load()), p.hot)
}

// preferred is the hot/cold rule: of two cold endpoints the one with the lower latency, otherwise the one with fewer requests in flight.
func preferred(load, latency, otherLoad, otherLatency, hot float64) bool {
	switch cold, otherCold := load <= hot, otherLoad <= hot; {
	case cold && otherCold:
		return latency < otherLatency
	case cold != otherCold:
		return cold
	}
	return load < otherLoad
}

// collect notices the answers that have come, and drops those that are too old and those beyond the size of the pool.
func (p *pool) collect(now, age time.Duration, size int) {
	held, answered := 0, 0
	for i := range p.n {
		q := p.probes[i]
		if !q.answered && q.endpoint.report.probedAt.Load() >= int64(q.sent) {
			q.answered = true
			p.sample(float64(q.endpoint.report.inFlight.Load()))
		}
		since := q.sent
		if q.answered {
			since = time.Duration(q.endpoint.report.at.Load())
			answered++
		}
		if now-since > age {
			if q.answered {
				answered--
			}
			continue
		}
		p.probes[held] = q
		held++
	}
	clear(p.probes[held:p.n])
	p.n = held
	for ; answered > size; answered-- {
		p.dropOldest()
	}
}

// dropOldest removes the oldest answer.
func (p *pool) dropOldest() {
	for i := range p.n {
		if p.probes[i].answered {
			p.drop(i)
			return
		}
	}
}

// sample adds requests in flight to the distribution of which hot is a quantile.
func (p *pool) sample(inFlight float64) {
	p.recent[p.answers%len(p.recent)] = inFlight
	p.answers++
}

// quantile renews the limit of what is hot.
func (p *pool) quantile(q float64) {
	sorted := p.recent
	known := sorted[:min(p.answers, len(sorted))]
	if len(known) == 0 {
		return
	}
	slices.Sort(known)
	p.hot = known[min(int(q*float64(len(known))), len(known)-1)]
}

// choose returns the best of the newest answers that the request may use, or -1, and how many there are.
func (p *pool) choose(now time.Duration, s *Set, tried Tried, size int, usual float64) (best, candidates int, cold bool) {
	best = -1
	var bestLoad, bestLatency float64
	for i := p.newest(s, tried, size); i < p.n; i++ {
		q := &p.probes[i]
		if !q.usable(s, tried) {
			continue
		}
		candidates++
		penalty := q.endpoint.penalty(now)
		load, latency := (q.endpoint.reportedLoad()+1)*penalty-1, q.endpoint.reportedLatency(now, usual)*penalty
		if best < 0 || preferred(load, latency, bestLoad, bestLatency, p.hot) {
			best, bestLoad, bestLatency = i, load, latency
		}
	}
	return best, candidates, bestLoad <= p.hot
}

// newest returns where the newest answers that the request may use begin, size of them at most.
func (p *pool) newest(s *Set, tried Tried, size int) int {
	i := p.n
	for ; i > 0 && size > 0; i-- {
		if p.probes[i-1].usable(s, tried) {
			size--
		}
	}
	return i
}

// usable reports whether a request may use the answer.
func (q *probe) usable(s *Set, tried Tried) bool {
	return q.answered && q.locate(s) && !tried.Has(q.endpoint)
}

// locate finds the place of the endpoint in the set.
func (q *probe) locate(s *Set) bool {
	if q.set != s {
		i, ok := s.index(q.endpoint)
		if !ok {
			i = -1
		}
		q.set, q.index = s, i
	}
	return q.index >= 0 && s.pickable(q.index)
}

// pickProbed returns the endpoint of the best answer in the pool. Without two answers it picks the cheapest.
func (b *Balancer) pickProbed(now time.Duration, s *Set, tried Tried) (int, Reason) {
	if i, why := b.pickFromPool(now, s, tried); i >= 0 {
		return i, why
	}
	i, why := b.pickCheapest(now, s, tried)
	if why == LeastCost {
		why = Fallback
	}
	return i, why
}

// pickFromPool returns the endpoint of the best answer in the pool, or -1.
func (b *Balancer) pickFromPool(now time.Duration, s *Set, tried Tried) (int, Reason) {
	p := &b.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n == 0 {
		p.account(&b.config.Probes)
		return -1, None
	}
	before := p.answers
	p.collect(now, b.config.Probes.Age, b.config.Probes.Pool)
	if before/16 != p.answers/16 || p.answers < 16 && before != p.answers {
		p.quantile(b.config.Probes.Hot)
	}
	best, candidates, cold := p.choose(now, s, tried, b.config.Probes.size(s.Len()), s.typical(now, b.config.Decay).latency)
	index := -1
	if candidates >= 2 {
		q := &p.probes[best]
		index = q.index
		if q.uses--; q.uses <= 0 {
			p.drop(best)
		}
	}
	p.account(&b.config.Probes)
	if cold {
		return index, Cold
	}
	return index, Hot
}
