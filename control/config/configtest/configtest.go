// Package configtest tests sources of configuration. [Run] checks the contract that package driver documents, in the same way for every
// source.
//
//	func TestContract(t *testing.T) {
//		configtest.Run(t, configtest.Backend{Open: func(t testing.TB) configtest.Fixture { … }})
//	}
//
// Each promise is a subtest. A promise that needs a missing hook of the Fixture is skipped, and names the hook. A promise about an
// interface that the source does not implement, such as driver.Watcher, is left out.
package configtest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-os/go-os/control/config/driver"
	"github.com/go-os/go-os/internal/tooling/suite"
)

// Fixture is a source with hooks that change its document.
type Fixture struct {
	// Source is a new source for each promise. Required.
	Source driver.Source
	// Write replaces the document behind the source. Each text is YAML. Required.
	Write func(text string)
	// Remove removes the document. Default: the document cannot be removed.
	Remove func()
	// Optional declares that a missing document is a configuration without keys.
	Optional bool
	// Break puts the source out of reach until Heal. Default: the source is always in reach.
	Break, Heal func()
	// Requests returns the number of requests that the source has sent so far. Default: requests are not counted.
	Requests func() int64
}

// Backend is a source under test.
type Backend struct {
	// Open returns a fixture whose document is "a: 1\n". Everything that it starts must end with the test's Cleanup, including
	// goroutines. Required.
	Open func(t testing.TB) Fixture
	// FakeClock declares that the source and its engine run in this process and use package time. The suite then runs in a
	// testing/synctest bubble, where a minute passes at once.
	FakeClock bool
	// Within is how long the source may take to notice a change. Default: 5 seconds.
	Within time.Duration
	// Idle is the number of requests per second that the schedule of the source may send, while nothing changes or while the source
	// fails. Default: none.
	Idle int64
	// EngineFuncs are functions, as goleak names them, of goroutines of an engine or a client that outlives the source. Default: none.
	EngineFuncs []string
	// Record is the file with the expected outcome of each promise, relative to the test's package. The run fails if an outcome differs.
	// It writes the file if the environment variable CONFIGTEST_RECORD is "write". Default: no file.
	Record string
}

// Run checks every promise of a source.
func Run(t *testing.T, b Backend) {
	record := Record{}
	record.took(contract(b).Run(t))
	if b.Record != "" {
		record.settle(t, b.Record)
	}
}

// contract returns the promises that b must keep.
func contract(b Backend) suite.Contract[*rig, ability] {
	if b.Within == 0 {
		b.Within = 5 * time.Second
	}
	return suite.Contract[*rig, ability]{
		Promises: promises(),
		Open: func(t testing.TB) *rig {
			r := &rig{TB: t, Backend: b, Fixture: b.Open(t)}
			r.expect("a: 1\n")
			return r
		},
		FakeClock:    b.FakeClock,
		Bystanders:   b.EngineFuncs,
		OpensForTest: true,
	}
}

// promise is one part of the contract.
type promise = suite.Promise[*rig, ability]

func promises() []promise {
	return []promise{
		{Name: "read/what is there", Check: readWhatIsThere},
		{Name: "read/a name that tells", Check: nameTells},
		{Name: "read/ends with its context", Check: readEnds},
		{Name: "read/what is gone", Hook: "Remove", Check: readGone},
		{Name: "read/out of reach is an error", Hook: "Break", Check: readBroken},
		{Name: "watch/first call, then every change", Needs: watches, Check: watchChanges},
		{Name: "watch/what was gone comes back", Needs: watches, Hook: "Remove", Check: watchComesBack},
		{Name: "watch/comes back after failures", Needs: watches, Hook: "Break", Check: watchHeals},
		{Name: "watch/ends in silence with its context", Needs: watches, Check: watchEnds},
		{Name: "watch/idle costs nothing", Needs: watches, Hook: "Requests", Check: watchIdle},
		{Name: "poll/one request for a read", Needs: polls, Hook: "Requests", Check: pollOnce},
		{Name: "poll/waits longer after failures", Needs: polls, Check: pollPatience},
		{Name: "run/every change", Check: runChanges},
		{Name: "run/one schedule, well or not", Needs: polls, Hook: "Remove and Requests", Check: runSchedule},
	}
}

// ability is an interface that a source may implement.
type ability int

const (
	reads ability = iota
	watches
	polls
)

// rig is a fixture under test, and the helpers of the checks.
type rig struct {
	testing.TB
	Backend
	Fixture
}

// Has implements suite.Rig.
func (r *rig) Has(needs ability) (ok bool) {
	switch needs {
	case watches:
		_, ok = r.Source.(driver.Watcher)
	case polls:
		_, ok = r.Source.(driver.Poller)
	case reads:
		ok = true
	}
	return ok
}

// Hooks implements suite.Rig.
func (r *rig) Hooks() suite.Hooks { return suite.HooksOf(r.Fixture) }

// Close implements suite.Rig. It does nothing, since the fixture of Open ends with the test.
func (r *rig) Close() {}

// pass waits for d.
func (r *rig) pass(d time.Duration) {
	r.Helper()
	suite.Pass(r, d)
}

