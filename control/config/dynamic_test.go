package config_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/driver"
)

// live is a source in memory that tells of its changes.
type live struct {
	name    string
	mu      sync.Mutex
	text    string
	err     error
	lost    error
	changed func(error)
	reads   atomic.Int64
}

func (l *live) Name() string { return l.name }

func (l *live) Read(context.Context) ([]driver.Document, error) {
	l.reads.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return nil, l.err
	}
	return []driver.Document{{Name: l.name, Format: config.YAML, Data: []byte(l.text)}}, nil
}

func (l *live) Watch(ctx context.Context, changed func(error)) error {
	l.mu.Lock()
	l.changed = changed
	l.mu.Unlock()
	changed(nil)
	<-ctx.Done()
	return nil
}

func (l *live) set(text string, err error) {
	l.mu.Lock()
	l.text, l.err = text, err
	changed := l.changed
	l.mu.Unlock()
	if changed != nil {
		changed(nil)
	}
}

// run starts Run in a bubble of synctest, and stops it at the end.
func run[T any](t *testing.T, cfg *config.Config[T]) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- cfg.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// TestBadNeverReplacesGood walks through a source that breaks in every way and heals.
func TestBadNeverReplacesGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &live{name: "a", text: "retries: 1\n"}, &live{name: "b", text: "name: b1\n"}
		cfg := load(t, a, b)
		defer run(t, cfg)()
		synctest.Wait()
		for _, bad := range []struct {
			text string
			err  error
			want string
		}{
			{"retries: 11\n", nil, "a:1: retries: invalid: must be at most 10"},
			{"retires: 1\n", nil, "did you mean retries?"},
			{"{", nil, "syntax"},
			{"", nil, "is empty"},
			{"", fmt.Errorf("%w: gone", driver.ErrNotFound), "not found: gone"},
		} {
			a.set(bad.text, bad.err)
			synctest.Wait()
			if got := cfg.Get(); got.Retries != 1 || got.Name != "b1" {
				t.Fatalf("after %q: %+v", bad.text, got)
			}
			time.Sleep(time.Minute)
			status := cfg.Status()
			if len(status.Problems) != 1 || status.Problems[0].Source != "a" || !strings.Contains(status.Problems[0].Err.Error(), bad.want) || status.Problems[0].Age() < time.Minute {
				t.Fatalf("after %q: %+v", bad.text, status)
			}
			if err := cfg.Err(); err == nil || !strings.Contains(err.Error(), "(source a, for 1m") {
				t.Fatalf("Err: %v", err)
			}
			b.set("name: b2\n", nil) // a good change of another source takes effect meanwhile
			synctest.Wait()
			if cfg.Get().Name != "b2" || cfg.Err() == nil {
				t.Fatalf("while a is bad, b does not change: %+v", cfg.Get())
			}
			b.set("name: b1\n", nil)
			a.set("retries: 1\n", nil) // heals
			synctest.Wait()
			if err := cfg.Err(); err != nil || cfg.Get().Name != "b1" {
				t.Fatalf("not healed: %v", err)
			}
		}
		a.set("{}\n", nil) // a key that is gone counts no longer
		synctest.Wait()
		if got := cfg.Get().Retries; got != 3 {
			t.Errorf("after its key was deleted, retries = %d, want the default 3", got)
		}
	})
}

// TestTogether has two sources that are valid only together, in either order.
func TestTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &live{name: "a", text: "retries: 1\n"}, &live{name: "b", text: "mode: safe\n"}
		cfg := load(t, a, b)
		defer run(t, cfg)()
		synctest.Wait()
		a.set("retries: 0\n", nil) // needs b to change first
		synctest.Wait()
		if cfg.Get().Retries != 1 || cfg.Err() == nil {
			t.Fatalf("%+v, %v", cfg.Get(), cfg.Err())
		}
		b.set("mode: fast\n", nil)
		synctest.Wait()
		if got := cfg.Get(); got.Retries != 0 || got.Mode != "fast" || cfg.Err() != nil {
			t.Fatalf("%+v, %v", got, cfg.Err())
		}
	})
}

// TestRetries has a failed source read again by itself, ever more seldom, and an idle one hardly at all.
func TestRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &live{name: "a", text: "retries: 1\n"}
		cfg := load(t, a)
		defer run(t, cfg)()
		synctest.Wait()
		a.reads.Store(0)
		time.Sleep(time.Hour)
		if n := a.reads.Load(); n < 11 || n > 14 {
			t.Errorf("idle for an hour: %d reads, want one every five minutes", n)
		}
		a.mu.Lock()
		a.err = driver.ErrUnavailable
		a.mu.Unlock()
		time.Sleep(10 * time.Minute) // noticed by the next recheck
		a.reads.Store(0)
		time.Sleep(10 * time.Minute)
		if n := a.reads.Load(); n < 15 || n > 45 {
			t.Errorf("failing for ten minutes: %d reads, want one every 15 to 30 seconds", n)
		}
		a.mu.Lock()
		a.err, a.text = nil, "retries: 2\n"
		a.mu.Unlock()
		time.Sleep(31 * time.Second)
		if cfg.Get().Retries != 2 || cfg.Err() != nil {
			t.Errorf("not healed: %v", cfg.Err())
		}
	})
}

