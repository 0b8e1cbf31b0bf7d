package suite

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// toy is a rig whose driver has the abilities in its field.
type toy struct {
	testing.TB
	abilities string
	hooks     Hooks
	closed    *atomic.Int64
}

func (r *toy) Has(ability string) bool { return strings.Contains(r.abilities, ability) }
func (r *toy) Hooks() Hooks            { return r.hooks }
func (r *toy) Close()                  { r.closed.Add(1) }

// toys returns a contract of the given promises.
func toys(promises ...Promise[*toy, string]) Contract[*toy, string] {
	return Contract[*toy, string]{
		Promises: promises,
		Open: func(t testing.TB) *toy {
			return &toy{TB: t, abilities: "read", hooks: Hooks{"Kill": true}, closed: new(atomic.Int64)}
		},
	}
}

func holds(*toy) {}

func TestResults(t *testing.T) {
	opened, closed := 0, new(atomic.Int64)
	c := toys(
		Promise[*toy, string]{Name: "first", Check: holds},
		Promise[*toy, string]{Name: "waits long", Together: true, Check: func(*toy) { time.Sleep(20 * time.Millisecond) }},
		Promise[*toy, string]{Name: "waits", Together: true, Check: holds},
		Promise[*toy, string]{Name: "writes", Needs: "write", Hook: "Drop", Check: func(r *toy) { r.Error("checked without the ability") }},
		Promise[*toy, string]{Name: "drops", Hook: "Kill and Drop", Check: func(r *toy) { r.Error("checked without the hook") }},
		Promise[*toy, string]{Name: "kills", Needs: "read", Hook: "Kill", Check: holds},
		Promise[*toy, string]{Name: "skips", Check: func(r *toy) { r.SkipNow() }},
	)
	var mu sync.Mutex
	open := c.Open
	c.Open = func(t testing.TB) *toy {
		mu.Lock()
		defer mu.Unlock()
		opened++
		r := open(t)
		r.closed = closed
		return r
	}
	got := c.Run(t)
	if want := []string{"first", "waits long", "waits", "kills"}; !slices.Equal(got.Kept, want) {
		t.Errorf("kept %q, want %q", got.Kept, want)
	}
	if want := []string{"writes"}; !slices.Equal(got.Refused, want) {
		t.Errorf("refused %q, want %q", got.Refused, want)
	}
	if want := map[string]string{"drops": "Kill and Drop"}; !maps.Equal(got.Untried, want) {
		t.Errorf("untried %q, want %q", got.Untried, want)
	}
	if int(closed.Load()) != opened {
		t.Errorf("%d of %d rigs were closed", closed.Load(), opened)
	}
}

// TestTogether: promises that may run together do so, on shared state. The others run after them.
func TestTogether(t *testing.T) {
	const n = maxConcurrent
	var running atomic.Int64
	var shared atomic.Bool
	meet := make(chan struct{})
	c := toys()
	for i := range n {
		c.Promises = append(c.Promises, Promise[*toy, string]{Name: fmt.Sprint("together ", i), Together: true, Check: func(r *toy) {
			if running.Add(1) == n {
				close(meet)
			}
			defer running.Add(-1)
			select {
			case <-meet:
			case <-time.After(10 * time.Second):
				r.Error("it runs without the others")
			}
			time.Sleep(5 * time.Millisecond)
			if r.abilities != "shared" || !shared.Load() {
				r.Error("it was not opened on what is shared, or that has ended")
			}
		}})
	}
	c.Promises = slices.Insert(c.Promises, 1, Promise[*toy, string]{Name: "alone", Check: func(r *toy) {
		if running.Load() != 0 || shared.Load() || r.abilities == "shared" {
			r.Error("it runs beside others")
		}
	}})
	c.Share = func(testing.TB) (func(testing.TB) *toy, func()) {
		shared.Store(true)
		return func(t testing.TB) *toy { return &toy{TB: t, abilities: "shared", closed: new(atomic.Int64)} }, func() { shared.Store(false) }
	}
	for i := range c.Promises {
		c.Promises[i].Needs = "" // every string contains it
	}
	if got := c.Run(t); len(got.Kept) != n+1 {
		t.Errorf("kept %q", got.Kept)
	}
}

