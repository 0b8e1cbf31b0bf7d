package config

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-os/go-os/control/config/driver"
	"github.com/go-os/go-os/telemetry"
)

// probed is a configuration whose Validate calls a function.
type probed struct{ N int }

// probe is the function that Validate of probed calls.
var probe atomic.Pointer[func()]

func (p *probed) Validate() error {
	if fn := probe.Load(); fn != nil {
		(*fn)()
	}
	if p.N > 9 {
		return errors.New("more than nine")
	}
	return nil
}

// foreign is everything that a user can plug into a Config: a source, an error, a log handler.
type foreign struct {
	slog.Handler
	reenter func(from string)

	mu       sync.Mutex
	text     string
	fails    bool
	changed  func(error)
	watching chan struct{}
}

func (*foreign) Name() string { return "foreign" }

func (f *foreign) set(text string, fails bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.text, f.fails = text, fails
}

func (f *foreign) Read(context.Context) ([]driver.Document, error) {
	f.reenter("Read")
	f.mu.Lock() // lose holds it, too
	defer f.mu.Unlock()
	if f.fails {
		return nil, f
	}
	return []driver.Document{{Name: "doc", Format: YAML, Data: []byte(f.text)}}, nil
}

func (f *foreign) Error() string {
	f.reenter("Error")
	return "out of order"
}

func (f *foreign) Watch(ctx context.Context, changed func(error)) error {
	f.mu.Lock()
	f.changed = changed
	f.mu.Unlock()
	close(f.watching)
	<-ctx.Done()
	return nil
}

// lose reports a lost connection while the source holds its own lock.
func (f *foreign) lose(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changed(err)
}

func (f *foreign) Report(context.Context, driver.Report) error {
	f.reenter("Report")
	return nil
}

func (*foreign) Enabled(context.Context, slog.Level) bool { return true }

func (f *foreign) Handle(_ context.Context, r slog.Record) error {
	f.reenter("Handle " + r.Message)
	return nil
}

// TestForeignCodeRunsWithoutLocks: every piece of foreign code may call every method, while the configuration changes, is rejected, fails,
// is lost and recovers.
func TestForeignCodeRunsWithoutLocks(t *testing.T) {
	var cfg atomic.Pointer[Config[probed]]
	var seen sync.Map
	var within atomic.Int32
	f := &foreign{Handler: slog.DiscardHandler, text: "n: 1\n", watching: make(chan struct{})}
	f.reenter = func(from string) {
		c := cfg.Load()
		if c == nil {
			return
		}
		seen.Store(from, true)
		useAll(t, c, strings.HasPrefix(from, "Handle") || from == "callback", &within)
	}
	opts := &Options{
		LastGood: filepath.Join(t.TempDir(), "last-good"), Backoff: time.Hour, MaxBackoff: time.Hour, Sources: []Source{f},
		Telemetry: telemetry.Off(),
	}
	opts.Telemetry.Logger = slog.New(f)
	c, err := Load[probed](t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	check := func() { f.reenter("Validate") }
	probe.Store(&check)
	defer probe.Store(nil)
	_, _ = c.OnChange("", func(_, _ *probed) { f.reenter("callback") })
	cfg.Store(c)
	within1 := func(what string, do func()) {
		t.Helper()
		done := make(chan struct{})
		go func() { defer close(done); do() }()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: deadlock", what)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	<-f.watching
	for _, step := range []struct {
		text  string
		fails bool
	}{{"n: 2\n", false}, {"n: 99\n", false}, {"n: 3\n", false}, {"n: 3\n", true}, {"n: 4\n", false}} {
		f.set(step.text, step.fails)
		within1(step.text, func() { _ = c.Reload(t.Context()) })
	}
	within1("lost", func() { f.lose(errors.New("cut")) })
	within1("seen as lost", func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for known := false; !known; <-tick.C {
			_, known = seen.Load("Handle configuration source failed; what it held stays in force")
		}
	})
	within1("back", func() { f.lose(nil) })
	cancel()
	within1("Run", func() { <-ended })
	for _, from := range []string{
		"Read", "Error", "Report", "Validate", "callback", "Handle configuration applied", "Handle configuration rejected; the last good one stays in force",
		"Handle configuration source failed; what it held stays in force", "Handle configuration source recovered",
	} {
		if _, ok := seen.Load(from); !ok {
			t.Errorf("%s was not called", from)
		}
	}
}

// useAll calls every method of the Config. Only handlers and callbacks call the methods that read sources, and never in a nested call.
func useAll(t *testing.T, c *Config[probed], reload bool, within *atomic.Int32) {
	free := make(chan struct{})
	go func() { // another goroutine may hold it for a moment
		c.mu.Lock()
		defer c.mu.Unlock()
		close(free)
	}()
	select {
	case <-free:
	case <-time.After(time.Second):
		t.Error("the mutex is held")
		return
	}
	_ = c.Get()
	_, _ = c.Snapshot(), c.Status()
	stop, _ := c.OnChange("n", func(_, _ *probed) {})
	stop()
	for range c.Changes(endedContext()) {
		break
	}
	if within.Add(1) == 1 && reload {
		_ = c.Err()
		_ = c.Reload(t.Context())
		_ = c.Run(endedContext())
	}
	within.Add(-1)
}

func endedContext() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// TestFileIsWrittenWithoutLocks: a change is in force before the file is written.
func TestFileIsWrittenWithoutLocks(t *testing.T) {
	name := filepath.Join(t.TempDir(), "last-good")
	f := &foreign{text: "n: 1\n", reenter: func(string) {}}
	c, err := Load[probed](t.Context(), &Options{LastGood: name, Telemetry: telemetry.Off(), Sources: []Source{f}})
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	f.set("n: 2\n", false)
	if !c.take(t.Context(), c.every()) || c.Get().N != 2 {
		t.Fatal("not in force")
	}
	if now, _ := os.ReadFile(name); string(now) != string(before) {
		t.Error("written while the locks were held")
	}
	c.deliver()
	if now, _ := os.ReadFile(name); string(now) == string(before) {
		t.Error("not written")
	}
}
