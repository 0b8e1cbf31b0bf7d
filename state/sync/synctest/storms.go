package synctest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	gosync "sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/state/sync"
	"github.com/go-os/go-os/state/sync/driver"
)

// FaultsVariable is the environment variable that sets the number of faults in a history.
const FaultsVariable = "SYNCTEST_FAULTS"

func storms() []promise {
	return []promise{
		{Name: "storm/one holder at a time, and none who does not know it", RealClock: true, Check: storm},
	}
}

const (
	stormClients = 6
	// shortFaults and shortTime are the minimum length of a storm, unless FaultsVariable is set.
	shortFaults, shortTime = 8, 10 * time.Second
	// roundSections is the number of critical sections that change one register.
	roundSections = 2000
)

// weather is a storm of faults while several processes contend for one lock, each of which changes a register under it.
type weather struct {
	*rig
	name      string
	registers *sync.Fence // in this process's memory: they never fail
	processes []process
	passed    atomic.Int64 // faults
	sections  atomic.Int64
	fenced    atomic.Int64 // refused writes
	stopped   atomic.Int64 // holders stopped past their TTL
	began     time.Time

	mu      gosync.Mutex
	held    []stretch
	history []porcupine.Operation
	revoked map[driver.LeaseID]time.Time // time of the revocation
}

// stretch is an interval in which a process had reason to believe that it held the lock.
type stretch struct {
	token    sync.Token
	from, to time.Time
}

// change is a critical section's change of a register.
type change struct {
	register string
	old, new string
}