func (r *rig) read() (string, error) {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	docs, err := r.Source.Read(ctx)
	if err != nil {
		return "", err
	}
	var all []string
	for _, d := range docs {
		all = append(all, string(d.Data))
	}
	return strings.Join(all, ""), nil
}

// expect reads until the source returns the text want.
func (r *rig) expect(want string) {
	r.Helper()
	deadline := time.Now().Add(r.Within)
	for {
		got, err := r.read()
		if err == nil && got == want {
			return
		}
		if time.Now().After(deadline) {
			r.Fatalf("read %q, %v; want %q", got, err, want)
		}
		r.pass(time.Millisecond)
	}
}

func readWhatIsThere(r *rig) {
	r.expect("a: 1\n")
	r.Write("a: 2\n")
	r.expect("a: 2\n")
	docs, err := r.Source.Read(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	for _, d := range docs {
		if d.Name == "" || d.Format != "yaml" || d.Tree != nil {
			r.Errorf("%+v", d)
		}
	}
}

func nameTells(r *rig) {
	if name := r.Source.Name(); name == "" || len(name) > 200 || strings.ContainsAny(name, "\n\t") {
		r.Errorf("name %q", name)
	}
}

func readEnds(r *rig) {
	ctx, cancel := context.WithCancel(r.Context())
	cancel()
	begun := time.Now()
	_, _ = r.Source.Read(ctx)
	if took := time.Since(begun); took > time.Second {
		r.Errorf("it took %v", took)
	}
}

func readGone(r *rig) {
	r.expect("a: 1\n")
	r.Remove()
	got, err := r.read()
	switch {
	case r.Optional && (err != nil || got != ""):
		r.Errorf("%q, %v", got, err)
	case !r.Optional && !errors.Is(err, driver.ErrNotFound):
		r.Errorf("%q, %v; want ErrNotFound", got, err)
	}
}

func readBroken(r *rig) {
	r.expect("a: 1\n")
	r.Break()
	ctx, cancel := context.WithTimeout(r.Context(), time.Second)
	defer cancel()
	begun := time.Now()
	if _, err := r.Source.Read(ctx); err == nil {
		r.Error("a source that is out of reach was read")
	}
	if took := time.Since(begun); took > 2*time.Second {
		r.Errorf("it took %v, a second after its context had ended", took)
	}
	r.Heal()
	r.expect("a: 1\n")
}

// watched is a running Watch.
type watched struct {
	calls  chan error
	ended  chan error
	cancel context.CancelFunc
}

func (r *rig) watch() *watched {
	watcher, ok := r.Source.(driver.Watcher)
	if !ok {
		r.Fatal("the source is no Watcher")
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &watched{calls: make(chan error, 10_000), ended: make(chan error, 1), cancel: cancel}
	go func() {
		w.ended <- watcher.Watch(ctx, func(err error) { w.calls <- err })
	}()
	r.Cleanup(func() {
		cancel()
		<-w.ended
	})
	return w
}

// called waits for a call of changed without an error, after which Read returns the text want.
func (r *rig) called(w *watched, want string) {
	r.Helper()
	deadline := time.After(r.Within)
	for {
		select {
		case err := <-w.calls:
			if err != nil {
				continue
			}
			if got, err := r.read(); err == nil && got == want {
				return
			}
		case <-deadline:
			got, err := r.read()
			r.Fatalf("not called within %v when the document was %q (a read says %q, %v)", r.Within, want, got, err)
		}
	}
}

func watchChanges(r *rig) {
	w := r.watch()
	r.called(w, "a: 1\n")
	for _, text := range []string{"a: 2\n", "a: 3\n", "a: 33333\n", "a: 4\n"} {
		r.Write(text)
		r.called(w, text)
	}
}

func watchComesBack(r *rig) {
	w := r.watch()
	r.called(w, "a: 1\n")
	r.Remove()
	select {
	case <-w.calls:
	case <-time.After(r.Within):
		r.Fatal("not called when the document was removed")
	}
	r.Write("a: 2\n")
	r.called(w, "a: 2\n")
}

func watchHeals(r *rig) {
	w := r.watch()
	r.called(w, "a: 1\n")
	for _, text := range []string{"a: 2\n", "a: 3\n"} {
		r.Break()
		r.Heal()
		r.Write(text)
		r.called(w, text)
	}
}

func watchEnds(r *rig) {
	w := r.watch()
	r.called(w, "a: 1\n")
	w.cancel()
	select {
	case err := <-w.ended:
		w.ended <- err
		if err != nil {
			r.Errorf("it ended with %v", err)
		}
	case <-time.After(time.Second):
		r.Error("it goes on a second after its context has ended")
	}
}

func watchIdle(r *rig) {
	w := r.watch()
	r.called(w, "a: 1\n")
	r.pass(200 * time.Millisecond) // for calls in flight
	before, calls := r.Requests(), len(w.calls)
	r.pass(time.Second)
	if n := r.Requests() - before; n > r.Idle {
		r.Errorf("%d requests in a second in which nothing happened, and %d may be", n, r.Idle)
	}
	if n := len(w.calls) - calls; n > 0 {
		r.Errorf("%d calls in a second in which nothing happened", n)
	}
}
