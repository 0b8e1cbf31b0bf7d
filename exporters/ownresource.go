package exporters

import (
	"context"
	"sync"

	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// ownResource keeps the environment of the process out of a provider's resource.
//
// Each provider of the SDK merges the process's OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME under its resource. That is wrong beside
// a configuration file, beside Options.Environ, and where a bad entry must discard all attributes. No option of the SDK turns this off.
// So ownResource replaces the merged resource in place when the first span starts, the first record is emitted or the first collection
// is exported. The merged resource belongs to the provider alone, and nothing has read it before.
type ownResource struct {
	want *resource.Resource
	once sync.Once
}

// leaks reports whether the environment of the process changes a resource.
func leaks(want *resource.Resource) bool {
	merged, _ := resource.Merge(resource.Environment(), want)
	return *merged != *want
}

func (o *ownResource) settle(of *resource.Resource) {
	o.once.Do(func() {
		if of != nil {
			*of = *o.want
		}
	})
}

// spanResource corrects the resource of a tracer provider. It is the first of its processors.
type spanResource struct{ *ownResource }

var _ sdktrace.SpanProcessor = spanResource{}

// OnStart implements sdktrace.SpanProcessor.
func (p spanResource) OnStart(_ context.Context, s sdktrace.ReadWriteSpan) { p.settle(s.Resource()) }

// OnEnd implements sdktrace.SpanProcessor.
func (spanResource) OnEnd(sdktrace.ReadOnlySpan) {}

// ForceFlush implements sdktrace.SpanProcessor.
func (spanResource) ForceFlush(context.Context) error { return nil }

// Shutdown implements sdktrace.SpanProcessor.
func (spanResource) Shutdown(context.Context) error { return nil }

// recordResource corrects the resource of a logger provider. It is the first of its processors.
type recordResource struct{ *ownResource }

var _ sdklog.Processor = recordResource{}

// Enabled implements sdklog.Processor. It reports false, so that it enables no record that every other processor rejects.
func (recordResource) Enabled(context.Context, sdklog.EnabledParameters) bool { return false }

// OnEmit implements sdklog.Processor.
func (p recordResource) OnEmit(_ context.Context, r *sdklog.Record) error {
	p.settle(r.Resource())
	return nil
}

// ForceFlush implements sdklog.Processor.
func (recordResource) ForceFlush(context.Context) error { return nil }

// Shutdown implements sdklog.Processor.
func (recordResource) Shutdown(context.Context) error { return nil }
