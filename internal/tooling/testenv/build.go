package testenv

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

const (
	reportEvery = 30 * time.Second
	// keepUnused is how long the program of an older pin stays in the cache after its last build. Branches that still use that pin would
	// otherwise have to build it again.
	keepUnused = 30 * 24 * time.Hour
)

// target returns the path of the engine's program. The name holds a hash of all inputs, so that a change of pins, code, tags or Go version
// gives another file.
func (f *Finder) target(e *Engine) (string, error) {
	module := filepath.Join(f.Root, filepath.FromSlash(e.Module))
	files, err := filepath.Glob(filepath.Join(module, "*"))
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	fmt.Fprintln(hash, runtime.Version(), runtime.GOOS, runtime.GOARCH, e.Package, e.Tags)
	pinned := false
	for _, file := range files {
		name := filepath.Base(file)
		if name != "go.mod" && name != "go.sum" && filepath.Ext(name) != ".go" {
			continue
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(hash, "%s %d\n%s", name, len(content), content)
		pinned = pinned || name == "go.mod"
	}
	if !pinned {
		return "", fmt.Errorf("%s: no go.mod in %s: the engine's Module must be a folder with a module of its own", e.Name, module)
	}
	name := e.Name + "-" + hex.EncodeToString(hash.Sum(nil))[:16]
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return filepath.Join(f.Cache, name), nil
}

// build builds the engine's program at path. One process builds; others that want the same program wait for it.
func (f *Finder) build(ctx context.Context, e *Engine, path string) error {
	if err := os.MkdirAll(f.Cache, 0o755); err != nil {
		return err
	}
	unlock, err := f.lock(ctx, e.Name, path+".lock")
	if err != nil {
		return err
	}
	defer unlock()
	if present(path) {
		return nil // built by the previous holder of the lock
	}
	// The lock is held, so any folder of this name was left by a build that was killed.
	leftovers, _ := filepath.Glob(path + ".build-*")
	for _, dir := range leftovers {
		os.RemoveAll(dir)
	}
	work, err := os.MkdirTemp(f.Cache, filepath.Base(path)+".build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	done := f.report(fmt.Sprintf("building %s (once, cached in %s)", e.Name, f.Cache))
	defer done()
	fresh := filepath.Join(work, filepath.Base(path))
	if err := compile(ctx, filepath.Join(f.Root, filepath.FromSlash(e.Module)), e, fresh); err != nil {
		return err
	}
	f.forget(e, path)
	return os.Rename(fresh, path)
}

// compile runs "go build" in the engine's module.
func compile(ctx context.Context, module string, e *Engine, output string) error {
	target := e.Package
	if target == "" {
		target = "."
	}
	// -mod=readonly builds exactly what the committed go.sum pins. The symbol table is of no use to a test.
	args := []string{"build", "-mod=readonly", "-buildvcs=false", "-ldflags=-s -w", "-o", output}
	if e.Tags != "" {
		args = append(args, "-tags="+e.Tags)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, target)...)
	cmd.Dir = module
	cmd.Env = append(slices.DeleteFunc(os.Environ(), crossCompiles), "GOWORK=off", "PWD="+module)
	cmd.WaitDelay = 10 * time.Second // a killed go command may leave a compiler that still holds the pipe
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("go build in %s was given up: %w: build it before the tests, go run ./internal/tooling/testenv/cmd/engines %s", e.Module, context.Cause(ctx), e.Name)
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("the go command is not on PATH: %w", err)
	default:
		return fmt.Errorf("go build in %s: %w\n%s", e.Module, err, tail(said.String(), 20))
	}
}

// crossCompiles reports whether an environment entry would produce a program that this machine cannot run.
func crossCompiles(entry string) bool {
	return strings.HasPrefix(entry, "GOOS=") || strings.HasPrefix(entry, "GOARCH=")
}

// forget removes old programs of the same engine that were built from older pins.
func (f *Finder) forget(e *Engine, except string) {
	old, _ := filepath.Glob(filepath.Join(f.Cache, e.Name+"-"+strings.Repeat("[0-9a-f]", 16)+"*"))
	for _, path := range old {
		info, err := os.Stat(path)
		if err == nil && !strings.HasPrefix(path, except) && time.Since(info.ModTime()) > keepUnused {
			os.RemoveAll(path)
		}
	}
}

// report prints a line about a long operation at once, and then every half minute until done is called.
func (f *Finder) report(what string) (done func()) {
	start := time.Now()
	fmt.Fprintf(f.Progress, "testenv: %s …\n", what)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(reportEvery)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				fmt.Fprintf(f.Progress, "testenv: %s … %s so far\n", what, time.Since(start).Round(time.Second))
			}
		}
	}()
	return func() { close(stop); <-stopped }
}

// tail returns the last lines of text.
func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if cut := len(all) - lines; cut > 0 {
		all = append([]string{fmt.Sprintf("(%d earlier lines left out)", cut)}, all[cut:]...)
	}
	return strings.Join(all, "\n")
}
