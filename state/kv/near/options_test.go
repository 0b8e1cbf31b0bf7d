package near_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/state/kv/near"
	"github.com/go-os/go-os/telemetry"
)

// TestInvalidOptions creates caches with negative options. Every call returns an error that names the option.
func TestInvalidOptions(t *testing.T) {
	for want, opts := range map[string]near.Options{
		"near.Options.MaxItems is -1:":   {MaxItems: -1},
		"near.Options.MaxStale is -1ns:": {MaxStale: -1},
	} {
		c := near.New(kv.New(memkv.New(nil), &kv.Options{Telemetry: telemetry.Off()}), &opts)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Get(ctx, "k")
		for name, err := range map[string]error{"Get": err, "Run": c.Run(ctx)} {
			if !errors.Is(err, kv.ErrInvalid) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
	}
}
