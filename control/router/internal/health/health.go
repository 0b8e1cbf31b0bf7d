// Package health judges the endpoints of a service by the results of requests. It ejects outliers for a time, and ramps up the weight of
// endpoints that are new or return.
//
//	monitor := health.New(health.Config{})
//	target := monitor.Track(now, health.Key{ID: "orders-1", Address: "10.0.0.7:8080"}, incarnation)
//	monitor.Retain(now, []*health.Target{target})
//	…
//	changed := target.Record(now, health.GatewayFault)
//	if monitor.Due(now) {
//		changed = monitor.Sweep(now) || changed
//	}
//	if !target.Ejected(now) { … target.Weight(now) … }
//
// The package has no clock and no goroutine. All times are durations since one arbitrary start, and do not decrease.
//
// # Ejection
//
// The success-rate and failure-percentage algorithms are those of gRFC A50. They judge each interval, by its requests, and need several
// endpoints with enough requests. Consecutive gateway faults eject at once, in a fleet of any size above one. So does [Monitor.Eject], for
// the open breaker of an endpoint. Differences from A50 and Envoy, each for a report:
//
//   - The maximum percentage holds after an ejection, and when endpoints leave or return (istio/istio#20135, envoyproxy/envoy#26877). One
//     endpoint may always be ejected, but never the last one (envoyproxy/envoy#3263, #17504).
//   - If there are more outliers than may be ejected, the worst ones are.
//   - Overload and local rejections do not eject (envoyproxy/envoy#25487). Cancelled requests do not count (grpc/grpc-java#12834).
//   - The multiplier of the ejection time decreases only with evidence, a success (envoyproxy/envoy#21142), and stops at the longest
//     ejection (envoyproxy/envoy#37602).
//   - A success-rate outlier is five percentage points below the mean at least (envoyproxy/envoy#18752, #37723).
//   - A target returns without the faults of before its ejection (envoyproxy/envoy#40697).
//
// # Memory
//
// A target survives ten minutes of absence, with its counters, its ejection and its ramp. A new incarnation is a new target.
package health

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// Memory is how long an absent target is remembered.
	Memory = 10 * time.Minute
	// maxAbsent bounds the absent targets of a small service. A larger one remembers as many as are present.
	maxAbsent = 1024
	// settling is how long after the first endpoints others still count as first ones: a registry may find them one by one.
	settling = 5 * time.Second
	// rampSteps is how often the weight changes in a slow start.
	rampSteps = 20

	never = time.Duration(math.MaxInt64)
)

// Monitor judges the endpoints of one service. It is safe for concurrent use.
type Monitor struct {
	config      atomic.Pointer[Config]
	consecutive atomic.Int64 // of config; MaxInt64 if it is off
	due         atomic.Int64 // when Sweep has work

	mu      sync.Mutex
	targets map[Key]*Target
	present []*Target
	round   uint64
	settled time.Duration // when new targets begin to ramp
	end     time.Duration // of the interval
	out     int           // present targets that are ejected
	next    time.Duration // no ejection of a present target ends earlier
	warned  time.Duration // when CauseMaximum was last reported
	changes []Change      // to report after mu is released
}

// New returns a Monitor. An impossible value of the configuration counts as zero: see Config.Validate.
func New(c Config) *Monitor {
	m := &Monitor{targets: map[Key]*Target{}, end: never, next: never, warned: -never}
	m.due.Store(int64(never))
	m.configure(c)
	return m
}

func (m *Monitor) configure(c Config) {
	all := c.withDefaults()
	m.config.Store(all)
	m.consecutive.Store(int64(all.Consecutive))
	if all.Off {
		m.consecutive.Store(math.MaxInt64)
	}
}

// SetConfig replaces the configuration. Ejections, counters and ramps remain, but for ejections over the new maximum: the next Sweep, which
// is due at once, ends them. Observe puts all targets back into service. Without it, observed ejections are carried out.
func (m *Monitor) SetConfig(c Config) {
	m.mu.Lock()
	defer m.unlock()
	m.configure(c)
	for _, t := range m.targets {
		m.enforce(t)
	}
	m.due.Store(math.MinInt64)
}

// unlock releases mu and reports the changes.
func (m *Monitor) unlock() {
	changes := m.changes
	m.changes = nil
	m.mu.Unlock()
	if report := m.config.Load().Changed; report != nil {
		for _, c := range changes {
			report(c)
		}
	}
}

