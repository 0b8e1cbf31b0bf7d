package testenv

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// helperVariable makes this test binary act as another process. Its value is the role.
const helperVariable = "TESTENV_HELPER"

func TestMain(m *testing.M) {
	switch role, argument, _ := strings.Cut(os.Getenv(helperVariable), "="); role {
	case "":
		code := Run(m)
		if cache, err := fakeCache(); err == nil {
			_ = os.RemoveAll(cache)
		}
		os.Exit(code)
	case "builder":
		helpBuild(argument)
	case "parent":
		helpParent(argument)
	}
}

// helper starts this test binary in a role, and returns it with the first line of its output.
func helper(t *testing.T, role string) (cmd *exec.Cmd, said string) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperVariable+"="+role)
	cmd.Stderr = os.Stderr
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	said, err = bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatalf("helper %s said nothing: %v", role, err)
	}
	return cmd, strings.TrimSpace(said)
}

// helpBuild acts as a process in the middle of a build of target: it holds the lock, and its folder has half a program.
func helpBuild(target string) {
	unlock, err := tryLock(target + ".lock")
	if err == nil && unlock == nil {
		err = errors.New("locked by someone else")
	}
	if err == nil {
		err = os.MkdirAll(target+".build-1", 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(target+".build-1", "fake"), []byte("half"), 0o755)
	}
	fmt.Println("ready", err)
	select {}
}

func TestBuildWaitsForAnotherProcessAndOutlivesItsDeath(t *testing.T) {
	finder, progress := testFinder(t, Auto)
	engine := &Engine{Name: "fake", Weight: Light, Module: "fake"}
	target, err := finder.target(engine)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(finder.Cache, 0o755); err != nil {
		t.Fatal(err)
	}
	other, said := helper(t, "builder="+target)
	if said != "ready <nil>" {
		t.Fatalf("helper: %s", said)
	}
	impatient, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := finder.Find(impatient, engine); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "another process was still building fake") {
		t.Errorf("Find while another process builds: %v", err)
	}
	finder = &Finder{Mode: Auto, Cache: finder.Cache, Root: finder.Root, LookPath: finder.LookPath, Progress: progress}
	found := make(chan error, 1)
	go func() {
		_, err := finder.Find(t.Context(), engine)
		found <- err
	}()
	Eventually(t, 20*time.Second, "the second wait to be reported", func() error {
		if n := progress.count("waiting for another process that builds fake"); n != 2 {
			return fmt.Errorf("reported %d times", n)
		}
		return nil
	})
	select {
	case err := <-found:
		t.Fatalf("Find returned %v while another process holds the lock", err)
	default:
	}
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-found; err != nil {
		t.Errorf("Find after the other process died: %v", err)
	}
	if left := cached(t, finder); len(left) != 1 || left[0] != filepath.Base(target) {
		t.Errorf("the cache holds %v, want the program alone", left)
	}
}

func TestBuildHappensOnceForManyWhoWantIt(t *testing.T) {
	first, progress := testFinder(t, Auto)
	var all sync.WaitGroup
	for range 4 {
		// One finder each, as in separate test processes: only the lock file is shared.
		finder := &Finder{Mode: Auto, Cache: first.Cache, Root: first.Root, LookPath: first.LookPath, Progress: progress}
		all.Go(func() {
			if _, err := finder.Find(t.Context(), &Engine{Name: "fake", Weight: Light, Module: "fake"}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := progress.count("building fake (once, cached in "); n != 1 {
		t.Errorf("built %d times, want once", n)
	}
}

// TestTornBuildLeavesNothingBehind: a build that is interrupted must leave neither a program nor a folder, and must be reported as
// interrupted.
func TestTornBuildLeavesNothingBehind(t *testing.T) {
	finder, progress := testFinder(t, Auto)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := finder.Find(ctx, &Engine{Name: "fake", Weight: Light, Module: "fake"})
		failed <- err
	}()
	Eventually(t, 20*time.Second, "the build to have its folder", func() error {
		if left, _ := filepath.Glob(filepath.Join(finder.Cache, "*.build-*")); len(left) == 0 || progress.count("building fake") == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "build it before the tests") {
		t.Errorf("Find: %v, want a build that was given up", err)
	}
	if left := cached(t, finder); len(left) != 0 {
		t.Errorf("the cache holds %v after a build that was given up", left)
	}
}

func TestTargetFollowsWhatGoesIntoTheProgram(t *testing.T) {
	root := t.TempDir()
	finder := &Finder{Root: root, Cache: root}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(root, "m", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(root, "m"), 0o755); err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	record := func(what string, e *Engine, fresh bool) {
		t.Helper()
		path, err := finder.target(e)
		if err != nil {
			t.Fatal(err)
		}
		if before, known := seen[path]; known == fresh {
			t.Errorf("%s: same program as %q: %t, want %t", what, before, known, !fresh)
		}
		seen[path] = what
	}
	engine := &Engine{Name: "m", Module: "m"}
	write("go.mod", "module m")
	record("first", engine, true)
	record("nothing changed", engine, false)
	write("README.md", "hello")
	record("a file that is not built", engine, false)
	write("go.sum", "a pin")
	record("go.sum", engine, true)
	write("main.go", "package main")
	record("code", engine, true)
	record("tags", &Engine{Name: "m", Module: "m", Tags: "x"}, true)
	record("package", &Engine{Name: "m", Module: "m", Package: "x"}, true)
}

func TestBuildForgetsProgramsOfOldPins(t *testing.T) {
	finder, _ := testFinder(t, Auto)
	if err := os.MkdirAll(finder.Cache, 0o755); err != nil {
		t.Fatal(err)
	}
	const hash = "-0123456789abcdef"
	long := time.Now().Add(-2 * keepUnused)
	for _, name := range []string{"fake" + hash, "fake" + hash + ".lock", "faker" + hash, "fake-x" + hash} {
		path := filepath.Join(finder.Cache, name)
		if err := os.WriteFile(path, nil, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, long, long); err != nil {
			t.Fatal(err)
		}
	}
	recent := filepath.Join(finder.Cache, "fake-fedcba9876543210")
	if err := os.WriteFile(recent, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	program, err := finder.Find(t.Context(), &Engine{Name: "fake", Weight: Light, Module: "fake"})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		program.Path: true, recent: true,
		filepath.Join(finder.Cache, "faker"+hash):        true, // other engines
		filepath.Join(finder.Cache, "fake-x"+hash):       true,
		filepath.Join(finder.Cache, "fake"+hash):         false,
		filepath.Join(finder.Cache, "fake"+hash+".lock"): false,
	} {
		if present(path) != want {
			t.Errorf("%s is there: %t, want %t", filepath.Base(path), !want, want)
		}
	}
}
