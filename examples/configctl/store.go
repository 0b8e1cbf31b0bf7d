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

// quiet is what the command observes itself with: its output is for people.
var quiet = telemetry.Off()

// open opens the store that a URL names, and has it answer once.
func open(ctx context.Context, where string, within time.Duration) (*kv.Store, func() error, error) {
	e, err := engine.Open(ctx, where, engine.Options{
		Flag: "-store", Schemes: []string{"etcd", "consul", "bolt"}, Within: within, Store: kv.Options{Telemetry: quiet},
	})
	switch {
	case errors.Is(err, engine.ErrURL):
		return nil, nil, fmt.Errorf("%w: %w", err, errUsage)
	case err != nil:
		return nil, nil, err
	}
	return e.Store, e.Close, nil
}
