package natskv_test

import (
	"testing"

	"github.com/go-os/go-os/internal/tooling/replacetest"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/telemetry"
)

// TestBucketReplaced recreates the bucket under a watch whose connection stays. The watch shows the new state.
func TestBucketReplaced(t *testing.T) {
	t.Parallel()
	s := connect(t, testenv.NATS(t).URL())
	renew(t, s.js, 1)
	store := kv.New(s, &kv.Options{Telemetry: telemetry.Off()})
	defer store.Close()
	replacetest.Run(t, store, func() { renew(t, s.js, 1) })
}