// TestLost has a source that is out of reach, and whose watch ends.
func TestLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &live{name: "a", text: "retries: 1\n"}
		cfg := load(t, a)
		stop := run(t, cfg)
		defer stop()
		synctest.Wait()
		a.changed(errors.New("connection refused"))
		synctest.Wait()
		if err := cfg.Err(); !errors.Is(err, config.ErrUnavailable) || !strings.Contains(err.Error(), "changes are not seen: connection refused") {
			t.Fatalf("Err: %v", err)
		}
		a.changed(nil)
		synctest.Wait()
		if err := cfg.Err(); err != nil {
			t.Fatal(err)
		}
		if err := cfg.Run(t.Context()); !errors.Is(err, config.ErrInvalid) {
			t.Errorf("a second Run: %v", err)
		}
		stop()
		defer run(t, cfg)() // again is fine
		synctest.Wait()
	})
}

// TestOnChange is about who is called, with what, in which order.
func TestOnChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &live{name: "a", text: "retries: 1\nprices: {lamp: {cents: 1}}\nlimits: {burst: 1}\n"}
		cfg := load(t, a)
		var calls []string
		on := func(path string) (stop func()) {
			stop, err := cfg.OnChange(path, func(old, now *service) {
				calls = append(calls, fmt.Sprintf("%s:%d>%d", path, old.Retries, now.Retries))
			})
			if err != nil {
				t.Fatal(err)
			}
			return stop
		}
		on("")
		_, _ = cfg.OnChange("retries", func(*service, *service) { panic("contained") })
		stop := on("retries")
		on("prices")
		on("prices.lamp")
		on("prices.chair.cents")
		on("limits.burst")
		view := config.NewView(cfg, func(s *service) *price { p := s.Prices["lamp"]; return &p })
		view.OnChange(func(old, now *price) { calls = append(calls, fmt.Sprintf("view:%d>%d", old.Cents, now.Cents)) })
		for path, want := range map[string]string{"retires": "did you mean retries?", "peers.host": "elements of a list", "name.x": "nothing below"} {
			if _, err := cfg.OnChange(path, nil); !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), want) {
				t.Errorf("OnChange(%q): %v", path, err)
			}
		}
		defer run(t, cfg)()
		synctest.Wait()
		for _, step := range []struct{ text, want string }{
			{"retries: 2\nprices: {lamp: {cents: 1}}\nlimits: {burst: 1}\n", ":1>2 retries:1>2"},
			{"retries: 2\nprices: {lamp: {cents: 2}}\nlimits: {burst: 1}\n", ":2>2 prices:2>2 prices.lamp:2>2 view:1>2"},
			{"retries: 2\nprices: {lamp: {cents: 2}, chair: {cents: 3}}\nlimits: {burst: 1}\n", ":2>2 prices:2>2 prices.chair.cents:2>2"},
			{"retries: 2\nprices: {chair: {cents: 3}}\nlimits: {burst: 1}\n", ":2>2 prices:2>2 prices.lamp:2>2 view:2>0"},
			{"retries: 2\nprices: {chair: {cents: 3}}\n", ":2>2 limits.burst:2>2"},
			{"# nothing\nretries: 2\nprices: {chair: {cents: 3}}\n", ":2>2"},
		} {
			calls = nil
			a.set(step.text, nil)
			synctest.Wait()
			if got := strings.Join(calls, " "); got != step.want {
				t.Errorf("%q\ngot  %s\nwant %s", step.text, got, step.want)
			}
		}
		stop()
		calls = nil
		a.set("retries: 3\n", nil)
		synctest.Wait()
		if got := strings.Join(calls, " "); strings.Contains(got, "retries:") {
			t.Errorf("called after stop: %s", got)
		}
	})
}

