package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"time"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/examples/internal/engine"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/telemetry"
)

// quiet is what the command observes itself with: its output is for people.
var quiet = telemetry.Off()

// exists refuses the file of a bolt store that is not there: opening it would create it, and a command that reads finds nothing in it.
func exists(where, layer string) error {
	u, err := url.Parse(where)
	if err != nil || u.Scheme != "bolt" {
		return nil
	}
	if _, err := os.Stat(u.Path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("nothing was published in layer %s: %w: there is no file %s: is its name right? `configctl publish FILE` creates it", layer, config.ErrNotFound, u.Path)
	}
	return nil
}

// open opens the store that a URL names, and has it answer once.
func open(ctx context.Context, where string, within time.Duration) (*kv.Store, func() error, error) {
	e, err := engine.Open(ctx, where, engine.Options{
		Flag: "-store", Schemes: []string{"etcd", "consul", "redis", "bolt"}, Within: within, Store: kv.Options{Telemetry: quiet},
	})
	switch {
	case errors.Is(err, engine.ErrURL):
		return nil, nil, fmt.Errorf("%w: %w", err, errUsage)
	case err != nil:
		return nil, nil, err
	}
	return e.Store, e.Close, nil
}
