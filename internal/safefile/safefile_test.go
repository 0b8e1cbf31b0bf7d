package safefile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-os/go-os/internal/fault"
)

func TestRead(t *testing.T) {
	name := filepath.Join(t.TempDir(), "state.json")
	if _, err := Read(name, 10); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v, want os.ErrNotExist", err)
	}
	if err := Write(name, []byte("0123456789")); err != nil {
		t.Fatal(err)
	}
	if data, err := Read(name, 10); err != nil || string(data) != "0123456789" {
		t.Errorf("%q, %v", data, err)
	}
	if _, err := Read(name, 9); !errors.Is(err, fault.TooLarge) {
		t.Errorf("over the limit: %v, want fault.TooLarge", err)
	}
	link := name + ".link"
	if err := os.Symlink(name, link); err != nil {
		t.Fatal(err)
	}
	for what, path := range map[string]string{"link": link, "folder": filepath.Dir(name)} {
		if _, err := Read(path, 10); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v, want fault.Invalid", what, err)
		}
	}
	if err := os.Chmod(name, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(name, 10); !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "0640") {
		t.Errorf("readable by a group: %v, want fault.Invalid with the mode", err)
	}
}

// TestWriteFails: a failed write leaves the old contents and no temporary file, and its error has the same text the next time.
func TestWriteFails(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "state")
	if err := os.MkdirAll(filepath.Join(name, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	first, second := Write(name, nil), Write(name, nil)
	if first == nil || second == nil || first.Error() != second.Error() {
		t.Errorf("errors %q and %q, want the same", first, second)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("files left: %v, %v", left, err)
	}
}

// TestLeftovers: temporary files of a crash are removed. Files of a running Write and of other targets stay.
func TestLeftovers(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "state.json")
	yesterday := time.Now().Add(-24 * time.Hour)
	for file, old := range map[string]bool{".state.json.1.tmp": true, ".state.json.2.tmp": false, ".other.json.1.tmp": true} {
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if old {
			if err := os.Chtimes(path, yesterday, yesterday); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := Read(name, 10); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var left []string
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if got := strings.Join(left, " "); err != nil || got != ".other.json.1.tmp .state.json.2.tmp" {
		t.Errorf("files left: %s, %v", got, err)
	}
}