// TestChanges has loops see every state, or the newest one.
func TestChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &live{name: "a", text: "retries: 1\n"}
		cfg := load(t, a)
		defer run(t, cfg)()
		var quick, slow []string
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			for c := range cfg.Changes(ctx) {
				quick = append(quick, fmt.Sprint(c.Old.Value.Retries, c.New.Value.Retries, c.Keys))
			}
		})
		group.Go(func() {
			for c := range cfg.Changes(ctx) {
				slow = append(slow, fmt.Sprint(c.Old.Value.Retries, c.New.Value.Retries))
				time.Sleep(time.Minute)
			}
		})
		synctest.Wait()
		for n := 2; n <= 4; n++ {
			a.set(fmt.Sprintf("retries: %d\n", n), nil)
			synctest.Wait()
		}
		time.Sleep(2 * time.Minute)
		cancel()
		group.Wait()
		if got := strings.Join(quick, ", "); got != "1 2 [retries], 2 3 [retries], 3 4 [retries]" {
			t.Errorf("quick: %s", got)
		}
		if got := strings.Join(slow, ", "); got != "1 2, 2 4" {
			t.Errorf("slow: %s", got)
		}
	})
}

// TestRandomChanges makes 10,000 changes, valid and not, of three sources, while readers look: they see valid snapshots alone, each of one change as a whole, and at the end
// what was valid last.
func TestRandomChanges(t *testing.T) {
	const changes = 10_000
	sources := []*live{{name: "a", text: "a: 0\nsame_a: 0\n"}, {name: "b", text: "b: 0\n"}, {name: "c", text: "c: 0\n"}}
	cfg, err := config.Load[checked](t.Context(), options(sources[0], sources[1], sources[2]))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	var looks atomic.Int64
	for range 4 {
		readers.Go(func() {
			for ctx.Err() == nil {
				if err := cfg.Get().Validate(); err != nil {
					t.Errorf("a reader saw an invalid configuration: %v", err)
					return
				}
				looks.Add(1)
			}
		})
	}
	random := rand.New(rand.NewPCG(1, 2))
	good := map[string]int{}
	var applied, refused int
	for n := range changes {
		s := sources[random.IntN(3)]
		value := random.IntN(1000) * 2
		text, valid := fmt.Sprintf("%s: %d\nsame_%s: %d\n", s.name, value, s.name, value), true
		switch random.IntN(6) {
		case 0: // halves that do not belong together
			text, valid = fmt.Sprintf("%s: %d\nsame_%s: %d\n", s.name, value, s.name, value+2), false
		case 1:
			text, valid = fmt.Sprintf("%s: many\n", s.name), false
		case 2:
			text, valid = fmt.Sprintf("%s: %d\nsame: 1\n", s.name, value), false
		case 3:
			text, valid = fmt.Sprintf("%s: [%d\n", s.name, value), false
		}
		s.mu.Lock()
		s.text = text
		s.mu.Unlock()
		before := cfg.Snapshot()
		_ = cfg.Reload(t.Context())
		if valid {
			good[s.name] = value
			applied++
		} else {
			refused++
		}
		if !valid && cfg.Status().Problems == nil {
			t.Fatalf("change %d (%q) is bad, and nobody is told; before: %+v", n, text, before.Value)
		}
		if got := *cfg.Get(); got.A != good["a"] || got.B != good["b"] || got.C != good["c"] {
			t.Fatalf("after change %d (%q): %+v, want %v", n, text, got, good)
		}
	}
	cancel()
	readers.Wait()
	t.Logf("%d changes applied, %d refused, %d looks", applied, refused, looks.Load())
	if applied < changes/4 || refused < changes/4 || looks.Load() == 0 {
		t.Error("the test did not test")
	}
}

// checked is valid only if its halves belong together.
type checked struct {
	A, SameA int
	B, SameB int
	C, SameC int
	Sum      int
}

func (c *checked) Validate() error {
	if c.A != c.SameA || c.B != c.SameB || c.C != c.SameC || c.A%2+c.B%2+c.C%2 != 0 {
		return fmt.Errorf("halves do not belong together: %+v", *c)
	}
	return nil
}

