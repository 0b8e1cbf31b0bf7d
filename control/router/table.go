package router

import (
	"cmp"
	"math/rand/v2"
	"reflect"
	"slices"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router/internal/balance"
	"github.com/go-os/go-os/control/router/internal/health"
	"github.com/go-os/go-os/control/router/internal/placement"
	"github.com/go-os/go-os/internal/bounded"
)

// table is what requests choose from. It is immutable, and made anew when instances, health or policy have changed.
type table struct {
	service    *Service
	from       *discovery.Snapshot
	policy     *policy
	until      time.Duration // when it must be made anew at the latest
	generation uint64
	endpoints  []*Endpoint // that may be connected to
	candidates []placement.Candidate
	present    []*Endpoint // by index of candidates
	known      []*Endpoint // of all instances

	all     *pool   // of requests without labels and arms
	arms    []*pool // by index of the policy's arms
	index   *placement.Index
	labeled *bounded.Cache[string, *pool]
}

// pool is the endpoints that requests of one kind are balanced over.
type pool struct {
	arm       string
	set       *balance.Set
	endpoints []*Endpoint // by index of set
	weights   []float64
	table     placement.Table
	choice    placement.Choice
	matching  []*Endpoint // that the labels or the arm of the request match, ejected ones included
	strict    bool        // the request must not go to others
	wide      *pool       // the same without zones, for retries; nil if zones do not matter
}

// maxLabelPools is how many combinations of labels have a pool that is kept.
const maxLabelPools = 4096

