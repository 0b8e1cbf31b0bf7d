package near_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/state/kv/near"
	"github.com/go-os/go-os/telemetry"
)

// BenchmarkGet reads a cached item of 128 bytes.
func BenchmarkGet(b *testing.B) {
	s := kv.New(memkv.New(nil), &kv.Options{Telemetry: telemetry.Off()})
	defer s.Close()
	ctx, cancel := context.WithCancel(context.Background())
	keys := make([]string, 100)
	for i := range keys {
		keys[i] = fmt.Sprintf("bench/%05d", i)
		if _, err := s.Put(ctx, keys[i], make([]byte, 128)); err != nil {
			b.Fatal(err)
		}
	}
	cache := near.New(s, nil)
	done := make(chan error, 1)
	go func() { done <- cache.Run(ctx) }()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := cache.Get(ctx, keys[i%len(keys)]); err != nil {
			b.Fatal(err)
		}
	}
	cancel()
	<-done
}
