package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/examples/internal/engine"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/telemetry"
)

// quiet disables telemetry, since the output of the command is for people.
var quiet = telemetry.Off()

// open opens the store of the options, and returns when it has answered. Only a command that writes creates a bolt file: others would find
// nothing in it.
func (o options) open(ctx context.Context) (*kv.Store, func() error, error) {
	e, err := engine.Open(ctx, o.store, engine.Options{
		Flag: "-store", Schemes: []string{"etcd", "consul", "redis", "bolt"}, Within: o.timeout, Existing: !o.creates, Store: kv.Options{Telemetry: quiet},
	})
	switch {
	case errors.Is(err, engine.ErrNoFile):
		return nil, nil, fmt.Errorf("nothing was published in layer %s: %w: %w; `configctl publish FILE` creates it", field(o.layer), config.ErrNotFound, err)
	case errors.Is(err, engine.ErrURL):
		return nil, nil, fmt.Errorf("%w: %w", err, errUsage)
	case err != nil:
		return nil, nil, err
	}
	return e.Store, e.Close, nil
}
