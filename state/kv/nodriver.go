package kv

import (
	"context"
	"fmt"

	"github.com/go-os/go-os/state/kv/driver"
)

// noDriver stands for a driver that New was not given.
type noDriver struct{}

func (noDriver) missing() error { return fmt.Errorf("%w: New was given no driver", ErrInvalid) }

// Capabilities implements driver.Driver.
func (noDriver) Capabilities() driver.Capabilities { return driver.Capabilities{System: "none"} }

// Get implements driver.Driver.
func (d noDriver) Get(context.Context, string) (driver.Item, error) {
	return driver.Item{}, d.missing()
}

// Put implements driver.Driver.
func (d noDriver) Put(context.Context, driver.PutRequest) (driver.Version, error) {
	return 0, d.missing()
}

// Delete implements driver.Driver.
func (d noDriver) Delete(context.Context, driver.DeleteRequest) error { return d.missing() }

// Close implements driver.Driver.
func (noDriver) Close() error { return nil }
