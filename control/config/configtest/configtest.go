// Package configtest is what every source of configuration promises, as a test.
//
//	func TestContract(t *testing.T) {
//		configtest.Run(t, configtest.Backend{Open: func(t testing.TB) configtest.Fixture { … }})
//	}
package configtest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/go-os/go-os/control/config/driver"
)

// Fixture is a source, and hands on what lies behind it.
type Fixture struct {
	// Source is made anew for each promise.
	Source driver.Source
	// Write replaces the document behind the source. Each text is YAML.
	Write func(text string)
	// Remove takes the document away. Nil: it cannot be.
	Remove func()
	// Optional says that a document which is not there is a configuration without keys.
	Optional bool
	// Break has the source out of reach until Heal. Nil: it cannot be.
	Break, Heal func()
	// Requests counts what the source has asked for so far. Nil: it asks nobody.
	Requests func() int64
}

// Backend is a source to be tested.
type Backend struct {
	// Open returns a fixture whose document is "a: 1\n". What it starts must end with the test's Cleanup: no goroutine may be
	// left then.
	Open func(t testing.TB) Fixture
	// Within is how long a change may take to be seen. Default: 5 seconds.
	Within time.Duration
	// Idle is how many requests a source may make in a second in which nothing happens, or in which it fails: those of its one
	// schedule. Default: none.
	Idle int64
}

// Run has the source keep its promises, one subtest each.
func Run(t *testing.T, b Backend) {
	if b.Within == 0 {
		b.Within = 5 * time.Second
	}
	for _, p := range []struct {
		name string
		keep func(*testing.T, *stage)
	}{
		{"read/what is there", readWhatIsThere},
		{"read/a name that tells", nameTells},
		{"read/ends with its context", readEnds},
		{"read/what is gone", readGone},
		{"read/out of reach is an error", readBroken},
		{"watch/first call, then every change", watchChanges},
		{"watch/what was gone comes back", watchComesBack},
		{"watch/comes back after failures", watchHeals},
		{"watch/ends in silence with its context", watchEnds},
		{"watch/idle costs nothing", watchIdle},
		{"poll/one request for a read", pollOnce},
		{"poll/waits longer after failures", pollPatience},
		{"run/every change", runChanges},
		{"run/one schedule, well or not", runSchedule},
	} {
		t.Run(p.name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			t.Cleanup(func() { // when what Open has made is closed
				if err := goleak.Find(before); err != nil {
					t.Error(err)
				}
			})
			s := &stage{Fixture: b.Open(t), b: b, t: t}
			s.expect("a: 1\n")
			p.keep(t, s)
		})
	}
}

// stage is one promise under test.
type stage struct {
	Fixture
	b Backend
	t *testing.T
}

func (s *stage) read() (string, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Second)
	defer cancel()
	docs, err := s.Source.Read(ctx)
	if err != nil {
		return "", err
	}
	var all []string
	for _, d := range docs {
		all = append(all, string(d.Data))
	}
	return strings.Join(all, ""), nil
}

// expect reads until the source says what it should.
func (s *stage) expect(want string) {
	s.t.Helper()
	deadline := time.Now().Add(s.b.Within)
	for {
		got, err := s.read()
		if err == nil && got == want {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("read %q, %v; want %q", got, err, want)
		}
	}
}

func readWhatIsThere(t *testing.T, s *stage) {
	s.expect("a: 1\n")
	s.Write("a: 2\n")
	s.expect("a: 2\n")
	docs, err := s.Source.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range docs {
		if d.Name == "" || d.Format != "yaml" || d.Tree != nil {
			t.Errorf("%+v", d)
		}
	}
}

func nameTells(t *testing.T, s *stage) {
	if name := s.Source.Name(); name == "" || len(name) > 200 || strings.ContainsAny(name, "\n\t") {
		t.Errorf("name %q", name)
	}
}

func readEnds(t *testing.T, s *stage) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	begun := time.Now()
	_, _ = s.Source.Read(ctx)
	if took := time.Since(begun); took > time.Second {
		t.Errorf("it took %v", took)
	}
}

