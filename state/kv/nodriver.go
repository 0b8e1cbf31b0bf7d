package kv

import (
	"fmt"

	"github.com/go-os/go-os/state/kv/driver"
)

// noDriver replaces a nil driver. Since it is invalid, no call reaches its nil methods.
type noDriver struct{ driver.Driver }

// Validate implements driver.Validator.
func (noDriver) Validate() error { return fmt.Errorf("%w: New was given no driver", ErrInvalid) }

// Capabilities implements driver.Driver.
func (noDriver) Capabilities() driver.Capabilities { return driver.Capabilities{System: "none"} }

// Close implements driver.Driver.
func (noDriver) Close() error { return nil }