// TestLastGood starts while sources are down.
func TestLastGood(t *testing.T) {
	saved := filepath.Join(t.TempDir(), "last-good.json")
	with := func(sources ...config.Source) *config.Options {
		o := options(sources...)
		o.LastGood = saved
		return o
	}
	a, b := &live{name: "a", text: "retries: 7\ndb: {password: hunter2}\n"}, &live{name: "b", text: "name: one\n"}
	if _, err := config.Load[service](t.Context(), with(a, b, config.Env("X_", []string{"X_MODE=safe"}))); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(saved); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
	a.set("", driver.ErrUnavailable)
	b.set("name: two\n", nil)
	cfg, err := config.Load[service](t.Context(), with(config.Required(a), b))
	if err != nil {
		t.Fatal(err)
	}
	if got := cfg.Get(); got.Retries != 7 || got.Name != "two" || got.Mode != "fast" || got.DB.Password.Reveal() != "hunter2" {
		t.Errorf("%+v", got)
	}
	if p := cfg.Status().Problems; len(p) != 1 || p[0].Source != "a" || p[0].LastGood.IsZero() {
		t.Errorf("problems: %+v", p)
	}
	a.set("retries: 8\n", nil)
	if err := cfg.Reload(t.Context()); err != nil || cfg.Get().Retries != 8 || cfg.Get().DB.Password.Reveal() != "" {
		t.Errorf("healed: %v, %+v", err, cfg.Get())
	}
	a.set("retries: 99\n", nil) // bad at the start: what was good counts
	if cfg, err = config.Load[service](t.Context(), with(a, b)); err != nil || cfg.Get().Retries != 8 || cfg.Err() == nil {
		t.Errorf("%v, %+v", err, cfg)
	}
	if err := os.WriteFile(saved, []byte(`{"sources": hunter2`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = config.Load[service](t.Context(), with(config.Required(a), b))
	if !errors.Is(err, config.ErrInvalid) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("with a broken file: %v", err)
	}
	a.set("retries: 5\n", nil)
	if cfg, err = config.Load[service](t.Context(), with(a, b)); err != nil || cfg.Err() != nil {
		t.Errorf("a broken last-good file is replaced: %v, %v", err, cfg.Err())
	}
}

// TestStart is about what Load does when sources are bad.
func TestStart(t *testing.T) {
	down := &doc{name: "down", err: driver.ErrUnavailable}
	cfg, err := config.Load[service](t.Context(), options(down, yaml("retries: 4\n")))
	if err != nil || cfg.Get().Retries != 4 || !errors.Is(cfg.Err(), config.ErrUnavailable) {
		t.Errorf("a source is down: %v", err)
	}
	if cfg, err = config.Load[service](t.Context(), options(yaml("retries: 99\n"), &doc{name: "x", format: config.YAML, text: "name: x\n"})); err != nil || cfg.Get().Retries != 3 || cfg.Get().Name != "x" || cfg.Err() == nil {
		t.Errorf("a source is bad: %v", err)
	}
	if _, err = config.Load[service](t.Context(), options(config.Required(down), yaml("retries: 4\n"))); !errors.Is(err, config.ErrUnavailable) {
		t.Errorf("a source that is required is down: %v", err)
	}
	type needs struct {
		Key string `validate:"required"`
	}
	if _, err = config.Load[needs](t.Context(), options(down)); !errors.Is(err, config.ErrUnavailable) || !strings.Contains(err.Error(), "key: invalid: is required") {
		t.Errorf("no valid configuration: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = config.Load[service](ctx, options(yaml("{}"))); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestSetUp is about types and options that cannot work.
func TestSetUp(t *testing.T) {
	type badRule struct {
		A int `validate:"mni=3"`
	}
	type badMap struct{ M map[int]string }
	type badChan struct{ C chan int }
	type twice struct {
		A int
		B int `config:"a"`
	}
	type ambiguous struct {
		DB    struct{ MaxConns int }
		DBMax struct{ Conns int } `config:"db_max"`
	}
	for name, err := range map[string]error{
		"rule":      second(config.Load[badRule](t.Context(), nil)),
		"map":       second(config.Load[badMap](t.Context(), nil)),
		"chan":      second(config.Load[badChan](t.Context(), nil)),
		"twice":     second(config.Load[twice](t.Context(), nil)),
		"no struct": second(config.Load[int](t.Context(), nil)),
		"nil":       second(config.Load[service](t.Context(), options(nil))),
		"env":       second(config.Load[ambiguous](t.Context(), options(config.Env("X_", nil)))),
		"default": second(config.Load[struct {
			A int `default:"x"`
		}](t.Context(), nil)),
	} {
		if !errors.Is(err, config.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestUnknown has unknown keys as warnings.
func TestUnknown(t *testing.T) {
	o := options(yaml("retires: 1\ndb: {pasword: hunter2}\npeers: [{host: a, prot: 1}]\nname: x\n"), config.Env("ORDERS_", []string{"ORDERS_SERVICE_HOST=10.0.0.1", "ORDERS_RETRIES=5"}))
	if _, err := config.Load[service](t.Context(), options(config.Required(o.Sources[0]))); !errors.Is(err, config.ErrUnknownKey) {
		t.Errorf("strict: %v", err)
	}
	o.AllowUnknown = true
	cfg, err := config.Load[service](t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if got := cfg.Get(); got.Name != "x" || got.Retries != 5 || len(got.Peers) != 1 {
		t.Errorf("%+v", got)
	}
	if w := cfg.Status().Warnings; len(w) != 4 {
		t.Errorf("warnings: %v", w)
	}
	var out strings.Builder
	if err := cfg.Snapshot().Dump(&out); err != nil || strings.Contains(out.String(), "hunter2") {
		t.Errorf("the dump shows a secret whose name is misspelt:\n%s", out.String())
	}
}
