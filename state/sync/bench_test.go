package sync_test

import (
	"context"
	"testing"

	"github.com/go-os/go-os/state/sync"
	"github.com/go-os/go-os/state/sync/memsync"
	"github.com/go-os/go-os/telemetry"
)

// BenchmarkLock measures the cost of the portable type. The engine is a map.
func BenchmarkLock(b *testing.B) {
	session := sync.New(memsync.New(nil), &sync.Options{Telemetry: telemetry.Off()})
	defer session.Close()
	mutex, ctx := session.Mutex("m"), context.Background()
	b.ReportAllocs()
	for b.Loop() {
		g, err := mutex.Lock(ctx)
		if err == nil {
			err = g.Release(ctx)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
