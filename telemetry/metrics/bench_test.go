package metrics_test

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/go-os/go-os/telemetry"
	"github.com/go-os/go-os/telemetry/metrics"
)

// BenchmarkCounter compares a counter with typed labels to the API's own, used plainly and with a
// prebuilt set.
func BenchmarkCounter(b *testing.B) {
	p, _ := provider()
	ctx := context.Background()
	typed, err := metrics.NewCounter[request](scope, p, "typed", nil)
	if err != nil {
		b.Fatal(err)
	}
	off, err := metrics.NewCounter[request](scope, telemetry.Off(), "off", nil)
	if err != nil {
		b.Fatal(err)
	}
	plain, err := p.Meter("bench").Int64Counter("plain")
	if err != nil {
		b.Fatal(err)
	}
	attrs := func() []attribute.KeyValue {
		return []attribute.KeyValue{
			attribute.String("http.route", "/a"), attribute.Int("http.response.status_code", 200), attribute.Bool("cached", false),
		}
	}
	prebuilt := []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(attrs()...))}
	for _, bench := range []struct {
		name string
		call func()
	}{
		{"typed", func() { typed.Add(ctx, 1, request{Route: "/a", Status: 200}) }},
		{"off", func() { off.Add(ctx, 1, request{Route: "/a", Status: 200}) }},
		{"api-attributes", func() { plain.Add(ctx, 1, metric.WithAttributes(attrs()...)) }},
		{"api-prebuilt", func() { plain.Add(ctx, 1, prebuilt...) }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				bench.call()
			}
		})
	}
}
