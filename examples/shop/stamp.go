package main

import (
	"context"
	"sync/atomic"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/go-os/go-os/control/config"
)

// stamp puts the version of the configuration on every span of a service: a regression that came with a change shows where it
// came from. The service has its pipeline before it has its configuration, so the stamp is blank at first.
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
