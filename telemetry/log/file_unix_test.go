//go:build unix

package log

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestFileRefusesAPipe would hang if the pipe were opened: nobody reads it.
func TestFileRefusesAPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFile(pipe, nil); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("OpenFile of a pipe returned %v", err)
	}
}
