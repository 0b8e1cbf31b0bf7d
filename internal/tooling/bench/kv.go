package bench

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
)

const (
	kvItems = 10_000
	kvSize  = 128 // of a value, in bytes
)

func kvKey(i int) string { return fmt.Sprintf("bench/%05d", i%kvItems) }

// KV are the cases of a read of one of 10,000 items in memory.
var KV = []Case{
	{"sync.Map, Load and copy", syncMap},
	{"memkv, telemetry off", memory(telemetry.Off())},
	{"memkv, metrics", memory(measured(nil))},
	{"memkv, metrics and unsampled traces", memory(measured(sdktrace.NeverSample()))},
	{"memkv, metrics and sampled traces", memory(measured(sdktrace.AlwaysSample()))},
}

// measured returns Providers with metrics, and with traces if sampler is not nil.
func measured(sampler sdktrace.Sampler) telemetry.Providers {
	p := sdk(sdktrace.NeverSample())
	off := telemetry.Off()
	p.LoggerProvider = off.LoggerProvider
	if p.TracerProvider = off.TracerProvider; sampler != nil {
		p.TracerProvider = sdk(sampler).TracerProvider
	}
	return p
}

func keys() []string {
	all := make([]string, kvItems)
	for i := range all {
		all[i] = kvKey(i)
	}
	return all
}

func syncMap() (body, cleanup func()) {
	var m sync.Map
	all := keys()
	for _, key := range all {
		m.Store(key, make([]byte, kvSize))
	}
	i := 0
	return func() {
		v, _ := m.Load(all[i%kvItems])
		i++
		if len(bytes.Clone(v.([]byte))) != kvSize {
			panic("no value")
		}
	}, func() {}
}

func memory(t telemetry.Providers) func() (body, cleanup func()) {
	return func() (body, cleanup func()) {
		ctx := context.Background()
		s := kv.New(memkv.New(nil), &kv.Options{Name: "bench", Telemetry: t})
		all := keys()
		for _, key := range all {
			if _, err := s.Put(ctx, key, make([]byte, kvSize)); err != nil {
				panic(err)
			}
		}
		i := 0
		return func() {
			it, err := s.Get(ctx, all[i%kvItems])
			i++
			if err != nil || len(it.Value) != kvSize {
				panic(fmt.Sprint("no value: ", err))
			}
		}, func() { _ = s.Close() }
	}
}
