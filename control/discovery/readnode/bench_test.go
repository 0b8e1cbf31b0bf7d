package readnode_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/go-os/go-os/control/discovery/readnode"
	"github.com/go-os/go-os/telemetry"
)

// counted returns telemetry, and a function that returns the sum of a counter.
func counted(t testing.TB) (telemetry.Providers, func(name string) int64) {
	t.Helper()
	r := sdkmetric.NewManualReader()
	p := telemetry.Off()
	p.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(r))
	return p, func(name string) (sum int64) {
		var all metricdata.ResourceMetrics
		if err := r.Collect(context.Background(), &all); err != nil {
			t.Fatal(err)
		}
		for _, s := range all.ScopeMetrics {
			for _, m := range s.Metrics {
				if m.Name != name {
					continue
				}
				for _, point := range m.Data.(metricdata.Sum[int64]).DataPoints {
					sum += point.Value
				}
			}
		}
		return sum
	}
}

// TestEncodedOnce changes a service that 1,000 clients follow.
func TestEncodedOnce(t *testing.T) {
	const clients, changes = 1000, 20
	p, count := counted(t)
	s := newSource()
	s.send("orders", resync, put("orders", "a"), synced)
	node, err := readnode.New(s, &readnode.Options{Heartbeat: time.Hour, Telemetry: p})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.Close() })
	wait := crowd(t, node, clients)
	if n := count("goos.discovery.readnode.frames.encoded"); n != 1 {
		t.Errorf("%d snapshots were encoded for %d clients, want 1", n, clients)
	}
	for n := range changes {
		s.send("orders", put("orders", fmt.Sprint("b", n)))
	}
	wait(changes)
	if n := count("goos.discovery.readnode.frames.encoded"); n != 1+changes {
		t.Errorf("%d frames were encoded for %d changes and a snapshot", n, changes)
	}
	if n := count("goos.discovery.readnode.frames.sent"); n != clients*(2+changes) {
		t.Errorf("%d frames were sent, want %d", n, clients*(2+changes))
	}
	if n := count("goos.discovery.readnode.clients"); n != clients {
		t.Errorf("%d clients are counted", n)
	}
}

// BenchmarkChange passes a change on to clients in this process, without their connections.
func BenchmarkChange(b *testing.B) {
	for _, clients := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint("clients=", clients), func(b *testing.B) {
			p, count := counted(b)
			s := newSource()
			s.send("orders", resync, put("orders", "a"), synced)
			node, err := readnode.New(s, &readnode.Options{Heartbeat: time.Hour, Telemetry: p})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = node.Close() })
			wait := crowd(b, node, clients)
			before, n := count("goos.discovery.readnode.frames.encoded"), 0
			b.ReportAllocs()
			for b.Loop() {
				e := put("orders", "a")
				e.Record.Weight = n + 1
				s.send("orders", e)
				wait(1)
				n++
			}
			b.ReportMetric(float64(count("goos.discovery.readnode.frames.encoded")-before)/float64(n), "encodings/op")
		})
	}
}
