package kvtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/driver"
)

// OpsVariable is the environment variable that sets the number of operations of the histories under faults.
const OpsVariable = "KVTEST_OPS"

func storms() []promise {
	return []promise{
		{Name: "storm/histories are linearizable", Needs: driver.CAS | driver.Durable, Hook: "a fault", Check: linearizableInStorm},
		{Name: "storm/no acknowledged write is lost", Needs: driver.Durable, Hook: "a fault", Check: durableInStorm},
	}
}

// fault is a fault of an engine or its network that can be undone.
type fault struct {
	name       string
	begin, end func(testing.TB)
}

// storms returns the faults that the Backend has hooks for.
func (b Backend) storms() (all []fault) {
	slowly := func(t testing.TB) { b.Slow(t, 50*time.Millisecond, 40*time.Millisecond) }
	for _, f := range []struct {
		fault
		able bool
	}{
		{fault{"killed", b.Kill, b.Revive}, b.Kill != nil && b.Revive != nil},
		{fault{"paused", b.Pause, b.Resume}, b.Pause != nil && b.Resume != nil},
		{fault{"leader killed", b.KillLeader, b.Revive}, b.KillLeader != nil && b.Revive != nil},
		{fault{"cut", b.Cut, b.Heal}, b.Cut != nil && b.Heal != nil},
		{fault{"silent", b.Drop, b.Heal}, b.Drop != nil && b.Heal != nil},
		{fault{"slow", slowly, b.Heal}, b.Slow != nil && b.Heal != nil},
	} {
		if f.able {
			all = append(all, f.fault)
		}
	}
	return all
}

// weather injects faults until ctx ends, each for a moment, and returns the number of each kind. passed counts them as they end. Call it
// on the test's own goroutine.
func (r *rig) weather(ctx context.Context, random *rand.Rand, passed *atomic.Int64) map[string]int {
	faults, counts := r.storms(), map[string]int{}
	between := func(least, most time.Duration) {
		timer := time.NewTimer(least + time.Duration(random.Int64N(int64(most-least))))
		defer timer.Stop()
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
	}
	for ctx.Err() == nil {
		if between(100*time.Millisecond, 500*time.Millisecond); ctx.Err() != nil {
			break
		}
		f := faults[random.IntN(len(faults))]
		f.begin(r)
		between(100*time.Millisecond, 600*time.Millisecond)
		f.end(r)
		counts[f.name]++
		passed.Add(1)
	}
	return counts
}

// seed returns a random source and logs its seed.
func (r *rig) seed() *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	r.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

const (
	stormClients = 8
	// roundOps and roundKeys keep each key's history short enough for the checker.
	roundOps, roundKeys = 8000, 80
	shortOps            = 8000
	// leastFaults is the minimum number of faults in a history, however fast the engine is.
	leastFaults = 5
)

// linearizableInStorm is linearizable while the engine and the network fail. It checks a long history in rounds, each on its own keys,
// while the faults continue.
func linearizableInStorm(r *rig) {
	total := shortOps
	if n, err := strconv.Atoi(os.Getenv(OpsVariable)); err == nil && n > 0 {
		total = n
	}
	random := r.seed()
	var done, unknown, passed atomic.Int64
	began := time.Now()
	ctx, stop := context.WithCancel(r.Context())
	var group sync.WaitGroup
	defer group.Wait() // also when a fault ends the test: no goroutine may report to it afterwards
	defer stop()
	group.Go(func() {
		defer stop()
		for round := 0; (int(done.Load()) < total || passed.Load() < leastFaults) && !r.Failed() && ctx.Err() == nil; round++ {
			history := r.round(ctx, round, roundOps)
			done.Add(int64(len(history)))
			for _, op := range history {
				if !op.Output.(answer).known {
					unknown.Add(1)
				}
			}
			if ctx.Err() != nil {
				return
			}
			r.judge(history)
			if total > shortOps {
				fmt.Fprintf(os.Stderr, "kvtest: %d of %d operations under faults after %s\n", done.Load(), total, time.Since(began).Round(time.Second))
			}
		}
	})
	counts := r.weather(ctx, random, &passed)
	group.Wait()
	r.Logf("%d operations in %s, the outcome of %d unknown; faults: %v", done.Load(), time.Since(began).Round(time.Second), unknown.Load(), counts)
}

