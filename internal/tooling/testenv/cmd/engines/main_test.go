package main

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-os/go-os/internal/tooling/testenv"
)

func TestListBuildsNothingAndBuildBuilds(t *testing.T) {
	root, err := filepath.Abs("../../testdata")
	if err != nil {
		t.Fatal(err)
	}
	engines := []*testenv.Engine{
		{Name: "fake", Weight: testenv.Heavy, Module: "fake"},
		{Name: "system", Weight: testenv.Installed, Command: "system-server"},
		{Name: "absent", Weight: testenv.Installed, Command: "absent-server", Remedy: "install it"},
	}
	finder := &testenv.Finder{Cache: t.TempDir(), Root: root, Progress: io.Discard, LookPath: func(command string) (string, error) {
		if command == "system-server" {
			return "/bin/system-server", nil
		}
		return "", exec.ErrNotFound
	}}
	do := func(args ...string) (rows map[string][]string, err error) {
		var out bytes.Buffer
		err = run(t.Context(), args, &out, finder, engines)
		rows = map[string][]string{}
		for line := range strings.Lines(out.String()) {
			fields := strings.Fields(line)
			rows[fields[0]] = fields[1:]
		}
		return rows, err
	}
	rows, err := do("-list")
	if !errors.Is(err, testenv.ErrMissing) || !strings.Contains(err.Error(), "install it") {
		t.Errorf("-list with engines missing: %v", err)
	}
	if len(rows) != 3 || rows["fake"][1] != "missing" || rows["absent"][1] != "missing" || strings.Join(rows["system"], " ") != "installed installed /bin/system-server" {
		t.Errorf("-list prints %v", rows)
	}
	rows, err = do("fake", "system")
	if err != nil || len(rows) != 2 || rows["fake"][1] != "built" || filepath.Dir(rows["fake"][2]) != finder.Cache {
		t.Errorf("building prints %v, %v", rows, err)
	}
	if rows, err = do("-list", "fake"); err != nil || rows["fake"][1] != "built" {
		t.Errorf("-list after building prints %v, %v", rows, err)
	}
	if _, err := do("fak"); err == nil || !strings.Contains(err.Error(), "fake, system, absent") {
		t.Errorf("a name that does not exist: %v, want an error that lists those that do", err)
	}
}
