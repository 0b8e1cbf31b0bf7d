package dnsdiscovery_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/go-os/go-os/control/discovery/dnsdiscovery"
	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/internal/tooling/testenv"
)

// fleet answers questions for SRV records with targets, of which only some resolve. It is silent about the others.
type fleet struct {
	mu      sync.Mutex
	targets map[string]bool // whether a target resolves
	asked   map[string]int  // how often, by target
}

// set adds a target, or changes whether it resolves.
func (f *fleet) set(target string, resolves bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.targets[target] = resolves
}

// count returns how often a target was asked for.
func (f *fleet) count(target string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked[target]
}

// remove removes a target.
func (f *fleet) remove(target string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.targets, target)
}

// reply implements reply.
func (f *fleet) reply(_ string, q, a dnsmessage.Message) [][]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := q.Questions[0].Name.String()
	a.Answers = nil
	if q.Questions[0].Type == dnsmessage.TypeSRV {
		for target := range f.targets {
			a.Answers = append(a.Answers, record(name, &dnsmessage.SRVResource{Port: 80, Weight: 1, Target: dnsmessage.MustNewName(target + ".example.")}))
		}
		return packed(a)
	}
	target := strings.TrimSuffix(name, ".example.")
	f.asked[target]++
	if !f.targets[target] {
		return nil
	}
	a.Answers = append(a.Answers, record(name, &dnsmessage.AResource{A: [4]byte{10, 0, 0, 1}}))
	a.Answers[0].Header.TTL = 0
	return packed(a)
}

// newFleet starts a server for targets, of which many do not resolve.
func newFleet(t *testing.T, dead int, alive ...string) (*fleet, *responder) {
	f := &fleet{targets: map[string]bool{}, asked: map[string]int{}}
	for n := range dead {
		f.set(fmt.Sprintf("dead%d", n), false)
	}
	for _, target := range alive {
		f.set(target, true)
	}
	return f, newResponder(t, f.reply)
}

// TestDeadTargets resolves many targets with silent servers. Those that resolve are found, and change, without waiting for them.
func TestDeadTargets(t *testing.T) {
	t.Parallel()
	f, s := newFleet(t, 40, "a")
	o := options(srv, s.address)
	o.Timeout, o.MinTTL, o.MaxTTL = 4*time.Second, 50*time.Millisecond, 50*time.Millisecond // a round takes two timeouts
	r := resolve(t, o)
	began := time.Now()
	const a, b = "a.example:80=10.0.0.1:80*1/0", "b.example:80=10.0.0.1:80*1/0"
	expect(t, r, a)
	f.set("b", true)
	expect(t, r, a+" "+b)
	if took := time.Since(began); took > 2*o.Timeout {
		t.Errorf("the targets that resolve were found after %s", took)
	}
}

// TestNewTargets replaces all targets by one with a late server. The old ones stay until then.
func TestNewTargets(t *testing.T) {
	t.Parallel()
	f, s := newFleet(t, 0, "a")
	o := options(srv, s.address)
	o.Timeout = 2 * time.Second
	registry, err := dnsdiscovery.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var mu sync.Mutex
	var events []string
	ended := make(chan error, 1)
	go func() {
		ended <- registry.Watch(ctx, "orders", func(e driver.Event) error {
			mu.Lock()
			defer mu.Unlock()
			switch id := strings.TrimSuffix(e.Record.ID, ".example:80"); e.Kind {
			case driver.EventPut:
				events = append(events, "+"+id)
			case driver.EventDelete:
				events = append(events, "-"+id)
			case driver.EventInvalid:
				events = append(events, "!"+id)
			}
			return nil
		})
	}()
	wait := func(want string) {
		t.Helper()
		testenv.Eventually(t, patience, "the events "+want, func() error {
			mu.Lock()
			defer mu.Unlock()
			if got := strings.Join(events, " "); got != want {
				return fmt.Errorf("got %q", got)
			}
			return nil
		})
	}
	wait("+a")
	f.set("b", false)
	f.remove("a")
	testenv.Eventually(t, patience, "a question for b", func() error {
		if f.count("b") == 0 {
			return errors.New("none")
		}
		return nil
	})
	time.Sleep(o.Timeout * 3 / 4) // answers are reported after half of it
	wait("+a")
	f.set("b", true)
	wait("+a -a +b")
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestDeadTargetsRest queries unresolvable targets less and less often, and the others as often as before.
func TestDeadTargetsRest(t *testing.T) {
	t.Parallel()
	f, s := newFleet(t, 1, "a")
	o := options(srv, s.address)
	o.Timeout, o.MinTTL, o.MaxTTL = 10*time.Millisecond, 100*time.Millisecond, 10*time.Second
	r := resolve(t, o)
	expect(t, r, "a.example:80=10.0.0.1:80*1/0")
	time.Sleep(4 * time.Second) // the questions of this time are counted
	if dead, alive := f.count("dead0")/2, f.count("a"); dead < 4 || dead > alive/2 {
		t.Errorf("%d questions for a dead target and %d for another one, want at most half as many", dead, alive)
	}
}
