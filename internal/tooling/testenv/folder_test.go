package testenv

import (
	"os"
	"path/filepath"
	"testing"
)

// TestSweep: the folder of a process that has ended is removed. The folder of a live process is not.
func TestSweep(t *testing.T) {
	parent := t.TempDir()
	alive, err := claimFolder(parent)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(alive.unlock)
	ended, err := claimFolder(parent)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(ended.path, "data"), []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	ended.unlock() // as the kernel does
	stranger := filepath.Join(parent, "other")
	if err := os.Mkdir(stranger, 0o755); err != nil {
		t.Fatal(err)
	}
	sweep(parent)
	for path, want := range map[string]bool{alive.path: true, ended.path: false, stranger: true} {
		if present(path) != want {
			t.Errorf("%s is there: %v, want %v", path, !want, want)
		}
	}
}

// TestNewFolder: a test leaves nothing behind.
func TestNewFolder(t *testing.T) {
	var dir string
	t.Run("test", func(t *testing.T) {
		dir = newFolder(t)
		if err := os.WriteFile(filepath.Join(dir, "data"), []byte("data"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	if present(dir) {
		t.Errorf("%s is left", dir)
	}
}