// table returns the present table; nil before the registry's first answer.
func (s *Service) table(now time.Duration) *table {
	view := s.view.Load()
	if view == nil {
		return nil
	}
	if s.monitor.Due(now) && s.monitor.Sweep(now) {
		s.dirty.Store(true)
	}
	t := s.current.Load()
	if t.fresh(now, view) {
		return t
	}
	if t != nil && !s.mu.TryLock() {
		return t // another request makes the next one
	} else if t == nil {
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	if t := s.current.Load(); t.fresh(now, view) { // another request has made it
		return t
	}
	return s.rebuild(view, now)
}

// fresh reports whether a table shows the present instances, health and policy.
func (t *table) fresh(now time.Duration, view *discovery.View) bool {
	return t != nil && t.from == view.Snapshot() && now < t.until && t.policy == t.service.policy() && !t.service.dirty.Load()
}

// warmUp probes the endpoints that have appeared now, which opens a connection to each.
func (s *Service) warmUp(now time.Duration, endpoints []*Endpoint) {
	for _, e := range endpoints {
		if e.born == now {
			s.startProbe(e)
		}
	}
}

// longestTable is how long a table is used at most. Absent endpoints are forgotten with the next one.
const longestTable = time.Minute

// rebuild makes the next table. s.mu is held.
func (s *Service) rebuild(view *discovery.View, now time.Duration) *table {
	s.dirty.Store(false)
	policy := s.policy()
	s.obey(now, policy)
	t := &table{service: s, from: view.Snapshot(), policy: policy}
	t.add(now)
	t.until = min(t.until, s.monitor.Until(now), now+longestTable)
	t.place()
	t.generation = s.generation(t)
	first := s.current.Swap(t) == nil
	if policy.SlowStart.WarmUp && !first {
		s.warmUp(now, t.endpoints)
	}
	s.compared(t)
	return t
}

// generation returns the generation of a table: that of the one before if the endpoints are the same.
func (s *Service) generation(t *table) uint64 {
	before := s.current.Load()
	switch {
	case before == nil:
		return 1
	case slices.Equal(before.endpoints, t.endpoints):
		return before.generation
	}
	return before.generation + 1
}

// add adds the endpoints that may get requests: all but the draining ones and those that refuse, unless no other is left.
func (t *table) add(now time.Duration) {
	known := t.service.known(now, t.from)
	t.known, t.until = known, now+longestTable
	for _, e := range known {
		if e.refusing(now) {
			t.until = min(t.until, e.refused.Load().until)
		}
	}
	chosen := filter(known, func(e *Endpoint) bool { return !e.draining() && !e.refusing(now) })
	if len(chosen) == 0 {
		chosen = filter(known, func(e *Endpoint) bool { return !e.draining() })
	}
	if len(chosen) == 0 {
		chosen = known
	}
	for _, e := range chosen {
		i := e.Instance()
		t.present = append(t.present, e)
		t.candidates = append(t.candidates, placement.Candidate{
			ID: i.ID, Zone: i.Zone, Version: i.Version, Labels: i.Labels,
			Weight:  float64(i.Weight) * e.target.Weight(now),
			Healthy: i.State == discovery.Up && !e.target.Ejected(now),
		})
	}
}

func filter(endpoints []*Endpoint, accept func(*Endpoint) bool) (accepted []*Endpoint) {
	for _, e := range endpoints {
		if accept(e) {
			accepted = append(accepted, e)
		}
	}
	return accepted
}

// known returns the endpoints of a snapshot, and forgets those that have been absent for long. s.mu is held.
func (s *Service) known(now time.Duration, from *discovery.Snapshot) []*Endpoint {
	endpoints := make([]*Endpoint, 0, len(from.Instances))
	for n := range from.Instances {
		i := &from.Instances[n]
		key := endpointKey{i.ID, i.Addresses[s.key.protocol], from.Incarnation(n)}
		e := s.endpoints[key]
		if e == nil {
			e = newEndpoint(s, key, now)
			s.endpoints[key] = e
		}
		e.instance.Store(i)
		e.seen = now
		if e.stats == nil && s.stats != nil {
			e.stats = s.stats.Endpoint(e.identity())
		}
		endpoints = append(endpoints, e)
	}
	s.forget(now)
	s.retain(now, endpoints)
	return endpoints
}

// maxAbsent is how many absent endpoints are remembered.
const maxAbsent = 1024

// forget forgets the endpoints that have been absent for long or were replaced by a new start of their process, and the longest absent ones
// beyond maxAbsent. s.mu is held.
func (s *Service) forget(now time.Duration) {
	starts := map[endpointKey]bool{} // present ones, by ID and address
	var absent []*Endpoint
	for key, e := range s.endpoints {
		if e.seen == now {
			starts[endpointKey{id: key.id, address: key.address}] = true
		} else {
			absent = append(absent, e)
		}
	}
	slices.SortFunc(absent, func(a, b *Endpoint) int { return cmp.Compare(b.seen, a.seen) })
	for n, e := range absent {
		replaced := starts[endpointKey{id: e.key.id, address: e.key.address}] && e.state.InFlight() == 0
		if !replaced && n < maxAbsent && now-e.seen <= retention {
			continue
		}
		delete(s.endpoints, e.key)
		s.counts.gone.add(&e.counts)
		if e.stats != nil {
			e.stats.Release()
		}
	}
}

// retain tells the monitor which endpoints are present.
func (s *Service) retain(now time.Duration, endpoints []*Endpoint) {
	targets := make([]*health.Target, len(endpoints))
	for i, e := range endpoints {
		targets[i] = e.target
	}
	s.monitor.Retain(now, targets)
}

// place makes the pools.
func (t *table) place() {
	everyone := indices(len(t.candidates))
	t.all = t.pool(everyone, placement.ChoseAny)
	if len(t.policy.arms) > 0 {
		t.placeArms()
	}
	t.endpoints = t.connectable()
	if len(t.policy.Labels.Allow) > 0 {
		t.index = placement.NewIndex(t.candidates)
		t.labeled = bounded.New[string, *pool](maxLabelPools)
	}
}

// placeArms makes the pools of a split. The last one is for the requests outside of all arms: it has the endpoints that no arm selects.
func (t *table) placeArms() {
	rest := slices.DeleteFunc(indices(len(t.candidates)), func(n int) bool {
		return slices.ContainsFunc(t.policy.selectors, func(s placement.Selector) bool { return s.Matches(&t.candidates[n]) })
	})
	for n, name := range t.policy.arms {
		chosen, choice := rest, placement.ChoseMatching
		if n < len(t.policy.selectors) {
			chosen, choice = placement.Choose(t.candidates, t.policy.selectors[n], placement.FallbackAny, nil)
		} else if len(rest) == 0 {
			chosen, choice = indices(len(t.candidates)), placement.ChoseAny
		}
		p := t.pool(chosen, choice)
		p.arm = name
		t.arms = append(t.arms, p)
	}
}

// pool returns the pool of the candidates with these indices.
func (t *table) pool(chosen []int, choice placement.Choice) *pool {
	p := t.placed(chosen, choice, t.policy.placement)
	if reason := p.table.Zoning.Reason; reason == placement.ZonesLocal || reason == placement.ZonesSpill {
		all := t.policy.placement
		all.LocalZone = ""
		p.wide = t.placed(chosen, choice, all)
	}
	return p
}

// placed places the candidates. If none may be used, all are: a request to one of them may succeed.
func (t *table) placed(chosen []int, choice placement.Choice, config placement.Config) *pool {
	candidates := placement.At(t.candidates, chosen)
	placed := placement.Place(candidates, &config)
	if placed.Usable == 0 && len(candidates) > 0 {
		config.PanicThreshold = 1
		for i := range candidates {
			candidates[i].Healthy = false
		}
		placed = placement.Place(candidates, &config)
	}
	p := &pool{table: placed, choice: choice}
	for n, weight := range placed.Weights {
		e := t.present[chosen[n]]
		p.matching = append(p.matching, e)
		if weight > 0 {
			p.endpoints, p.weights = append(p.endpoints, e), append(p.weights, weight)
		}
	}
	p.set = newSet(p.endpoints, p.weights)
	return p
}

func newSet(endpoints []*Endpoint, weights []float64) *balance.Set {
	states := make([]*balance.Endpoint, len(endpoints))
	for i, e := range endpoints {
		states[i] = e.state
	}
	return balance.NewSet(states, weights)
}

// connectable returns the endpoints that connections may be made to: those that requests may go to, and without a subset the ejected ones,
// which return soon.
func (t *table) connectable() []*Endpoint {
	if t.policy.Subset == 0 || len(t.present) <= t.policy.Subset {
		return slices.Clone(t.present)
	}
	used := map[*Endpoint]bool{}
	for _, p := range append([]*pool{t.all}, t.arms...) {
		for ; p != nil; p = p.wide {
			for _, e := range p.endpoints {
				used[e] = true
			}
		}
	}
	return filter(t.present, func(e *Endpoint) bool { return used[e] })
}

func indices(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// poolFor returns the pool for a request.
func (t *table) poolFor(req *Request) *pool {
	switch {
	case len(t.arms) > 0:
		if req.Arm != "" {
			if n := slices.Index(t.policy.arms, req.Arm); n >= 0 {
				return t.arms[n]
			}
		}
		if req.Key == "" {
			return t.arms[t.policy.split.Random(rand.Uint64())]
		}
		return t.arms[t.policy.split.Arm(req.Key)]
	case t.labeled != nil && len(req.Labels) > 0:
		return t.labeledPool(req.Labels)
	}
	return t.all
}

// labeledPool returns the pool of a request with labels.
func (t *table) labeledPool(labels map[string]string) *pool {
	allowed := t.policy.allowed(labels)
	if len(allowed) == 0 {
		return t.all
	}
	key := string(t.index.AppendKey(nil, allowed))
	return t.labeled.Get(key, func(string) *pool {
		l := &t.policy.Labels
		chosen, choice := placement.Choose(t.candidates, placement.Match(l.Match).Selector(allowed), placement.Fallback(l.Fallback), t.policy.standard)
		p := t.pool(chosen, choice)
		p.strict = l.Fallback == FallbackNone || l.Fallback == FallbackDefault
		return p
	})
}

func sameRecord(a, b *discovery.Instance) bool { return a == b || reflect.DeepEqual(a, b) }
