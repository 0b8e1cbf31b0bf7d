package testenv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
)

// The errors of Find.
var (
	// ErrOff means that engines are switched off.
	ErrOff = errors.New("engines are off")
	// ErrMissing means that the engine is neither in the cache nor on the machine, and could not or should not be built.
	ErrMissing = errors.New("engine missing")
)

// Finder finds the programs of engines, and builds those that it may build.
type Finder struct {
	// Mode decides what may be built.
	Mode Mode
	// Cache is the folder of built programs.
	Cache string
	// Root is the repository's root folder, which Engine.Module is relative to.
	Root string
	// LookPath finds a command on the machine; exec.LookPath outside this package's tests.
	LookPath func(command string) (string, error)
	// Progress receives a line when a build starts, and one every half minute while it runs.
	Progress io.Writer

	mu     sync.Mutex
	failed map[string]error // by engine name: builds that failed in this process and are not retried
}

// NewFinder returns the finder that the environment describes: the mode from OS_TEST_ENGINES, programs in the user's cache folder, progress
// on standard error.
func NewFinder() (*Finder, error) {
	mode, err := modeFromEnvironment()
	if err != nil {
		return nil, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("no folder to keep engines in: %w", err)
	}
	root, err := repositoryRoot()
	if err != nil {
		return nil, err
	}
	return &Finder{
		Mode:     mode,
		Cache:    filepath.Join(cache, "go-os", "engines"),
		Root:     root,
		LookPath: exec.LookPath,
		Progress: os.Stderr,
	}, nil
}

// Find returns the engine's program. It prefers the pinned program in the cache, then a fresh build where weight and mode allow it, then
// the machine's own program. Errors: ErrOff, ErrMissing (with the places searched and the remedy), or an error about an invalid description
// of the engine.
func (f *Finder) Find(ctx context.Context, e *Engine) (Program, error) {
	if f.Mode == Off {
		return Program{}, fmt.Errorf("%s is not started: %w (%s=off)", e.Name, ErrOff, modeVariable)
	}
	if e.Module != "" && (e.Weight == Light || f.Mode == Require) {
		return f.pinned(ctx, e)
	}
	return f.Lookup(e)
}

// Lookup returns the engine's program if it is already there, and builds nothing. It returns the same errors as Find.
func (f *Finder) Lookup(e *Engine) (Program, error) {
	if e.Module != "" {
		path, err := f.target(e)
		if err != nil {
			return Program{}, err
		}
		if present(path) {
			return Program{Path: path, Pinned: true}, nil
		}
	}
	if e.Command != "" {
		if path, err := f.LookPath(e.Command); err == nil {
			return Program{Path: path}, nil
		}
	}
	return Program{}, f.missing(e, nil)
}

// pinned returns the program built from the engine's module, and builds it if it is missing.
func (f *Finder) pinned(ctx context.Context, e *Engine) (Program, error) {
	path, err := f.target(e)
	if err != nil {
		return Program{}, err
	}
	if present(path) {
		return Program{Path: path, Pinned: true}, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if before := f.failed[e.Name]; before != nil {
		return Program{}, before
	}
	if err := f.build(ctx, e, path); err != nil {
		err = f.missing(e, err)
		if f.failed == nil {
			f.failed = map[string]error{}
		}
		f.failed[e.Name] = err
		return Program{}, err
	}
	return Program{Path: path, Pinned: true}, nil
}

// missing returns the error for an unavailable engine. It names every place that was searched, and the remedy.
func (f *Finder) missing(e *Engine, cause error) error {
	var looked []string
	if e.Module != "" {
		looked = append(looked, "a build of "+e.Module+" in "+f.Cache)
	}
	if e.Command != "" {
		looked = append(looked, "the command "+e.Command+" on PATH")
	}
	remedy := e.Remedy
	if remedy == "" {
		remedy = "go run ./internal/tooling/testenv/cmd/engines " + e.Name
	}
	text := fmt.Sprintf("%s: looked for %s; remedy: %s, then run the tests with -count=1", e.Name, strings.Join(looked, " and "), remedy)
	if cause != nil {
		return fmt.Errorf("%w: %s: %w", ErrMissing, text, cause)
	}
	return fmt.Errorf("%w: %s", ErrMissing, text)
}

// repositoryRoot finds the folder of the repository's go.mod above this source file. A binary built with -trimpath names no file; then it
// searches above the working folder.
func repositoryRoot() (string, error) {
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) && present(file) {
		return filepath.Join(filepath.Dir(file), "..", "..", ".."), nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if present(filepath.Join(dir, "internal", "tooling", "testenv", "find.go")) {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("the engines' modules are in internal/tooling/engines of the repository: run inside a checkout of it")
		}
	}
}

// present reports whether path exists.
func present(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
