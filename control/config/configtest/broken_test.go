package configtest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-os/go-os/control/config/driver"
)

// memory is a correct source. Its document is a variable.
type memory struct {
	requests atomic.Int64

	mu      sync.Mutex
	text    string // empty if it was removed
	broken  bool
	changed chan struct{} // closed by the next change
}

var errBroken = errors.New("out of reach")

func (m *memory) set(text string, broken bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.text, m.broken = text, broken
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *memory) Name() string { return "memory" }

func (m *memory) Read(ctx context.Context) ([]driver.Document, error) {
	m.requests.Add(1)
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.broken:
		return nil, errBroken
	case m.text == "":
		return nil, driver.ErrNotFound
	}
	return []driver.Document{{Name: "memory.yaml", Format: "yaml", Data: []byte(m.text)}}, ctx.Err()
}

// Watch calls changed once when it starts, and after each change.
func (m *memory) Watch(ctx context.Context, changed func(error)) error {
	for {
		m.mu.Lock()
		next := m.changed
		m.mu.Unlock()
		changed(nil)
		select {
		case <-next:
		case <-ctx.Done():
			return nil
		}
	}
}

// spoiled is a source whose methods a test can replace.
type spoiled struct {
	*memory
	name  func() string
	read  func(context.Context) ([]driver.Document, error)
	watch func(context.Context, func(error)) error
}

func (s *spoiled) Name() string {
	if s.name != nil {
		return s.name()
	}
	return s.memory.Name()
}

func (s *spoiled) Read(ctx context.Context) ([]driver.Document, error) {
	if s.read != nil {
		return s.read(ctx)
	}
	return s.memory.Read(ctx)
}

func (s *spoiled) Watch(ctx context.Context, changed func(error)) error {
	if s.watch != nil {
		return s.watch(ctx, changed)
	}
	return s.memory.Watch(ctx, changed)
}

// polled is a source with a schedule in place of a watch.
type polled struct {
	driver.Source
	next func(failures int) time.Duration
}

func (p polled) Next(failures int) time.Duration { return p.next(failures) }

// backend returns a Backend with every hook. wrap makes the source of a fixture from a spoiled one.
func backend(spoil func(*spoiled), wrap func(*spoiled) driver.Source) Backend {
	return Backend{FakeClock: true, Idle: 1, Open: func(testing.TB) Fixture {
		m := &memory{text: "a: 1\n", changed: make(chan struct{})}
		s := &spoiled{memory: m}
		spoil(s)
		return Fixture{
			Source: wrap(s), Requests: m.requests.Load,
			Write:  func(text string) { m.set(text, false) },
			Remove: func() { m.set("", false) },
			Break:  func() { m.set(m.text, true) },
			Heal:   func() { m.set(m.text, false) },
		}
	}}
}

func watching(s *spoiled) driver.Source { return s }

func every(next func(int) time.Duration) func(*spoiled) driver.Source {
	return func(s *spoiled) driver.Source { return polled{s, next} }
}

func second(int) time.Duration { return time.Second }

// TestSound: the source that TestBroken breaks keeps every promise.
func TestSound(t *testing.T) {
	t.Run("watching", func(t *testing.T) { Run(t, backend(func(*spoiled) {}, watching)) })
	t.Run("polled", func(t *testing.T) { Run(t, backend(func(*spoiled) {}, every(second))) })
}

// TestBroken shows that the suite can fail: the promises that a source breaks fail.
func TestBroken(t *testing.T) {
	nothing := func(*spoiled) {}
	for name, c := range map[string]struct {
		spoil   func(*spoiled)
		wrap    func(*spoiled) driver.Source
		noticed []string
	}{
		"has a name of two lines": {func(s *spoiled) { s.name = func() string { return "a\nb" } }, watching, []string{"read/a name that tells"}},
		"reads what it read first": {func(s *spoiled) {
			var once sync.Once
			var first []driver.Document
			s.read = func(ctx context.Context) (docs []driver.Document, err error) {
				once.Do(func() { first, err = s.memory.Read(ctx) })
				return first, err
			}
		}, watching, []string{"read/what is there", "read/what is gone", "read/out of reach is an error", "watch/first call, then every change", "run/every change"}},
		"takes ten seconds": {func(s *spoiled) {
			s.read = func(ctx context.Context) ([]driver.Document, error) {
				if ctx.Err() != nil {
					time.Sleep(10 * time.Second)
				}
				return s.memory.Read(ctx)
			}
		}, watching, []string{"read/ends with its context"}},
		"calls once": {func(s *spoiled) {
			s.watch = func(ctx context.Context, changed func(error)) error {
				changed(nil)
				<-ctx.Done()
				return nil
			}
		}, watching, []string{"watch/first call, then every change", "watch/what was gone comes back", "watch/comes back after failures"}},
		"ends with an error": {func(s *spoiled) {
			s.watch = func(ctx context.Context, changed func(error)) error {
				_ = s.memory.Watch(ctx, changed)
				return ctx.Err()
			}
		}, watching, []string{"watch/ends in silence with its context"}},
		"asks all the time": {func(s *spoiled) {
			s.watch = func(ctx context.Context, changed func(error)) error {
				var group sync.WaitGroup
				defer group.Wait()
				group.Go(func() {
					tick := time.NewTicker(100 * time.Millisecond)
					defer tick.Stop()
					for ctx.Err() == nil {
						_, _ = s.memory.Read(ctx)
						select {
						case <-tick.C:
						case <-ctx.Done():
						}
					}
				})
				return s.memory.Watch(ctx, changed)
			}
		}, watching, []string{"watch/idle costs nothing"}},
		"asks twice": {func(s *spoiled) {
			s.read = func(ctx context.Context) ([]driver.Document, error) {
				_, _ = s.memory.Read(ctx)
				return s.memory.Read(ctx)
			}
		}, every(second), []string{"poll/one request for a read"}},
		"hurries after failures": {nothing, every(func(failures int) time.Duration {
			if failures > 0 {
				return time.Millisecond
			}
			return time.Second
		}), []string{"poll/waits longer after failures", "run/one schedule, well or not"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, promise := range c.noticed {
				if len(contract(backend(c.spoil, c.wrap)).Failures(t, promise)) == 0 {
					t.Errorf("a source that %s passes %q", name, promise)
				}
			}
		})
	}
}
