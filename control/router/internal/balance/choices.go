package balance

import "time"

// mostChoices bounds Choices.
const mostChoices = 16

// exhausted is how many times the usual cost all that were drawn must cost to be drawn anew.
const exhausted = 4

// pickLeast returns the endpoint with the fewest requests in flight of those that it draws.
func (b *Balancer) pickLeast(now time.Duration, s *Set, tried Tried) (int, Reason) {
	best := b.drawUntried(s, tried, -1)
	if best < 0 {
		return -1, None
	}
	bestLoad := s.endpoints[best].load(now, s.weight(best))
	for range min(b.config.Choices, mostChoices) - 1 {
		i := b.drawUntried(s, tried, best)
		if i < 0 {
			return best, Only
		}
		if load := s.endpoints[i].load(now, s.weight(i)); load < bestLoad {
			best, bestLoad = i, load
		}
	}
	return best, LeastCost
}

// pickCheapest returns the cheapest endpoint of those that it draws. It draws once more if all are far dearer than usual.
func (b *Balancer) pickCheapest(now time.Duration, s *Set, tried Tried) (int, Reason) {
	usual := s.typical(now, b.config.Decay)
	best, cost, why := b.drawCheapest(now, s, tried, usual)
	if best < 0 || why != LeastCost || usual.cost == 0 || cost < exhausted*usual.cost {
		return best, why
	}
	if again, lower, why := b.drawCheapest(now, s, tried, usual); why == Forced || lower < cost {
		return again, why
	}
	return best, why
}

// drawCheapest draws endpoints, and returns the cheapest with its cost.
func (b *Balancer) drawCheapest(now time.Duration, s *Set, tried Tried, usual typical) (best int, cost float64, why Reason) {
	best = b.drawUntried(s, tried, -1)
	if best < 0 {
		return -1, 0, None
	}
	cost = s.endpoints[best].cost(now, s.weight(best), usual)
	for range min(b.config.Choices, mostChoices) - 1 {
		i := b.drawUntried(s, tried, best)
		if i < 0 {
			return best, cost, Only
		}
		loser, c := i, s.endpoints[i].cost(now, s.weight(i), usual)
		if c < cost {
			loser, best, cost = best, i, c
		}
		if b.overdue(now, s.endpoints[loser], usual) {
			return loser, cost, Forced
		}
	}
	return best, cost, LeastCost
}

// forcedGap is for how many of its turns an endpoint is left alone at least. Forced picks are thus less than 1 % of what it would get in turn,
// however few requests there are.
const forcedGap = 100

// overdue reports whether an endpoint has been left alone for so long that what is known about it may be out of date. An endpoint that fails
// or does not answer is not worth a request.
func (b *Balancer) overdue(now time.Duration, e *Endpoint, usual typical) bool {
	idle := now - time.Duration(e.lastBegin.Load())
	if idle < b.config.ForceAfter || idle < forcedGap*usual.gap {
		return false
	}
	return e.oldest.Load() == none && e.Failures(now) < 0.5
}

// drawUntried draws an endpoint by weight that was not tried and is not the one given. It returns -1 if there is none.
func (b *Balancer) drawUntried(s *Set, tried Tried, not int) int {
	for range 4 {
		i := s.draw(b.config.Random())
		if i != not && !tried.Has(s.endpoints[i]) {
			return i
		}
	}
	return b.scan(s, tried, not)
}

// scan looks for an endpoint that was not tried and is not the one given, from a random place on.
func (b *Balancer) scan(s *Set, tried Tried, not int) int {
	n := s.Len()
	start := int(b.config.Random() % uint64(n))
	for k := range n {
		i := (start + k) % n
		if i != not && s.pickable(i) && !tried.Has(s.endpoints[i]) {
			return i
		}
	}
	return -1
}