// Track returns the target of an endpoint: the one of before if it was present within the last ten minutes and has the same incarnation. Call
// Retain when all endpoints are tracked.
func (m *Monitor) Track(now time.Duration, key Key, incarnation string) *Target {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t := m.targets[key]; t != nil && t.incarnation == incarnation && (m.has(t) || now-t.seen <= Memory) {
		return t
	}
	t := &Target{monitor: m, key: key, incarnation: incarnation, fresh: true, seen: now, rate: 1, warned: -never}
	t.ramp.Store(ramped)
	m.targets[key] = t
	return t
}

// has reports whether a target is present, and not replaced by a new incarnation.
func (m *Monitor) has(t *Target) bool {
	return t.round == m.round && m.round > 0 && m.targets[t.key] == t
}

// Retain sets the targets that are present. The others are absent. Of two targets with one key the first one is present.
func (m *Monitor) Retain(now time.Duration, present []*Target) {
	m.mu.Lock()
	defer m.unlock()
	before := m.present
	m.round++
	m.present, m.out, m.next = make([]*Target, 0, len(present)), 0, 0
	for _, t := range present {
		m.admit(t)
	}
	for _, t := range before {
		if t.round != m.round {
			t.seen = now
		}
	}
	if len(before) == 0 {
		m.settled = now + settling
	}
	m.welcome(now)
	m.forget(now)
	m.release(now)
	m.limit(now)
	m.schedule(now)
}

// admit makes a target present, unless there is another one with its key.
func (m *Monitor) admit(t *Target) {
	if other := m.targets[t.key]; t.round == m.round || other != nil && other.round == m.round {
		return
	}
	t.round = m.round
	m.targets[t.key] = t // it may have been forgotten, or replaced for a while
	m.present = append(m.present, t)
	if t.ejection.active {
		m.out++
	}
}

// welcome starts the ramp of new targets. The first ones of a service have none: there is no other target for the requests to go to.
func (m *Monitor) welcome(now time.Duration) {
	for _, t := range m.present {
		if t.fresh && now >= m.settled {
			t.ramp.Store(int64(now))
		}
		t.fresh = false
	}
}

// forget removes targets that are absent for too long, or too many.
func (m *Monitor) forget(now time.Duration) {
	var absent []*Target
	for key, t := range m.targets {
		switch {
		case m.has(t):
		case now-t.seen > Memory:
			delete(m.targets, key)
		default:
			absent = append(absent, t)
		}
	}
	excess := len(absent) - max(maxAbsent, len(m.present))
	if excess <= 0 {
		return
	}
	slices.SortFunc(absent, func(a, b *Target) int { return int(min(max(a.seen-b.seen, -1), 1)) })
	for _, t := range absent[:excess] {
		delete(m.targets, t.key)
	}
}

// Due reports whether Sweep has work: an interval or an ejection has ended.
func (m *Monitor) Due(now time.Duration) bool { return int64(now) >= m.due.Load() }

// Until returns the time at which a weight or an ejection changes next without a request. It is a time like now, not a wait. It is the largest
// Duration if there is none.
func (m *Monitor) Until(now time.Duration) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := never
	for _, t := range m.present {
		switch {
		case t.Ejected(now):
			next = min(next, t.ejection.until)
		case t.ramping(now):
			next = min(next, now+max(m.config.Load().SlowStart.Window/rampSteps, 1))
		}
	}
	return next
}

// Sweep judges the targets if the interval is over, and ends ejections whose time is up. It reports whether an ejection has begun or ended. It
// does nothing if it is not due, or while another goroutine changes the Monitor: picks need not wait for each other.
func (m *Monitor) Sweep(now time.Duration) (changed bool) {
	if !m.Due(now) || !m.mu.TryLock() {
		return false
	}
	defer m.unlock()
	if !m.Due(now) {
		return false
	}
	changed = m.release(now)
	changed = m.limit(now) || changed
	if now >= m.end {
		changed = m.judge(now) || changed
	}
	m.schedule(now)
	return changed
}

// schedule sets the time of the next Sweep.
func (m *Monitor) schedule(now time.Duration) {
	m.end = min(m.end, now+m.config.Load().Interval)
	m.due.Store(int64(min(m.end, m.next)))
}
