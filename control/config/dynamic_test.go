package config_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/driver"
	"github.com/go-os/go-os/internal/tooling/configtesting"
	"github.com/go-os/go-os/internal/tooling/suite"
)

// live is a source in memory that reports its changes.
type live struct {
	name    string
	mu      sync.Mutex
	text    string
	err     error
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

// TestBadNeverReplacesGood breaks a source in every way, and repairs it each time.
func TestBadNeverReplacesGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &live{name: "a", text: "retries: 1\n"}, &live{name: "b", text: "name: b1\n"}
		cfg := load(t, a, b)
		defer configtesting.Start(t, cfg)()
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
			a.set("retries: 12\n", nil) // invalid for another reason: still the same problem
			synctest.Wait()
			if p := cfg.Status().Problems; len(p) != 1 || p[0].Age() < time.Minute {
				t.Fatalf("after %q, then 12: %+v", bad.text, p)
			}
			b.set("name: b2\n", nil) // a good change of another source takes effect meanwhile
			synctest.Wait()
			if cfg.Get().Name != "b2" || cfg.Err() == nil {
				t.Fatalf("while a is bad, b does not change: %+v", cfg.Get())
			}
			b.set("name: b1\n", nil)
			a.set("retries: 1\n", nil) // repaired
			synctest.Wait()
			if err := cfg.Err(); err != nil || cfg.Get().Name != "b1" {
				t.Fatalf("not recovered: %v", err)
			}
		}
		a.set("{}\n", nil) // a removed key has no effect
		synctest.Wait()
		if got := cfg.Get().Retries; got != 3 {
			t.Errorf("after its key was deleted, retries = %d, want the default 3", got)
		}
	})
}

// TestTogether changes two sources that are valid only together.
func TestTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &live{name: "a", text: "retries: 1\n"}, &live{name: "b", text: "mode: safe\n"}
		cfg := load(t, a, b)
		defer configtesting.Start(t, cfg)()
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

// TestRetries counts the reads of a source: while it fails they become rarer, and while it is idle they are rare.
func TestRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &live{name: "a", text: "retries: 1\n"}
		cfg := load(t, a)
		defer configtesting.Start(t, cfg)()
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
			t.Errorf("not recovered: %v", cfg.Err())
		}
	})
}

// TestLost follows a source that loses its connection, and calls Run twice.
func TestLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &live{name: "a", text: "retries: 1\n"}
		cfg := load(t, a)
		stop := configtesting.Start(t, cfg)
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
		defer configtesting.Start(t, cfg)() // a second Run after the first is fine
		synctest.Wait()
	})
}

// ending is a source whose watch ends at once unless stay is set.
type ending struct {
	*live
	watches atomic.Int64
	stay    atomic.Bool
}

func (e *ending) Watch(ctx context.Context, changed func(error)) error {
	if n := e.watches.Add(1); e.stay.Load() {
		return e.live.Watch(ctx, changed)
	} else if n%3 == 0 {
		panic("a defect of the source")
	} else if n%3 == 1 {
		return nil
	}
	return errors.New("stream broken")
}

// TestWatchEnds counts the restarts of a watch that ends. The end is a problem until a watch lasts.
func TestWatchEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &ending{live: &live{name: "a", text: "retries: 1\n"}}
		cfg := load(t, a)
		defer configtesting.Start(t, cfg)()
		time.Sleep(10 * time.Minute)
		if n := a.watches.Load(); n < 15 || n > 60 {
			t.Errorf("%d watches in ten minutes, want one every 15 to 30 seconds", n)
		}
		if err := cfg.Err(); !errors.Is(err, config.ErrUnavailable) || !strings.Contains(err.Error(), "changes are not seen: the watch ended") {
			t.Errorf("Err: %v", err)
		}
		a.mu.Lock()
		a.text = "retries: 2\n"
		a.mu.Unlock()
		a.stay.Store(true)
		time.Sleep(31 * time.Second)
		if cfg.Get().Retries != 2 || cfg.Err() != nil {
			t.Errorf("not restarted: %+v, %v", cfg.Get(), cfg.Err())
		}
	})
}

// TestOnChange checks which callbacks are called, with which values, in which order.
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
		if _, err := cfg.OnChange("retries", nil); !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), "no function to call") {
			t.Errorf("OnChange without a function: %v", err)
		}
		defer configtesting.Start(t, cfg)()
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

// TestViewWithoutFunction: a View ignores a nil function.
func TestViewWithoutFunction(t *testing.T) {
	providers, out := lines()
	a := &live{name: "a", text: "retries: 1\n"}
	cfg, err := config.Load[service](t.Context(), &config.Options{Sources: []config.Source{a}, Telemetry: providers})
	must(t, err)
	stop := config.NewView(cfg, func(s *service) *int { return &s.Retries }).OnChange(nil)
	a.set("retries: 2\n", nil)
	must(t, cfg.Reload(t.Context()))
	stop()
	if strings.Contains(out.String(), "panicked") {
		t.Error(out.String())
	}
}

// TestChanges: a quick loop gets every change, and a slow one gets several as one.
func TestChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &live{name: "a", text: "retries: 1\n"}
		cfg := load(t, a)
		defer configtesting.Start(t, cfg)()
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

// TestRandomChanges makes valid and invalid changes of three sources during concurrent reads. A reader sees only valid snapshots, each with
// whole changes. After each change the last valid documents are in force.
func TestRandomChanges(t *testing.T) { randomChanges(t, 1_000) }

// TestRandomChangesLong is TestRandomChanges with ten times as many changes.
func TestRandomChangesLong(t *testing.T) {
	suite.Long(t)
	randomChanges(t, 10_000)
}

func randomChanges(t *testing.T, changes int) {
	t.Helper()
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
				time.Sleep(20 * time.Microsecond) // four busy readers would leave no processor for Reload
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
		case 0: // halves that do not match
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
			t.Fatalf("change %d (%q) is bad, and nobody is notified; before: %+v", n, text, before.Value)
		}
		if got := *cfg.Get(); got.A != good["a"] || got.B != good["b"] || got.C != good["c"] {
			t.Fatalf("after change %d (%q): %+v, want %v", n, text, got, good)
		}
	}
	cancel()
	readers.Wait()
	t.Logf("%d changes applied, %d refused, %d looks", applied, refused, looks.Load())
	if applied < changes/4 || refused < changes/4 || looks.Load() == 0 {
		t.Error("too few changes or reads for a test")
	}
}

// checked is valid only if its halves match.
type checked struct {
	A, SameA int
	B, SameB int
	C, SameC int
	Sum      int
}

func (c *checked) Validate() error {
	if c.A != c.SameA || c.B != c.SameB || c.C != c.SameC || c.A%2+c.B%2+c.C%2 != 0 {
		return fmt.Errorf("halves do not match: %+v", *c)
	}
	return nil
}
