package kv_test

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
)

const (
	benchKeys = 10_000
	benchSize = 128
)

func benchKey(i int) string { return fmt.Sprintf("bench/%05d", i) }

// providers returns metrics, and traces if sampler is set.
func providers(sampler sdktrace.Sampler) telemetry.Providers {
	p := telemetry.Off()
	p.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
	if sampler != nil {
		p.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSampler(sampler))
	}
	return p
}

func settings() map[string]telemetry.Providers {
	return map[string]telemetry.Providers{
		"off": telemetry.Off(), "metrics": providers(nil),
		"unsampled": providers(sdktrace.NeverSample()), "sampled": providers(sdktrace.AlwaysSample()),
	}
}

func filled(b testing.TB, p telemetry.Providers) (*kv.Store, []string) {
	s := open(b, &kv.Options{Name: "bench", Telemetry: p})
	keys := make([]string, benchKeys)
	for i := range keys {
		keys[i] = benchKey(i)
		if _, err := s.Put(context.Background(), keys[i], make([]byte, benchSize)); err != nil {
			b.Fatal(err)
		}
	}
	return s, keys
}

// BenchmarkGet reads one of 10,000 items of 128 bytes from memory. It compares the bare driver, and a store with telemetry off and on,
// with the lower bound: a sync.Map with a copy of the value.
func BenchmarkGet(b *testing.B) {
	ctx := context.Background()
	b.Run("sync.Map", func(b *testing.B) {
		var m sync.Map
		keys := make([]string, benchKeys)
		for i := range keys {
			keys[i] = benchKey(i)
			m.Store(keys[i], make([]byte, benchSize))
		}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			v, _ := m.Load(keys[i%benchKeys])
			if len(bytes.Clone(v.([]byte))) != benchSize {
				b.Fatal("no value")
			}
		}
	})
	b.Run("bare", func(b *testing.B) {
		d := memkv.New(nil)
		keys := make([]string, benchKeys)
		for i := range keys {
			keys[i] = benchKey(i)
			if _, err := d.Put(ctx, driver.PutRequest{Key: keys[i], Value: make([]byte, benchSize)}); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := d.Get(ctx, keys[i%benchKeys]); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, name := range []string{"off", "metrics", "unsampled", "sampled"} {
		b.Run(name, func(b *testing.B) {
			s, keys := filled(b, settings()[name])
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := s.Get(ctx, keys[i%benchKeys]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("namespace", func(b *testing.B) {
		s, keys := filled(b, telemetry.Off())
		ns := s.Namespace("bench")
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := ns.Get(ctx, keys[i%benchKeys][len("bench/"):]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkPut overwrites one of 10,000 items of 128 bytes.
func BenchmarkPut(b *testing.B) {
	for _, name := range []string{"off", "metrics", "sampled"} {
		b.Run(name, func(b *testing.B) {
			s, keys := filled(b, settings()[name])
			value := make([]byte, benchSize)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := s.Put(context.Background(), keys[i%benchKeys], value); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkFanOut sends 10,000 updates to each of 1,000 watchers. It reports the delay from a write to its event.
func BenchmarkFanOut(b *testing.B) {
	const watchers, updates = 1000, 10_000
	for b.Loop() {
		s := kv.New(memkv.New(&memkv.Options{History: updates}), &kv.Options{Telemetry: telemetry.Off()})
		var ready, done sync.WaitGroup
		delays := make([][]time.Duration, watchers)
		for w := range delays {
			delays[w] = make([]time.Duration, 0, updates)
		}
		before := memory()
		began := time.Now()
		for w := range watchers {
			ready.Add(1)
			done.Go(func() { delays[w] = follow(s, began, delays[w], ready.Done) })
		}
		ready.Wait()
		b.ReportMetric(float64(memory()-before)/watchers, "B/watcher")
		start := time.Now()
		for range updates {
			if _, err := s.Put(context.Background(), "k", []byte(time.Since(began).String())); err != nil {
				b.Fatal(err)
			}
		}
		done.Wait()
		took := time.Since(start)
		all := slices.Concat(delays...)
		if len(all) != watchers*updates {
			b.Fatalf("%d events were seen, want %d", len(all), watchers*updates)
		}
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)/2].Microseconds())/1e3, "p50-ms")
		b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1e3, "p99-ms")
		b.ReportMetric(float64(len(all))/took.Seconds(), "events/s")
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// memory returns the bytes in use by the heap and the stacks.
func memory() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// follow returns the delay of each update that one watcher receives.
func follow(s *kv.Store, began time.Time, delays []time.Duration, ready func()) []time.Duration {
	for ev, err := range s.Watch(context.Background(), "k") {
		switch {
		case err != nil || ev.Kind == kv.EventResync:
			return nil
		case ev.Kind == kv.EventSynced:
			ready()
		case ev.Kind == kv.EventPut:
			sent, err := time.ParseDuration(string(ev.Item.Value))
			if err != nil {
				return nil
			}
			if delays = append(delays, time.Since(began)-sent); len(delays) == cap(delays) {
				return delays
			}
		}
	}
	return nil
}

// TestGetAllocates limits a Get from memory to one allocation, the value's, also with metrics. A tracer adds two for a span that is not
// sampled, and one for the attributes that samplers read. The allocations of a sampled span depend on the SDK; BenchmarkGet shows them.
func TestGetAllocates(t *testing.T) {
	for name, most := range map[string]float64{"off": 1, "metrics": 1, "unsampled": 4} {
		s, keys := filled(t, settings()[name])
		got := testing.AllocsPerRun(1000, func() {
			if _, err := s.Get(context.Background(), keys[7]); err != nil {
				t.Fatal(err)
			}
		})
		if got > most {
			t.Errorf("a Get with telemetry %s makes %v allocations, at most %v are allowed", name, got, most)
		}
	}
}
