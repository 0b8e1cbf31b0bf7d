package readnodev1

import (
	"fmt"

	"github.com/go-os/go-os/control/discovery/driver"
)

// maxName is the length of the longest name of a service, as in package discovery.
const maxName = 128

// CheckService returns nil if a service can have this name. The rule is that of package discovery, which neither peer links. Otherwise it returns
// driver.ErrInvalid.
func CheckService(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: the service has no name", driver.ErrInvalid)
	case len(name) > maxName:
		return fmt.Errorf("%w: the name of the service has %d bytes: use %d at most", driver.ErrInvalid, len(name), maxName)
	}
	for _, r := range name {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.', r == ':':
		default:
			return fmt.Errorf("%w: service %q: use letters, digits, -, _, colons and dots", driver.ErrInvalid, name)
		}
	}
	return nil
}
