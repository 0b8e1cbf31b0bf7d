package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-os/go-os/examples/internal/engine"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/telemetry"
)

// engineWithin is how long an engine may take to answer when the shop opens.
const engineWithin = 5 * time.Second

// openEngine opens the store that a URL names. The choice of an engine belongs to the application: the library has no URLs.
func openEngine(ctx context.Context, name, flag, where string, t telemetry.Providers) (*engine.Engine, error) {
	e, err := engine.Open(ctx, where, engine.Options{
		Flag: flag, Schemes: []string{"memory", "bolt", "etcd", "consul", "redis"}, Within: engineWithin,
		Store: kv.Options{Name: name, Telemetry: t},
	})
	return e, usage(err)
}

// usage marks the error for a URL that names no engine as errUsage.
func usage(err error) error {
	if errors.Is(err, engine.ErrURL) {
		return fmt.Errorf("%w: %w", err, errUsage)
	}
	return err
}
