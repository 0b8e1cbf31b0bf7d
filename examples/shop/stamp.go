package main

import (
	"context"
	"sync/atomic"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/go-os/go-os/control/config"
)

// stamp adds the version of the configuration to every span of a service, so that a regression can be traced to a change. It adds nothing
// until the configuration is loaded, since the pipeline starts first.
type stamp struct {
	settings atomic.Pointer[config.Config[settings]]
}

// OnStart implements sdktrace.SpanProcessor.
func (s *stamp) OnStart(_ context.Context, span sdktrace.ReadWriteSpan) {
	if cfg := s.settings.Load(); cfg != nil {
		span.SetAttributes(cfg.Snapshot().Attributes()...)
	}
}

// OnEnd, Shutdown and ForceFlush have nothing to do.
func (*stamp) OnEnd(sdktrace.ReadOnlySpan)      {}
func (*stamp) Shutdown(context.Context) error   { return nil }
func (*stamp) ForceFlush(context.Context) error { return nil }
