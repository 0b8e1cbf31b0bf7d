//go:build unix

package config_test

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/go-os/go-os/control/config"
)

// TestFileThatIsNone: a path that is not a regular file is an error at once.
func TestFileThatIsNone(t *testing.T) {
	pipe := t.TempDir() + "/pipe.yaml"
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip(err)
	}
	for path, want := range map[string]string{pipe: "a named pipe", t.TempDir(): "a folder", "/dev/zero": "a device"} {
		_, err := config.Load[service](t.Context(), options(config.Required(config.File(path, &config.FileOptions{Format: config.YAML}))))
		if !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
