package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-os/go-os/control/router"
)

const (
	maxPeriods   = 9    // kept at a time, the latest ones
	maxLatencies = 1000 // of one instance and period, the latest ones
)

// tally counts the charges that each instance of payments in this process gets. A change of an instance's condition begins a new period,
// so that the counts before, during and after a fault can be compared. It is safe for concurrent use.
type tally struct {
	console *console
	states  func() map[string]string // of the instances by address, as their callers see them

	mu       sync.Mutex
	replicas []*replica
	began    time.Time // of the present period
	past     []period
}

// period is the time between two changes of conditions.
type period struct {
	from, to time.Time
	rows     []score
}

// score is what one instance did in a period.
type score struct {
	address         string
	condition       condition
	charges, failed int
	latencies       []time.Duration // the latest ones, in a ring
	state           string          // at the end of the period
}

// add adds an instance.
func (t *tally) add(r *replica, address string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r.now.address = address
	t.replicas = append(t.replicas, r)
}

// last returns the instance that was added last.
func (t *tally) last() *replica {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.replicas[len(t.replicas)-1]
}

// begin begins the first period.
func (t *tally) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.began = time.Now()
}

// charged counts a charge.
func (t *tally) charged(r *replica, took time.Duration, failed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(r.now.latencies) < maxLatencies {
		r.now.latencies = append(r.now.latencies, took)
	} else {
		r.now.latencies[r.now.charges%maxLatencies] = took
	}
	r.now.charges++
	if failed {
		r.now.failed++
	}
}

// condition returns the condition of an instance.
func (t *tally) condition(r *replica) condition {
	t.mu.Lock()
	defer t.mu.Unlock()
	return r.now.condition
}

// change changes the condition of an instance, and begins a new period.
func (t *tally) change(r *replica, to condition) {
	t.end()
	t.mu.Lock()
	r.now.condition = to
	address := r.now.address
	t.mu.Unlock()
	t.console.note("payments %s is %s now\n", address, to)
}

// end ends the present period, and begins the next one.
func (t *tally) end() {
	states := t.states()
	t.mu.Lock()
	defer t.mu.Unlock()
	ended := period{from: t.began, to: time.Now()}
	for _, r := range t.replicas {
		r.now.state = cmp.Or(states[r.now.address], "-")
		ended.rows = append(ended.rows, r.now)
		r.now = score{address: r.now.address, condition: r.now.condition}
	}
	t.began = ended.to
	if t.past = append(t.past, ended); len(t.past) > maxPeriods {
		t.past = t.past[1:]
	}
}

// rows returns a table of the periods that have ended. Times are since start.
func (t *tally) rows(start time.Time) [][]string {
	t.mu.Lock()
	defer t.mu.Unlock()
	rows := [][]string{{"period", "instance", "condition", "charges", "share", "failed", "   median", "state"}}
	for _, p := range t.past {
		span := fmt.Sprintf("%.1fs–%.1fs", p.from.Sub(start).Seconds(), p.to.Sub(start).Seconds())
		total := 0
		for _, c := range p.rows {
			total += c.charges
		}
		for _, c := range p.rows {
			rows = append(rows, append([]string{span}, c.cells(total)...))
			span = ""
		}
	}
	return rows
}

// cells returns a score as the cells of a table. The total is that of all instances.
func (c *score) cells(total int) []string {
	share := 0.0
	if total > 0 {
		share = 100 * float64(c.charges) / float64(total)
	}
	return []string{
		c.address, string(c.condition), fmt.Sprintf("%7d", c.charges), fmt.Sprintf("%3.0f %%", share), fmt.Sprintf("%6d", c.failed),
		millis(c.median()), c.state,
	}
}

// median returns the median latency; zero without charges.
func (c *score) median() time.Duration {
	if len(c.latencies) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(c.latencies))
	return sorted[len(sorted)/2]
}

// millis formats a duration in milliseconds, for a column of numbers.
func millis(d time.Duration) string {
	if d == 0 {
		return fmt.Sprintf("%9s", "-")
	}
	return fmt.Sprintf("%7.1fms", float64(d.Microseconds())/1000)
}

// statesOf returns the states of the instances of a service by address, as the services of this process see them. It has no entry for an
// instance that is not called from here.
func (s *shop) statesOf(service string) map[string]string {
	states := make(map[string]string)
	for _, svc := range s.services {
		if svc.router == nil {
			continue
		}
		for _, status := range svc.router.Status() {
			if status.Service != service {
				continue
			}
			for _, e := range status.Endpoints {
				states[e.Address] = stateFor(e)
			}
		}
	}
	return states
}

// stateFor returns the state of an instance for the service that calls it.
func stateFor(e router.EndpointStatus) string {
	if e.Returns == 0 {
		return e.State
	}
	return e.State + ": " + strings.ReplaceAll(e.Reason, "_", " ")
}
