package health

import (
	"math/rand/v2"
	"time"
)

// Reasons of ejections. An open breaker has its own: see Monitor.Eject.
const (
	ReasonConsecutive       = "consecutive_faults"
	ReasonSuccessRate       = "success_rate"
	ReasonFailurePercentage = "failure_percentage"
)

// Causes for which an ejection is not carried out, or ends early.
const (
	CauseObserve     = "observe"     // Config.Observe
	CauseMaximum     = "maximum"     // Config.MaxPercent, or the last endpoint
	CauseEnforcement = "enforcement" // the enforcement percentage
)

// Change is an ejection that began, ended, or was not carried out.
type Change struct {
	Target *Target
	// Reason of the ejection.
	Reason string
	// Ended is set if the target returns to service. Otherwise it is ejected until a time.
	Ended bool
	Until time.Duration
	// Unenforced is the cause for which the ejection is not carried out. It is reported once an interval: CauseMaximum for all targets
	// together, the others for each target.
	Unenforced string
}

// ejection is the last ejection of a target.
type ejection struct {
	active       bool // until a Sweep has ended it
	reason       string
	since, until time.Duration
}

// Eject takes a target out of service until a time, or longer if it is ejected already. It is how an open breaker ejects: the same maximum
// holds. It reports whether the target is out of service. It does not lengthen later ejections: a breaker has its own backoff.
func (m *Monitor) Eject(now time.Duration, t *Target, reason string, until time.Duration) bool {
	m.mu.Lock()
	defer m.unlock()
	m.release(now)
	switch {
	case t.ejection.until <= now:
		m.eject(now, t, ejection{true, reason, now, until}, DefaultEnforcement)
	case t.ejection.until < until:
		t.ejection.until = until
		m.enforce(t)
	}
	m.schedule(now)
	return t.Ejected(now)
}

func (m *Monitor) ejectConsecutive(now time.Duration, t *Target) bool {
	m.mu.Lock()
	defer m.unlock()
	m.release(now)
	if t.run.Load() < m.consecutive.Load() {
		return false // another goroutine was first
	}
	t.run.Store(0)
	if t.ejection.until > now {
		return false
	}
	changed := m.ejectFor(now, now, t, ReasonConsecutive, DefaultEnforcement)
	m.schedule(now)
	return changed
}

// ejectFor ejects an outlier, for a time that grows with each ejection, from a time that may have passed.
func (m *Monitor) ejectFor(now, from time.Duration, t *Target, reason string, enforcement int) bool {
	c := m.config.Load()
	n := time.Duration(t.multiplier + 1)
	if n > c.MaxEjection/c.BaseEjection {
		n = (c.MaxEjection + c.BaseEjection - 1) / c.BaseEjection
	}
	until := from + min(n*c.BaseEjection, c.MaxEjection)
	if until <= now || !m.eject(now, t, ejection{true, reason, from, until}, enforcement) {
		return false
	}
	t.multiplier = int(n)
	return t.Ejected(now)
}

// eject begins an ejection, unless something forbids it. The maximum does not hold for an absent target before it returns: see Retain.
func (m *Monitor) eject(now time.Duration, t *Target, e ejection, enforcement int) bool {
	if e.until <= now || m.targets[t.key] != t {
		return false
	}
	if cause := m.forbids(t, enforcement); cause != "" {
		m.warn(now, t, e, cause)
		return false
	}
	t.ejection = e
	t.times++
	if m.has(t) {
		m.out++
		m.next = min(m.next, e.until)
	}
	t.run.Store(0)
	t.counts.Store(0)
	m.enforce(t)
	if m.config.Load().Observe {
		m.warn(now, t, e, CauseObserve)
	} else {
		m.changes = append(m.changes, Change{Target: t, Reason: e.reason, Until: e.until})
	}
	return true
}

// forbids returns the cause for which a target must not be ejected, or "".
func (m *Monitor) forbids(t *Target, enforcement int) string {
	switch {
	case m.has(t) && m.out >= m.allowed():
		return CauseMaximum
	case enforcement < 100 && int(m.random()%100) >= enforcement:
		return CauseEnforcement
	}
	return ""
}

func (m *Monitor) random() uint64 {
	if draw := m.config.Load().Random; draw != nil {
		return draw()
	}
	return rand.Uint64()
}

// warn reports an ejection that is not carried out. In an outage of all targets one report of the maximum suffices.
func (m *Monitor) warn(now time.Duration, t *Target, e ejection, cause string) {
	last := &t.warned
	if cause == CauseMaximum {
		last = &m.warned
	}
	if now-m.config.Load().Interval < *last {
		return
	}
	*last = now
	m.changes = append(m.changes, Change{Target: t, Reason: e.reason, Until: e.until, Unenforced: cause})
}

// allowed returns how many of the present targets may be ejected.
func (m *Monitor) allowed() int {
	n := len(m.present)
	return min(max(n*m.config.Load().MaxPercent/100, 1), n-1)
}

// enforce makes requests see the ejection of a target, or none if the ejections are only observed.
func (m *Monitor) enforce(t *Target) {
	switch {
	case !t.ejection.active:
	case !m.config.Load().Observe:
		t.ramp.Store(int64(t.ejection.until))
		t.barred.Store(int64(t.ejection.until))
	case t.barred.Swap(0) != 0:
		t.ramp.Store(ramped)
	}
}

// release ends the ejections whose time is up.
func (m *Monitor) release(now time.Duration) (changed bool) {
	if now < m.next {
		return false
	}
	m.next = never
	for _, t := range m.present {
		switch {
		case !t.ejection.active:
		case t.ejection.until <= now:
			changed = m.restore(t) || changed
		default:
			m.next = min(m.next, t.ejection.until)
		}
	}
	return changed
}

// limit ends the ejections that are over the maximum because endpoints have left or returned. Those next to their end go first.
func (m *Monitor) limit(now time.Duration) (changed bool) {
	for m.out > max(m.allowed(), 0) {
		var next *Target
		for _, t := range m.present {
			if t.ejection.active && (next == nil || t.ejection.until < next.ejection.until) {
				next = t
			}
		}
		next.ejection.until = now
		changed = m.restore(next) || changed
	}
	return changed
}

// restore puts a target back into service. Its counters start anew (envoyproxy/envoy#40697).
func (m *Monitor) restore(t *Target) (changed bool) {
	t.ejection.active = false
	m.out--
	t.run.Store(0)
	t.counts.Store(0)
	if t.barred.Swap(0) == 0 {
		return false // it was only observed
	}
	t.ramp.Store(int64(t.ejection.until))
	m.changes = append(m.changes, Change{Target: t, Reason: t.ejection.reason, Until: t.ejection.until, Ended: true})
	return true
}
