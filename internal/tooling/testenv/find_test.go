package testenv

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// lines is a writer that can be read during writes.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

// testFinder returns a finder over this folder's testdata, with an empty cache and an empty PATH.
func testFinder(t testing.TB, mode Mode) (*Finder, *lines) {
	t.Helper()
	root, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	progress := &lines{}
	return &Finder{
		Mode:     mode,
		Cache:    filepath.Join(t.TempDir(), "engines"),
		Root:     root,
		LookPath: func(string) (string, error) { return "", exec.ErrNotFound },
		Progress: progress,
	}, progress
}

// fakeCache is the folder in which all tests of this process find the fake server. TestMain removes it.
var fakeCache = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "go-os-fake-engine-") })

// fakeProgram returns the fake server. It is built once.
func fakeProgram(t testing.TB) Program {
	t.Helper()
	cache, err := fakeCache()
	if err != nil {
		t.Fatal(err)
	}
	finder, _ := testFinder(t, Auto)
	finder.Cache = cache
	return demand(t, finder, &Engine{Name: "fake", Weight: Light, Module: "fake"})
}

func TestParseModeRefusesWhatIsNotAMode(t *testing.T) {
	for text, want := range map[string]Mode{"": Auto, "auto": Auto, "require": Require, "off": Off} {
		if got, err := ParseMode(text); got != want || err != nil {
			t.Errorf("ParseMode(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"requir", "REQUIRE", "on", "1", " auto"} {
		_, err := ParseMode(text)
		if err == nil || !strings.Contains(err.Error(), modeVariable) || !strings.Contains(err.Error(), "require") {
			t.Errorf("ParseMode(%q): %v, want an error that names the variable and the modes", text, err)
		}
	}
}

func TestNewFinderReadsTheEnvironment(t *testing.T) {
	t.Setenv(modeVariable, "require")
	finder, err := NewFinder()
	if err != nil || finder.Mode != Require {
		t.Fatalf("NewFinder: %v, %v, want mode require", finder, err)
	}
	for _, e := range Engines() {
		if e.Weight != Installed && !present(filepath.Join(finder.Root, e.Module, "go.mod")) {
			t.Errorf("%s: no module in %s of %s", e.Name, e.Module, finder.Root)
		}
	}
	t.Setenv(modeVariable, "sometimes")
	if _, err := NewFinder(); err == nil || !strings.Contains(err.Error(), "sometimes") {
		t.Errorf("NewFinder with a mode that does not exist: %v", err)
	}
}

// TestDemandByMode checks the result for a test by mode, by weight, and by the place of the engine.
func TestDemandByMode(t *testing.T) {
	type outcome string
	const (
		built   outcome = "built"
		machine outcome = "the machine's"
		skip    outcome = "skip"
		fail    outcome = "fail"
	)
	for _, c := range []struct {
		mode   Mode
		weight Weight
		cached bool // built before
		onPath bool
		want   outcome
	}{
		{Auto, Light, false, false, built},
		{Auto, Light, false, true, built},
		{Auto, Heavy, false, false, skip},
		{Auto, Heavy, false, true, machine},
		{Auto, Heavy, true, true, built},
		{Auto, Installed, false, false, skip},
		{Auto, Installed, false, true, machine},
		{Require, Light, false, false, built},
		{Require, Heavy, false, true, built},
		{Require, Installed, false, false, fail},
		{Require, Installed, false, true, machine},
		{Off, Light, true, true, skip},
		{Off, Installed, false, true, skip},
	} {
		finder, _ := testFinder(t, c.mode)
		engine := &Engine{Name: "fake", Weight: c.weight, Command: "fake-server"}
		if c.weight != Installed {
			engine.Module = "fake"
		}
		if c.cached {
			program := fakeProgram(t).Path
			if err := os.MkdirAll(finder.Cache, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(program, filepath.Join(finder.Cache, filepath.Base(program))); err != nil {
				t.Fatal(err)
			}
		}
		if c.onPath {
			finder.LookPath = func(command string) (string, error) { return "/bin/" + command, nil }
		}
		var got Program
		r := observe(t, func(t testing.TB) { got = demand(t, finder, engine) })
		switch found := map[outcome]bool{
			built:   got.Pinned && present(got.Path) && filepath.Dir(got.Path) == finder.Cache,
			machine: got == Program{Path: "/bin/fake-server"},
			skip:    r.skipped != "" && !r.Failed(),
			fail:    r.Failed(),
		}; {
		case !found[c.want]:
			t.Errorf("%+v: got %+v, skip %q, failure %q", c, got, r.skipped, r.failed())
		case c.want == skip && c.mode == Off && !strings.Contains(r.skipped, "OS_TEST_ENGINES=off"),
			c.want == skip && !strings.Contains(r.skipped, "fake"),
			c.want == skip && c.mode == Auto && !strings.Contains(r.skipped, "the command fake-server on PATH"),
			c.want == skip && c.mode == Auto && !strings.Contains(r.skipped, "remedy: go run ./internal/tooling/testenv/cmd/engines fake"):
			t.Errorf("%+v: skip does not say what, where and how: %q", c, r.skipped)
		}
	}
}

func TestEngineThatDoesNotBuildIsSkippedOrFailsAndIsTriedOnce(t *testing.T) {
	for _, mode := range []Mode{Auto, Require} {
		finder, progress := testFinder(t, mode)
		engine := &Engine{Name: "broken", Weight: Light, Module: "broken", Remedy: "mend it"}
		for range 2 {
			r := observe(t, func(t testing.TB) { demand(t, finder, engine) })
			said := r.skipped + r.failed()
			if r.Failed() != (mode == Require) || !strings.Contains(said, "undefined: undefined") || !strings.Contains(said, "mend it") {
				t.Errorf("%s: skip %q, failure %q: want the compiler's words and the remedy", mode, r.skipped, r.failed())
			}
		}
		if n := progress.count("building broken"); n != 1 {
			t.Errorf("%s: built %d times, want once", mode, n)
		}
		if left := cached(t, finder); len(left) != 0 {
			t.Errorf("%s: the build left %v", mode, left)
		}
	}
}

func TestEngineWithoutItsModuleIsAnError(t *testing.T) {
	finder, _ := testFinder(t, Auto)
	_, err := finder.Find(t.Context(), &Engine{Name: "ghost", Weight: Light, Module: "ghost"})
	if err == nil || errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "ghost") {
		t.Errorf("Find: %v, want an error that no mode turns into a skip", err)
	}
}

// cached lists the contents of a finder's cache, without lock files.
func cached(t *testing.T, finder *Finder) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(finder.Cache)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), ".lock") {
			names = append(names, entry.Name())
		}
	}
	return names
}
