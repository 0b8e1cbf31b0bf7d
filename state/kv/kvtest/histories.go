package kvtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/driver"
)

func histories() []promise {
	return []promise{
		{Name: "cas/histories are linearizable", Needs: driver.CAS, RealClock: true, Check: linearizable},
	}
}

// action is a client's operation. Every value is written once, so a value identifies its version.
type action struct {
	op         string // get, put, add (if absent), cas, delete (if version)
	key        string
	old, value string
}

// answer is the result of an action.
type answer struct {
	value string // of a get; "" if the key was absent
	done  bool   // whether the write took effect
	known bool   // whether done is known
}

// register is the model: one value per key, "" when it is absent.
func register() porcupine.Model {
	m := porcupine.NondeterministicModel{
		Partition: byKey,
		Init:      func() []any { return []any{""} },
		Step: func(state, input, output any) []any {
			return step(state.(string), input.(action), output.(answer))
		},
	}
	return m.ToModel()
}

// step returns the possible states of the key after the action, or none if the answer is impossible.
func step(state string, a action, out answer) []any {
	if a.op == "get" {
		if out.known && out.value != state {
			return nil
		}
		return []any{state}
	}
	applies, after := true, a.value
	switch a.op {
	case "add":
		applies = state == ""
	case "cas":
		applies = state == a.old
	case "delete":
		applies, after = state == a.old, ""
	}
	switch {
	case !out.known && applies:
		return []any{state, after}
	case !out.known || !out.done && !applies:
		return []any{state}
	case out.done && applies:
		return []any{after}
	default:
		return nil
	}
}

func byKey(history []porcupine.Operation) [][]porcupine.Operation {
	keys := map[string][]porcupine.Operation{}
	for _, op := range history {
		key := op.Input.(action).key
		keys[key] = append(keys[key], op)
	}
	var parts [][]porcupine.Operation
	for _, part := range keys {
		parts = append(parts, part)
	}
	return parts
}

// linearizable records the operations of several clients on a few keys, and checks with porcupine that they are linearizable.
func linearizable(r *rig) {
	total := r.HistoryOps
	if total <= 0 {
		total = 2000
	}
	const clients = 4
	began := time.Now()
	recorded := make([][]porcupine.Operation, clients)
	var group sync.WaitGroup
	for id := range clients {
		group.Go(func() {
			c := &client{rig: r, id: id, prefix: "h/", keys: max(total/500, 2), random: rand.New(rand.NewPCG(uint64(id), 7)), versions: map[string]kv.Item{}}
			for n := range total / clients {
				recorded[id] = append(recorded[id], c.act(r.Context(), n, began))
			}
		})
	}
	group.Wait()
	var history []porcupine.Operation
	for _, part := range recorded {
		history = append(history, part...)
	}
	r.judge(history)
}

// judge fails the test unless the recorded history is linearizable.
func (r *rig) judge(history []porcupine.Operation) {
	r.Helper()
	switch porcupine.CheckOperationsTimeout(register(), history, time.Minute) {
	case porcupine.Illegal:
		r.Errorf("a history of %d operations is not linearizable", len(history))
	case porcupine.Unknown:
		r.Errorf("no verdict on a history of %d operations within a minute", len(history))
	}
}

// client makes one operation after another, and remembers the versions that it has seen.
type client struct {
	*rig
	id, keys int
	prefix   string
	random   *rand.Rand
	versions map[string]kv.Item
}

func (c *client) act(ctx context.Context, n int, began time.Time) porcupine.Operation {
	ops := []string{"get", "get", "put", "add", "cas", "cas", "delete"}
	a := action{
		op:    ops[c.random.IntN(len(ops))],
		key:   fmt.Sprint(c.prefix, c.random.IntN(c.keys)),
		value: fmt.Sprintf("%d-%d", c.id, n),
	}
	seen, ok := c.versions[a.key]
	if !ok && (a.op == "cas" || a.op == "delete") {
		a.op = "get"
	}
	a.old = string(seen.Value)
	called := time.Since(began).Nanoseconds()
	out, err := c.do(ctx, a, seen.Version)
	returned := time.Since(began).Nanoseconds()
	switch {
	case err == nil, errors.Is(err, kv.ErrNotFound) && a.op == "get", errors.Is(err, kv.ErrConflict):
		out.known = true
	case ctx.Err() != nil, errors.Is(err, kv.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		returned = 1 << 62 // it may take effect at any time
	default:
		c.Errorf("%s: %v", a.op, err)
	}
	return porcupine.Operation{ClientId: c.id, Input: a, Call: called, Output: out, Return: returned}
}

func (c *client) do(ctx context.Context, a action, version kv.Version) (out answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	written := kv.Item{Value: []byte(a.value)}
	switch a.op {
	case "get":
		it, err := c.store.Get(ctx, a.key)
		if err == nil {
			c.versions[a.key] = it
		}
		return answer{value: string(it.Value)}, err
	case "put":
		written.Version, err = c.store.Put(ctx, a.key, written.Value)
	case "add":
		written.Version, err = c.store.Put(ctx, a.key, written.Value, kv.IfAbsent())
	case "cas":
		written.Version, err = c.store.Put(ctx, a.key, written.Value, kv.IfVersion(version))
	case "delete":
		err = c.store.Delete(ctx, a.key, kv.IfVersion(version))
		return answer{done: err == nil}, err
	}
	if err == nil {
		c.versions[a.key] = written
	}
	return answer{done: err == nil}, err
}
