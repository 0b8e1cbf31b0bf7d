//go:build linux

package log

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/go-os/go-os/telemetry"
)

// TestFileRefusesAPipe would hang if OpenFile opened the pipe, which has no reader.
func TestFileRefusesAPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFile(pipe, nil); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("OpenFile of a pipe returned %v", err)
	}
}

// TestFileOnAFullDisk fills a small file system. Every record is complete, or counted as failed.
func TestFileOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("mounting a small file system needs root: %v", err)
	}
	defer syscall.Unmount(dir, 0)
	f, err := OpenFile(filepath.Join(dir, "app.log"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 40<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	h := NewHandler(&Options{Telemetry: telemetry.Off(), ErrorHandler: func(error) {}}, JSON(f, nil))
	l := slog.New(h)
	const records = 400
	for i := range records {
		if i == records/2 {
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
		}
		l.Info(strings.Repeat("x", 97), "n", i)
	}
	text, err := os.ReadFile(filepath.Join(dir, "app.log"))
	if err != nil {
		t.Fatal(err)
	}
	whole := 0
	for line := range strings.Lines(string(text)) {
		if json.Valid([]byte(line)) {
			whole++
		}
	}
	if failed := int(h.Stats().Failed); failed == 0 || whole+failed != records {
		t.Errorf("of %d records %d are in the file and %d are counted as failed", records, whole, failed)
	}
}
