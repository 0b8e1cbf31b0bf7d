// Package naming has the rule of names in a registry. Package discovery, read nodes and their clients share it: a name that one of them
// accepts is valid for all.
package naming

import (
	"fmt"

	"github.com/go-os/go-os/control/discovery/driver"
)

// Max is the length of the longest name, in bytes. It keeps keys small enough for every registry.
const Max = 128

// Check returns nil if every registry can have this name in its keys. Otherwise it returns driver.ErrInvalid. The error says what has the name,
// such as "service".
func Check(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: the %s has no name", driver.ErrInvalid, what)
	case len(name) > Max:
		return fmt.Errorf("%w: the name of the %s has %d bytes: use %d at most", driver.ErrInvalid, what, len(name), Max)
	}
	for _, r := range name {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.', r == ':':
		default:
			return fmt.Errorf("%w: %s %q: use only letters, digits, hyphens, underscores, dots and colons", driver.ErrInvalid, what, name)
		}
	}
	return nil
}

// CheckService returns nil if a service can have this name, and otherwise driver.ErrInvalid.
func CheckService(name string) error { return Check("service", name) }