// TestFakeClock: an hour passes at once, unless a promise needs the real clock.
func TestFakeClock(t *testing.T) {
	bubbled := func(r *toy) {
		defer func() { _ = recover() }() // outside of a bubble
		synctest.Wait()
		r.Error("it is in a bubble")
	}
	c := toys(
		Promise[*toy, string]{Name: "an hour", Together: true, Check: func(*toy) { time.Sleep(time.Hour) }},
		Promise[*toy, string]{Name: "storm/an hour", Check: func(*toy) { time.Sleep(time.Hour) }},
		Promise[*toy, string]{Name: "real", RealClock: true, Check: bubbled},
	)
	c.FakeClock = true
	if got := c.Run(t); len(got.Kept) != 3 {
		t.Errorf("kept %q", got.Kept)
	}
}

// TestLongPromises: promises that take long on a real clock are skipped unless the environment asks for them.
func TestLongPromises(t *testing.T) {
	c := toys(
		Promise[*toy, string]{Name: "faults/down", Check: holds},
		Promise[*toy, string]{Name: "ttl/survives", Hook: "Restart", Check: holds},
		Promise[*toy, string]{Name: "storm/all", Check: holds},
		Promise[*toy, string]{Name: "quick", Check: holds},
	)
	c.Open = func(t testing.TB) *toy {
		return &toy{TB: t, hooks: Hooks{"Restart": true}, closed: new(atomic.Int64)}
	}
	for value, want := range map[string]int{"off": 1, "short": 2, "on": 4} {
		t.Run(value, func(t *testing.T) {
			t.Setenv(LongVariable, value)
			if got := c.Run(t); len(got.Kept) != want {
				t.Errorf("kept %q, want %d", got.Kept, want)
			}
		})
	}
}

func TestFailures(t *testing.T) {
	c := toys(
		Promise[*toy, string]{Name: "holds", Check: holds},
		Promise[*toy, string]{Name: "broken", Check: func(r *toy) { time.Sleep(time.Hour); r.Fatal("it is broken") }},
		Promise[*toy, string]{Name: "real", RealClock: true, Check: func(r *toy) { r.Error("one"); r.Error("two") }},
	)
	c.FakeClock = true
	for name, want := range map[string][]string{"holds": nil, "broken": {"it is broken"}, "real": {"one", "two"}} {
		if got := c.Failures(t, name); !slices.Equal(got, want) {
			t.Errorf("%s reports %q, want %q", name, got, want)
		}
	}
}

// leaves starts a goroutine that remains for a while.
func leaves(*toy) { go time.Sleep(time.Minute) }

// TestLeaks runs, in another process, contracts that leave goroutines behind, and reads its report.
func TestLeaks(t *testing.T) {
	const variable = "SUITE_TEST_LEAK"
	contracts := map[string]struct {
		contract Contract[*toy, string]
		want     string // in the output; empty means that it passes
	}{
		"alone":    {toys(Promise[*toy, string]{Name: "one", Check: leaves}), "--- FAIL: TestLeaks/one"},
		"together": {toys(Promise[*toy, string]{Name: "one", Together: true, Check: leaves}, Promise[*toy, string]{Name: "two", Together: true, Check: holds}), "one; two: found unexpected goroutines"},
		"bystander": {func() Contract[*toy, string] {
			c := toys(Promise[*toy, string]{Name: "one", Check: func(*toy) { go bystander() }})
			c.Bystanders = []string{"github.com/go-os/go-os/internal/tooling/suite.bystander"}
			return c
		}(), ""},
		"until cleanup": {func() Contract[*toy, string] {
			c := toys(Promise[*toy, string]{Name: "one", Check: func(r *toy) {
				end := make(chan struct{})
				go func() { <-end }()
				r.Cleanup(func() { close(end) })
			}})
			c.OpensForTest = true
			return c
		}(), ""},
		"after cleanup": {func() Contract[*toy, string] {
			c := toys(Promise[*toy, string]{Name: "one", Check: leaves})
			c.OpensForTest = true
			return c
		}(), "--- FAIL: TestLeaks/one"},
	}
	if name := os.Getenv(variable); name != "" {
		contracts[name].contract.Run(t)
		return
	}
	for name, c := range contracts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLeaks$", "-test.v")
			cmd.Env = append(os.Environ(), variable+"="+name)
			out, err := cmd.CombinedOutput()
			if failed := err != nil; failed != (c.want != "") || !strings.Contains(string(out), c.want) {
				t.Errorf("error %v, want %q in\n%s", err, c.want, out)
			}
		})
	}
}

// bystander is a function whose goroutine is not a driver's.
func bystander() { time.Sleep(time.Minute) }