func readGone(t *testing.T, s *stage) {
	if s.Remove == nil {
		t.Skip("its document cannot be removed")
	}
	s.expect("a: 1\n")
	s.Remove()
	got, err := s.read()
	switch {
	case s.Optional && (err != nil || got != ""):
		t.Errorf("%q, %v", got, err)
	case !s.Optional && !errors.Is(err, driver.ErrNotFound):
		t.Errorf("%q, %v; want ErrNotFound", got, err)
	}
}

func readBroken(t *testing.T, s *stage) {
	if s.Break == nil {
		t.Skip("it cannot be out of reach")
	}
	s.expect("a: 1\n")
	s.Break()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	begun := time.Now()
	if _, err := s.Source.Read(ctx); err == nil {
		t.Error("a source that is out of reach was read")
	}
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("it took %v, a second after its context had ended", took)
	}
	s.Heal()
	s.expect("a: 1\n")
}

// watched is a Watch under way.
type watched struct {
	calls  chan error
	ended  chan error
	cancel context.CancelFunc
}

func (s *stage) watch() *watched {
	watcher, ok := s.Source.(driver.Watcher)
	if !ok {
		s.t.Skip("it does not watch")
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &watched{calls: make(chan error, 10_000), ended: make(chan error, 1), cancel: cancel}
	go func() {
		w.ended <- watcher.Watch(ctx, func(err error) { w.calls <- err })
	}()
	s.t.Cleanup(func() {
		cancel()
		<-w.ended
	})
	return w
}

// called waits for a call without an error after which a read says what it should.
func (s *stage) called(w *watched, want string) {
	s.t.Helper()
	deadline := time.After(s.b.Within)
	for {
		select {
		case err := <-w.calls:
			if err != nil {
				continue
			}
			if got, err := s.read(); err == nil && got == want {
				return
			}
		case <-deadline:
			got, err := s.read()
			s.t.Fatalf("not called within %v when the document was %q (a read says %q, %v)", s.b.Within, want, got, err)
		}
	}
}

func watchChanges(_ *testing.T, s *stage) {
	w := s.watch()
	s.called(w, "a: 1\n")
	for _, text := range []string{"a: 2\n", "a: 3\n", "a: 33333\n", "a: 4\n"} {
		s.Write(text)
		s.called(w, text)
	}
}

func watchComesBack(t *testing.T, s *stage) {
	if s.Remove == nil {
		t.Skip("its document cannot be removed")
	}
	w := s.watch()
	s.called(w, "a: 1\n")
	s.Remove()
	select {
	case <-w.calls:
	case <-time.After(s.b.Within):
		t.Fatal("not called when the document was removed")
	}
	s.Write("a: 2\n")
	s.called(w, "a: 2\n")
}

func watchHeals(t *testing.T, s *stage) {
	if s.Break == nil {
		t.Skip("it cannot be out of reach")
	}
	w := s.watch()
	s.called(w, "a: 1\n")
	for _, text := range []string{"a: 2\n", "a: 3\n"} {
		s.Break()
		s.Heal()
		s.Write(text)
		s.called(w, text)
	}
}

func watchEnds(t *testing.T, s *stage) {
	w := s.watch()
	s.called(w, "a: 1\n")
	w.cancel()
	select {
	case err := <-w.ended:
		w.ended <- err
		if err != nil {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(time.Second):
		t.Error("it goes on a second after its context has ended")
	}
}

func watchIdle(t *testing.T, s *stage) {
	if s.Requests == nil {
		t.Skip("it asks nobody")
	}
	w := s.watch()
	s.called(w, "a: 1\n")
	settle := time.After(200 * time.Millisecond)
	<-settle
	before, calls := s.Requests(), len(w.calls)
	second := time.After(time.Second)
	<-second
	if n := s.Requests() - before; n > s.b.Idle {
		t.Errorf("%d requests in a second in which nothing happened, and %d may be", n, s.b.Idle)
	}
	if n := len(w.calls) - calls; n > 0 {
		t.Errorf("%d calls in a second in which nothing happened", n)
	}
}
