package rediskv_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv/driver"
)

// TestRetriedReads reads and writes concurrently while connections are lost. It needs the race detector: a read that the client repeats
// on another connection may still be in the buffers of the lost one, and must not become the next write.
func TestRetriedReads(t *testing.T) {
	t.Parallel()
	engine := testenv.Redis(t)
	network := testenv.Proxy(t, engine.Addr(0))
	store := connect(t, nil, network.Endpoint())
	t.Cleanup(func() { _ = store.Close() })
	const readers, lasts = 8, 3 * time.Second
	ctx, cancel := context.WithTimeout(t.Context(), lasts)
	defer cancel()
	var group sync.WaitGroup
	for range readers {
		group.Go(func() {
			for ctx.Err() == nil {
				_, _ = store.Get(ctx, "missing")
				_, _ = store.Put(ctx, driver.PutRequest{Key: "written", Value: []byte("1")})
			}
		})
	}
	cuts := 0
	for ; ctx.Err() == nil; cuts++ {
		time.Sleep(20 * time.Millisecond)
		network.Cut()
		network.Heal()
	}
	group.Wait()
	if it, err := store.Get(t.Context(), "missing"); err == nil {
		t.Errorf("a key that nobody wrote holds %q", it.Value)
	}
	t.Logf("%d cuts", cuts)
}
