package log

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-os/go-os/internal/option/optiontest"
	"github.com/go-os/go-os/telemetry"
)

// TestNegativeOptions checks that a negative number is reported once, and that the default is used.
func TestNegativeOptions(t *testing.T) {
	sampled := func(s Sampling) *sampler {
		return NewHandler(&Options{Telemetry: telemetry.Off(), Sampling: &s}).sampler
	}
	byDefault := sampled(Sampling{})
	for field, s := range map[string]Sampling{"First": {First: -1}, "Thereafter": {Thereafter: -2}, "Tick": {Tick: -time.Second}} {
		optiontest.Reports(t, "log.Sampling."+field, func() {
			if got := sampled(s); got.first != byDefault.first || got.nth != byDefault.nth || got.tick != byDefault.tick {
				t.Errorf("%s: first %d, nth %d, tick %d; want the defaults", field, got.first, got.nth, got.tick)
			}
		})
	}
	optiontest.Reports(t, "log.AsyncOptions.Capacity", func() {
		s := Async(slog.DiscardHandler, &AsyncOptions{Capacity: -1, Telemetry: telemetry.Off()})
		if s.capacity != defaultCapacity {
			t.Errorf("capacity %d, want the default", s.capacity)
		}
	})
	if s := sampled(Sampling{Thereafter: DropRest}); s.nth != 0 {
		t.Errorf("DropRest: every %dth record passes, want none", s.nth)
	}
}

func TestFileOptionsThatMakeNoSense(t *testing.T) {
	for field, opts := range map[string]FileOptions{
		"MaxMegabytes": {MaxMegabytes: -1}, "RotateEvery": {RotateEvery: -time.Hour}, "KeepFiles": {KeepFiles: -1},
		"KeepDays": {KeepDays: -1}, "Mode": {Mode: 0o400},
	} {
		f, err := OpenFile(filepath.Join(t.TempDir(), "x.log"), &opts)
		if f != nil || !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "log.FileOptions."+field+": ") {
			t.Errorf("%s: %v, want ErrInvalid that names the field", field, err)
		}
	}
	if _, err := OpenFile("", nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("an empty path: %v, want ErrInvalid", err)
	}
	if err := NewLevels(slog.LevelInfo).set(context.Background(), "a", slog.LevelInfo, -1); !errors.Is(err, ErrInvalid) {
		t.Errorf("a negative revert: %v, want ErrInvalid", err)
	}
}
