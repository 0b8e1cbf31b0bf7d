package log

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sdklog "go.opentelemetry.io/otel/sdk/log"

	"github.com/go-os/go-os/telemetry"
)

func mustSet(t *testing.T, l *Levels, name string, level slog.Level, revert time.Duration) {
	t.Helper()
	if err := l.Set(name, level, revert); err != nil {
		t.Fatal(err)
	}
}

func mustReset(t *testing.T, l *Levels, name string) {
	t.Helper()
	if err := l.Reset(name); err != nil {
		t.Fatal(err)
	}
}

func TestLevelsAreInherited(t *testing.T) {
	l := NewLevels(slog.LevelInfo)
	mustSet(t, l, "state", slog.LevelWarn, 0)
	mustSet(t, l, "state.kv.etcd", slog.LevelDebug, 0)
	mustSet(t, l, "example.com/app/db", slog.LevelError, 0)
	for name, want := range map[string]slog.Level{
		"": slog.LevelInfo, "other": slog.LevelInfo, "state": slog.LevelWarn, "state.kv": slog.LevelWarn, "state/kv": slog.LevelWarn,
		"state.kv.etcd": slog.LevelDebug, "state.kv.etcd.watch": slog.LevelDebug, "statement": slog.LevelInfo,
		"example.com/app": slog.LevelInfo, "example.com/app/db": slog.LevelError, "example.com/app/db/sql": slog.LevelError,
	} {
		if got := l.Get(name); got != want {
			t.Errorf("level of %q is %v, want %v", name, got, want)
		}
	}
	mustReset(t, l, "state")
	mustReset(t, l, "never")
	if got := l.Get("state.kv"); got != slog.LevelInfo {
		t.Errorf("after a reset, the level is %v, want that of the default", got)
	}
}

func TestLoggersFollowLevels(t *testing.T) {
	levels := NewLevels(slog.LevelInfo)
	root := New(&Options{Levels: levels}, JSON(&buffer{}, nil))
	kv := Named(root, "state.kv")
	derived := kv.With("a", 1).WithGroup("g")
	on := func(l *slog.Logger) bool { return l.Enabled(t.Context(), slog.LevelDebug) }
	if on(root) || on(kv) || on(derived) {
		t.Error("debug is on by default")
	}
	mustSet(t, levels, "state", slog.LevelDebug, 0)
	if on(root) || !on(kv) || !on(derived) {
		t.Error("loggers that exist do not follow a change of the name above them")
	}
	mustSet(t, levels, "state.kv", slog.LevelError, 0)
	if on(kv) || kv.Enabled(t.Context(), slog.LevelWarn) || !kv.Enabled(t.Context(), slog.LevelError) {
		t.Error("the nearest name does not decide")
	}
	if got := levels.Names(); !slices.Equal(got, []string{"state.kv"}) {
		t.Errorf("names in use are %q", got)
	}
}

func TestTemporaryLevelsRevert(t *testing.T) {
	const a, b = slog.LevelDebug, slog.LevelError
	type step struct {
		do   func(*testing.T, *Levels)
		want slog.Level // of "x.y", right after
	}
	set := func(name string, level slog.Level, revert time.Duration) func(*testing.T, *Levels) {
		return func(t *testing.T, l *Levels) { mustSet(t, l, name, level, revert) }
	}
	wait := func(d time.Duration) func(*testing.T, *Levels) {
		return func(*testing.T, *Levels) { time.Sleep(d); synctest.Wait() }
	}
	reset := func(name string) func(*testing.T, *Levels) {
		return func(t *testing.T, l *Levels) { mustReset(t, l, name) }
	}
	const m = time.Minute
	for name, steps := range map[string][]step{
		"reverts to what is inherited": {{set("x.y", a, m), a}, {wait(m - 1), a}, {wait(1), slog.LevelInfo}},
		"reverts to what lasts":        {{set("x.y", b, 0), b}, {set("x.y", a, m), a}, {wait(m), b}},
		"the default reverts":          {{set("", a, m), a}, {wait(m), slog.LevelInfo}},
		"longer replaces shorter":      {{set("x.y", a, m), a}, {set("x.y", b, 3*m), b}, {wait(2 * m), b}, {wait(m), slog.LevelInfo}},
		"shorter replaces longer":      {{set("x.y", a, 3*m), a}, {set("x.y", b, m), b}, {wait(m), slog.LevelInfo}, {wait(5 * m), slog.LevelInfo}},
		"the same again starts anew":   {{set("x.y", a, 2*m), a}, {wait(m), a}, {set("x.y", a, 2*m), a}, {wait(m), a}, {wait(m), slog.LevelInfo}},
		"lasting ends temporary":       {{set("x.y", a, m), a}, {set("x.y", b, 0), b}, {wait(2 * m), b}},
		"reset ends temporary":         {{set("x.y", b, 0), b}, {set("x.y", a, m), a}, {reset("x.y"), slog.LevelInfo}, {set("x.y", b, 0), b}, {wait(2 * m), b}},
		"reset of the default":         {{set("", a, m), a}, {reset(""), slog.LevelInfo}, {wait(2 * m), slog.LevelInfo}},
		"names revert one by one":      {{set("x", b, 2*m), b}, {set("x.y", a, m), a}, {wait(m), b}, {wait(m), slog.LevelInfo}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := NewLevels(slog.LevelInfo)
				for i, s := range steps {
					s.do(t, l)
					if got := l.Get("x.y"); got != s.want {
						t.Fatalf("after step %d the level is %v, want %v", i, got, s.want)
					}
				}
				mustReset(t, l, "x.y") // ends timers
			})
		})
	}
}

