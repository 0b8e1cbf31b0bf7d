package snippets

import (
	"errors"
	"testing"

	"github.com/go-os/go-os/control/config"
	configdriver "github.com/go-os/go-os/control/config/driver"
	"github.com/go-os/go-os/control/discovery"
	discoverydriver "github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/state/kv"
	kvdriver "github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/sync"
	syncdriver "github.com/go-os/go-os/state/sync/driver"
)

// TestOneVocabulary checks that sentinels of the same name are equal in all capabilities and their drivers.
func TestOneVocabulary(t *testing.T) {
	for name, same := range map[string][]error{
		"unavailable": {kv.ErrUnavailable, kvdriver.ErrUnavailable, sync.ErrUnavailable, syncdriver.ErrUnavailable, config.ErrUnavailable, configdriver.ErrUnavailable, discovery.ErrUnavailable, discoverydriver.ErrUnavailable},
		"invalid":     {kv.ErrInvalid, kvdriver.ErrInvalid, sync.ErrInvalid, syncdriver.ErrInvalid, config.ErrInvalid, configdriver.ErrInvalid, discovery.ErrInvalid, discoverydriver.ErrInvalid},
		"closed":      {kv.ErrClosed, kvdriver.ErrClosed, sync.ErrClosed, syncdriver.ErrClosed, discovery.ErrClosed, discoverydriver.ErrClosed},
		"not found":   {kv.ErrNotFound, kvdriver.ErrNotFound, config.ErrNotFound, configdriver.ErrNotFound, discovery.ErrNotFound, discoverydriver.ErrNotFound},
		"too large":   {kv.ErrTooLarge, kvdriver.ErrTooLarge, config.ErrTooLarge, configdriver.ErrTooLarge, discovery.ErrTooLarge, discoverydriver.ErrTooLarge},
		"conflict":    {kv.ErrConflict, kvdriver.ErrConflict, config.ErrConflict, discovery.ErrConflict, discoverydriver.ErrConflict},
	} {
		for _, one := range same {
			if !errors.Is(one, same[0]) || one.Error() != name {
				t.Errorf("%q is not %q", one, name)
			}
		}
	}
	for _, other := range []error{kv.ErrNotFound, sync.ErrHeld, sync.ErrLost, sync.ErrNotHeld, sync.ErrFenced, config.ErrSyntax, config.ErrUnknownKey} {
		if errors.Is(other, kv.ErrUnavailable) {
			t.Errorf("%q is unavailable", other)
		}
	}
}