func storm(r *rig) {
	store := kv.New(memkv.New(nil), nil)
	defer func() { _ = store.Close() }()
	w := &weather{
		rig: r, name: r.name("m"), registers: sync.NewFence(store, nil), began: time.Now(), revoked: map[driver.LeaseID]time.Time{},
	}
	for i := range stormClients {
		open := r.open
		if i%2 == 1 && r.Beside != nil {
			open = r.Beside
		}
		w.processes = append(w.processes, r.processOn(open, sync.Options{}))
	}
	seed := uint64(time.Now().UnixNano())
	r.Logf("seed %d", seed)
	ctx, stop := context.WithCancel(r.Context())
	var group gosync.WaitGroup
	defer group.Wait() // also when a fault ends the test: no goroutine may report to it afterwards
	defer stop()
	for i, p := range w.processes {
		group.Go(func() { w.client(ctx, p, rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	counts := w.blow(rand.New(rand.NewPCG(seed, 99)))
	stop()
	group.Wait()
	for i, p := range w.processes {
		r.eventually(fmt.Sprintf("client %d to get the lock after the storm", i), func() error { return r.locks(p, w.name) })
	}
	w.judge()
	r.Logf("%d critical sections in %s; %d writes fenced off, %d holders stopped; faults: %v",
		w.sections.Load(), time.Since(w.began).Round(time.Second), w.fenced.Load(), w.stopped.Load(), counts)
}

// fault is a fault that can be undone.
type fault struct {
	name       string
	begin, end func(testing.TB)
}

// kinds returns the faults that this Backend supports.
func (w *weather) kinds(random *rand.Rand) []fault {
	nothing := func(testing.TB) {}
	slowly := func(t testing.TB) { w.Slow(t, 50*time.Millisecond, 40*time.Millisecond) }
	one := func() process { return w.processes[random.IntN(len(w.processes))] }
	var frozen process
	all := []fault{
		{"process stopped", func(testing.TB) { frozen = one(); frozen.freeze() }, func(testing.TB) { frozen.thaw() }},
		{"lease revoked", func(testing.TB) { w.revoke(one(), one()) }, nothing},
		{"answer lost", func(testing.TB) {
			p := one()
			p.mu.Lock()
			defer p.mu.Unlock()
			p.lose = 1
		}, nothing},
	}
	for _, f := range []struct {
		fault
		able bool
	}{
		{fault{"engine killed", w.Kill, w.Revive}, w.Kill != nil && w.Revive != nil},
		{fault{"engine paused", w.Pause, w.Resume}, w.Pause != nil && w.Resume != nil},
		{fault{"leader killed", w.KillLeader, w.Revive}, w.KillLeader != nil && w.Revive != nil},
		{fault{"cut", w.Cut, w.Heal}, w.Cut != nil && w.Heal != nil},
		{fault{"silent", w.Drop, w.Heal}, w.Drop != nil && w.Heal != nil},
		{fault{"slow", slowly, w.Heal}, w.Slow != nil && w.Heal != nil},
	} {
		if f.able {
			all = append(all, f.fault)
		}
	}
	return all
}

// blow injects faults, most for a moment and some for longer than a TTL, and returns the number of each kind. Call it on the test's own
// goroutine.
func (w *weather) blow(random *rand.Rand) map[string]int {
	least, long := int64(shortFaults), false
	if n, err := strconv.Atoi(os.Getenv(FaultsVariable)); err == nil && n > 0 {
		least, long = int64(n), true
	}
	kinds, counts := w.kinds(random), map[string]int{}
	for w.passed.Load() < least || time.Since(w.began) < shortTime {
		w.pass(time.Duration(100+random.IntN(400)) * time.Millisecond)
		f := kinds[random.IntN(len(kinds))]
		f.begin(w)
		lasts := time.Duration(100+random.IntN(500)) * time.Millisecond
		if random.IntN(8) == 0 {
			lasts += w.ttl + w.ttl/4
		}
		w.pass(lasts)
		f.end(w)
		counts[f.name]++
		if n := w.passed.Add(1); long && n%50 == 0 {
			fmt.Fprintf(os.Stderr, "synctest: %d of %d faults, %d critical sections after %s\n",
				n, least, w.sections.Load(), time.Since(w.began).Round(time.Second))
		}
		if w.Failed() {
			break
		}
	}
	return counts
}

// revoke revokes a lease. Its holder cannot know until its next renewal, so its belief no longer counts.
func (w *weather) revoke(victim, by process) {
	id := victim.lease()
	if id == "" {
		return
	}
	w.mu.Lock()
	if _, before := w.revoked[id]; !before {
		w.revoked[id] = time.Now()
	}
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(w.Context(), time.Second)
	defer cancel()
	_ = by.Driver.Revoke(ctx, id)
}

// client repeatedly takes the lock.
func (w *weather) client(ctx context.Context, p process, random *rand.Rand) {
	for ctx.Err() == nil {
		waits, cancel := context.WithTimeout(ctx, w.latest()+2*time.Second)
		g, err := p.Mutex(w.name).Lock(waits)
		cancel()
		switch {
		case err == nil:
			w.section(p, g, random)
		case errors.Is(err, sync.ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		default:
			w.Errorf("Lock: %v", err)
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// section reads a register and writes another value. Sometimes it is stopped in between for longer than its TTL.
func (w *weather) section(p process, g *sync.Grant, random *rand.Rand) {
	n := w.sections.Add(1)
	c := change{register: fmt.Sprint("r", n/roundSections), new: fmt.Sprint(g.Token(), ".", n)}
	from := time.Now()
	believed := g.Lost() == nil
	old, err := w.registers.Take(w.Context(), g.Token(), c.register)
	c.old = string(old)
	if random.IntN(200) == 0 {
		w.stop(p, g)
	} else {
		time.Sleep(time.Duration(random.IntN(5)) * time.Millisecond)
	}
	if err == nil || errors.Is(err, kv.ErrNotFound) {
		err = w.registers.Put(w.Context(), g.Token(), c.register, []byte(c.new))
	}
	to := time.Now()
	if g.Lost() != nil && g.Deadline().Before(to) {
		to = g.Deadline()
	}
	switch {
	case err == nil:
		w.record(c, from)
	case errors.Is(err, sync.ErrFenced):
		w.fenced.Add(1)
	default:
		w.Errorf("the register: %v", err)
	}
	if believed {
		w.believed(stretch{g.Token(), from, to}, p.leaseOf(g.Token()))
	}
	ctx, cancel := context.WithTimeout(w.Context(), 2*time.Second)
	defer cancel()
	if err := g.Release(ctx); err != nil && !errors.Is(err, sync.ErrLost) && !errors.Is(err, sync.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
		w.Errorf("Release: %v", err)
	}
}

// stop pauses a process as SIGSTOP would: it sends no requests and does nothing until the TTL is over.
func (w *weather) stop(p process, g *sync.Grant) {
	p.freeze()
	time.Sleep(w.ttl + w.ttl/8)
	if g.Lost() == nil && time.Now().After(g.Deadline()) {
		w.Error("a holder that was stopped past its TTL does not know that it has lost the lock")
	}
	w.stopped.Add(1)
	p.thaw()
}

func (w *weather) record(c change, from time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.history = append(w.history, porcupine.Operation{
		Input: c, Output: c, Call: from.Sub(w.began).Nanoseconds(), Return: time.Since(w.began).Nanoseconds(),
	})
}

// believed records a stretch, cut short if its lease was revoked.
func (w *weather) believed(s stretch, lease driver.LeaseID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at, ok := w.revoked[lease]; ok && at.Before(s.to) {
		s.to = at
	}
	if s.from.Before(s.to) {
		w.held = append(w.held, s)
	}
}

// judge fails the test if two processes believed at one time that they held the lock, or if a token did not increase. It also fails the
// test if the changes of a register are not linearizable.
func (w *weather) judge() {
	slices.SortFunc(w.held, func(a, b stretch) int { return a.from.Compare(b.from) })
	for i := 1; i < len(w.held); i++ {
		before, after := w.held[i-1], w.held[i]
		if after.from.Before(before.to) {
			w.Errorf("token %d was held for %s after %d was granted", before.token, before.to.Sub(after.from), after.token)
		}
		if after.token <= before.token {
			w.Errorf("token %d came after %d", after.token, before.token)
		}
	}
	switch porcupine.CheckOperationsTimeout(model(), w.history, time.Minute) {
	case porcupine.Illegal:
		w.Errorf("the history of %d changes is not linearizable", len(w.history))
	case porcupine.Unknown:
		w.Errorf("no verdict on a history of %d changes within a minute", len(w.history))
	}
}

// model is a set of registers that are read and written in one step.
func model() porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) (parts [][]porcupine.Operation) {
			registers := map[string][]porcupine.Operation{}
			for _, op := range history {
				name := op.Input.(change).register
				registers[name] = append(registers[name], op)
			}
			for _, part := range registers {
				parts = append(parts, part)
			}
			return parts
		},
		Init: func() any { return "" },
		Step: func(state, input, _ any) (bool, any) {
			c := input.(change)
			return state == c.old, c.new
		},
	}
}
