package consulkv_test

import (
	"sync/atomic"
	"testing"

	"github.com/go-os/go-os/internal/tooling/replacetest"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/telemetry"
)

// TestReplaced replaces Consul under a watch by a server without data. The watch shows the new state.
func TestReplaced(t *testing.T) {
	t.Parallel()
	engine := testenv.Consul(t)
	var sent atomic.Int64
	store := kv.New(connect(t, engine.Addr(0), &sent), &kv.Options{Telemetry: telemetry.Off()})
	defer store.Close()
	replacetest.Run(t, store, engine.Replace)
}