// round records the concurrent operations of several clients.
func (r *rig) round(ctx context.Context, number, ops int) []porcupine.Operation {
	began := time.Now()
	recorded := make([][]porcupine.Operation, stormClients)
	var group sync.WaitGroup
	for id := range stormClients {
		group.Go(func() {
			c := &client{
				rig: r, id: id, keys: roundKeys, prefix: fmt.Sprintf("s/%d/", number),
				random: rand.New(rand.NewPCG(uint64(id), uint64(number))), versions: map[string]kv.Item{},
			}
			for n := range max(ops/stormClients, 1) {
				op := c.act(ctx, n, began)
				recorded[id] = append(recorded[id], op)
				if !op.Output.(answer).known {
					c.wait(ctx)
				}
				if ctx.Err() != nil {
					return
				}
			}
		})
	}
	group.Wait()
	var history []porcupine.Operation
	for _, part := range recorded {
		history = append(history, part...)
	}
	return history
}

// wait returns when the engine answers again. A client that kept writing would fill the history with writes of unknown outcome. Each of
// them could take effect at any later time, which is too much for a checker.
func (c *client) wait(ctx context.Context) {
	for ctx.Err() == nil {
		within, cancel := context.WithTimeout(ctx, time.Second)
		_, err := c.store.Get(within, "any")
		cancel()
		if err == nil || errors.Is(err, kv.ErrNotFound) {
			return
		}
		pause(c, 20*time.Millisecond)
	}
}

// durableInStorm runs several clients, each of which writes one key after another and remembers the acknowledged writes. After a number
// of keys, a client overwrites its first ones.
func durableInStorm(r *rig) {
	const lasts, keys = 8 * time.Second, 2000
	random := r.seed()
	life, end := context.WithCancel(r.Context())
	ctx, stop := context.WithTimeout(life, lasts)
	defer stop()
	var acknowledged, tried [stormClients][keys]int
	key := func(id, slot int) string { return fmt.Sprintf("ack/%d/%d", id, slot) }
	var group sync.WaitGroup
	defer group.Wait() // also when a fault ends the test: no goroutine may report to it afterwards
	defer end()
	for id := range stormClients {
		group.Go(func() {
			for n := 1; ctx.Err() == nil; n++ {
				tried[id][n%keys] = n
				call, cancel := context.WithTimeout(life, 2*time.Second)
				_, err := r.store.Put(call, key(id, n%keys), fmt.Append(nil, n))
				cancel()
				if err == nil {
					acknowledged[id][n%keys] = n
				} else {
					(&client{rig: r}).wait(life)
				}
			}
		})
	}
	counts := r.weather(ctx, random, new(atomic.Int64))
	group.Wait()
	r.eventually("the engine to answer after the storm", func() error { return r.store.Ping(r.context()) })
	writes := 0
	for id := range stormClients {
		for slot, least := range acknowledged[id] {
			if least > 0 {
				writes++
				r.between(key(id, slot), least, tried[id][slot])
			}
		}
	}
	r.Logf("%d keys with acknowledged writes; faults: %v", writes, counts)
}

// between fails the test unless a key holds a number from least to most.
func (r *rig) between(key string, least, most int) {
	r.Helper()
	var it kv.Item
	r.eventually("a read after the storm", func() (err error) {
		it, err = r.store.Get(r.context(), key)
		if errors.Is(err, kv.ErrNotFound) {
			return nil
		}
		return err
	})
	if n, err := strconv.Atoi(string(it.Value)); err != nil || n < least || n > most {
		r.Errorf("%q: %d was acknowledged, %d tried, and there is %q", key, least, most, it.Value)
	}
}
