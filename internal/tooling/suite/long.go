package suite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// LongVariable is the environment variable that chooses which of the tests that take minutes are run:
//
//   - off, the default: none of them.
//   - short: the storms, in which every fault of an engine occurs, but not each fault by itself; and tests that wait for many seconds.
//   - on: all of them.
//   - folders of packages, separated by commas, relative to the module's root: all of them in those packages, short in the others.
const LongVariable = "OS_TEST_LONG"

// Long skips a test that takes long, unless all tests of its package run. Such a test injects faults into an engine for many seconds, or
// repeats a whole suite.
func Long(t testing.TB) {
	t.Helper()
	if chosen(t) < full {
		t.Skipf("takes long: set %s=on to run it", LongVariable)
	}
}

// Short skips a test that stands for several long ones, or waits for many seconds, if LongVariable is off.
func Short(t testing.TB) {
	t.Helper()
	if chosen(t) < short {
		t.Skipf("takes long: set %s=short to run it", LongVariable)
	}
}

// MeasureVariable is the environment variable that turns on the tests that measure a fleet: thousands of clients, for minutes. They need a
// quiet machine, and neither CI nor LongVariable runs them.
const MeasureVariable = "OS_TEST_MEASURE"

// Measure skips a test that measures a fleet, unless MeasureVariable is on.
func Measure(t testing.TB) {
	t.Helper()
	if os.Getenv(MeasureVariable) != "on" {
		t.Skipf("measures a fleet on a quiet machine: set %s=on to run it", MeasureVariable)
	}
}

// extent is how many of the long tests run.
type extent int

const (
	none extent = iota
	short
	full
)

// chosen returns the extent that the environment chooses for the package under test. The go command runs a test in its package's folder.
func chosen(t testing.TB) extent {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	chosen, err := extentOf(os.Getenv(LongVariable), dir)
	if err != nil {
		t.Fatalf("%s: %v: set it to on, short, off, or folders such as state/kv/etcdkv", LongVariable, err)
	}
	return chosen
}

// extentOf returns the extent that a value of LongVariable chooses for the package in a folder.
func extentOf(value, dir string) (extent, error) {
	switch value {
	case "", "off":
		return none, nil
	case "short":
		return short, nil
	case "on":
		return full, nil
	}
	root, err := moduleRoot(dir)
	if err != nil {
		return none, err
	}
	extent := short
	for folder := range strings.SplitSeq(value, ",") {
		listed := filepath.Join(root, filepath.FromSlash(folder))
		if info, err := os.Stat(listed); folder == "" || err != nil || !info.IsDir() {
			return none, fmt.Errorf("%q is not a folder of the module in %s", folder, root)
		}
		if listed == dir {
			extent = full
		}
	}
	return extent, nil
}

// moduleRoot returns the folder with the go.mod that governs a folder.
func moduleRoot(dir string) (string, error) {
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("the test runs outside a module")
		}
		dir = parent
	}
}