// TestARevertThatComesTooLate fires a timer while the level is being replaced. It must not revert the new level.
func TestARevertThatComesTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLevels(slog.LevelInfo)
		mustSet(t, l, "x", slog.LevelDebug, time.Hour)
		l.mu.Lock() // as Set does, while the timer fires
		s := l.settings["x"]
		s.timer.Stop()
		s.timer = l.revertAfter(1, "x", s)
		time.Sleep(time.Nanosecond)
		if s.timer.Stop() {
			t.Fatal("the timer has not fired")
		}
		s.timer = l.revertAfter(time.Hour, "x", s)
		l.mu.Unlock()
		synctest.Wait()
		if got := l.Get("x"); got != slog.LevelDebug {
			t.Errorf("the level is %v, want that of the replacement", got)
		}
		mustReset(t, l, "x")
	})
}

func TestAllLevels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLevels(slog.LevelInfo)
		mustSet(t, l, "b", slog.LevelWarn, 0)
		mustSet(t, l, "a", slog.LevelDebug, time.Minute)
		got := fmt.Sprint(l.All())
		want := fmt.Sprint([]LevelSetting{{"", slog.LevelInfo, time.Time{}}, {"a", slog.LevelDebug, time.Now().Add(time.Minute)},
			{"b", slog.LevelWarn, time.Time{}}})
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(l.All()); n != 2 {
			t.Errorf("%d settings after the revert, want 2", n)
		}
	})
}

func TestLevelsRefuse(t *testing.T) {
	l := NewLevels(slog.LevelInfo)
	for name, revert := range map[string]time.Duration{
		"x": -1, ".x": 0, "x.": 0, "x..y": 0, "x/.y": 0, "x y": 0, "x\n": 0, "x\xff": 0, strings.Repeat("x", maxNameLength+1): 0,
	} {
		if err := l.Set(name, slog.LevelDebug, revert); !errors.Is(err, ErrInvalid) {
			t.Errorf("Set(%q, %v) returned %v, want ErrInvalid", name, revert, err)
		}
		if err := l.Reset(name); revert == 0 && !errors.Is(err, ErrInvalid) {
			t.Errorf("Reset(%q) returned %v, want ErrInvalid", name, err)
		}
	}
	if n := len(l.All()); n != 1 {
		t.Errorf("refused settings are there: %d", n)
	}
	l.gate(strings.Repeat("x", maxNameLength+1))
	if names := l.Names(); len(names) != 0 {
		t.Errorf("a name of %d bytes is remembered", len(names[0]))
	}
	for i := range maxLevelNames + 1 {
		err := l.Set(fmt.Sprint("x", i), slog.LevelDebug, 0)
		if full := i >= maxLevelNames-1; full != errors.Is(err, ErrInvalid) {
			t.Fatalf("setting %d returned %v", i, err)
		}
		l.gate(fmt.Sprint("x", i))
	}
	if n := len(l.Names()); n != maxLevelNames {
		t.Errorf("%d names are remembered, want %d", n, maxLevelNames)
	}
	mustSet(t, l, "x1", slog.LevelWarn, 0) // a name that has a level can still be changed
}

func TestLevelChangesAreEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rec recorder
		p := telemetry.Off()
		p.LoggerProvider = sdklog.NewLoggerProvider(sdklog.WithProcessor(&rec))
		l := NewLevels(slog.LevelInfo)
		mustSet(t, l, "before", slog.LevelWarn, 0)
		l.Observe(p)
		mustSet(t, l, "x.y", slog.LevelDebug, time.Minute)
		time.Sleep(time.Minute)
		synctest.Wait()
		mustReset(t, l, "before")
		if err := l.Set("..", slog.LevelDebug, 0); err == nil {
			t.Error("a bad name was taken")
		}
		for _, unset := range []string{"before", "never", ""} { // these change nothing, and emit no event
			mustReset(t, l, unset)
		}
		var got []string
		for i, m := range rec.maps() {
			if name := rec.records[i].EventName(); name != "goos.log.level.changed" {
				t.Errorf("event name is %q", name)
			}
			got = append(got, fmt.Sprint(m["goos.log.logger"], " ", m["goos.log.previous_level"], "→", m["goos.log.level"], " ",
				m["goos.log.reason"], " ", m["goos.log.revert_after"]))
		}
		want := []string{"x.y INFO→DEBUG set 60", "x.y DEBUG→INFO reverted <nil>", "before WARN→INFO reset <nil>"}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// TestZeroLevels checks that Options.Levels may point to a zero Levels.
func TestZeroLevels(t *testing.T) {
	var l Levels
	logger := Named(New(&Options{Levels: &l}, JSON(&buffer{}, nil)), "a")
	if l.Get("a") != slog.LevelInfo || logger.Enabled(t.Context(), slog.LevelDebug) || !logger.Enabled(t.Context(), slog.LevelInfo) {
		t.Errorf("the level is %v, want info", l.Get("a"))
	}
	if got := fmt.Sprint(l.Names()); got != "[a]" {
		t.Errorf("the names are %s", got)
	}
	mustSet(t, &l, "a", slog.LevelDebug, 0)
	if !logger.Enabled(t.Context(), slog.LevelDebug) || l.Get("b") != slog.LevelInfo {
		t.Error("Set does not work as it does on NewLevels(slog.LevelInfo)")
	}
	var other Levels
	mustReset(t, &other, "a")
	var shown Levels
	if got := fmt.Sprint(shown.All()); got != fmt.Sprint([]LevelSetting{{"", slog.LevelInfo, time.Time{}}}) {
		t.Errorf("All() is %s", got)
	}
}
