// Package telemetry holds the OpenTelemetry handles that every package of Go OS takes.
//
// A capability never builds, configures or ships telemetry. Its constructor receives a [Providers] and gets a tracer, a meter and an
// event logger from it once. main decides what is behind the handles (the SDK, a bridge, nothing at all), usually by exporters.Setup.
//
// # Which handle is used
//
// Each field of Providers is independent. A nil field means the process-wide provider of the otel package, or slog.Default for the
// logger: a program that calls otel.SetTracerProvider needs to pass nothing. [Off] turns everything off explicitly, at no cost per
// call.
//
// This package imports the OpenTelemetry API only, never its SDK: a program that uses Go OS without telemetry does not link one.
package telemetry

import (
	"log/slog"
	"strings"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/log"
	lognoop "go.opentelemetry.io/otel/log/noop"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
)

// SchemaURL is the version of the semantic conventions that Go OS emits. Its packages' tracers, meters and event loggers carry it.
const SchemaURL = "https://opentelemetry.io/schemas/1.43.0"

const module = "github.com/go-os/go-os"

// Providers are the OpenTelemetry API handles that a package observes itself with. The zero value is ready to use: every nil field
// means the process-wide one. Providers is a value: copy it, change a field, pass it on.
type Providers struct {
	// TracerProvider creates spans. Nil means otel.GetTracerProvider.
	TracerProvider trace.TracerProvider
	// MeterProvider creates instruments. Nil means otel.GetMeterProvider.
	MeterProvider metric.MeterProvider
	// LoggerProvider receives OTel events: exceptions and decisions. Nil means otel.GetLoggerProvider. If it is disabled, an event such
	// as a lost lock or a recovered panic is a line of Logger instead.
	LoggerProvider log.LoggerProvider
	// Propagator carries context between processes. Nil means otel.GetTextMapPropagator.
	Propagator propagation.TextMapPropagator
	// Logger receives records for people, such as access logs. Nil means slog.Default at the time of the call.
	Logger *slog.Logger
}

// Off returns Providers that do nothing: no spans, no metrics, no events, no logs, and no propagation. A lost lock and a recovered
// panic are then silent. Set Logger in the result to keep their lines.
func Off() Providers {
	return Providers{
		TracerProvider: tracenoop.NewTracerProvider(),
		MeterProvider:  metricnoop.NewMeterProvider(),
		LoggerProvider: lognoop.NewLoggerProvider(),
		Propagator:     propagation.NewCompositeTextMapPropagator(),
		Logger:         slog.New(slog.DiscardHandler),
	}
}

// schemaOf returns the version of the conventions for a scope: SchemaURL for the packages of Go OS, and none for those of a program,
// whose attributes are unknown.
func schemaOf(scope string) string {
	if rest, ok := strings.CutPrefix(scope, module); ok && (rest == "" || rest[0] == '/') {
		return SchemaURL
	}
	return ""
}

// Tracer returns the tracer of an instrumentation scope, named by the import path of the package.
func (p Providers) Tracer(scope string) trace.Tracer {
	tp := p.TracerProvider
	if tp == nil {
		tp = otel.GetTracerProvider()
	}
	return tp.Tracer(scope, trace.WithSchemaURL(schemaOf(scope)))
}

// Meter returns the meter of an instrumentation scope, named by the import path of the package.
func (p Providers) Meter(scope string) metric.Meter {
	mp := p.MeterProvider
	if mp == nil {
		mp = otel.GetMeterProvider()
	}
	return mp.Meter(scope, metric.WithSchemaURL(schemaOf(scope)))
}

// EventLogger returns the logger for OTel events of an instrumentation scope, named by the import path of the package.
func (p Providers) EventLogger(scope string) log.Logger {
	lp := p.LoggerProvider
	if lp == nil {
		lp = otel.GetLoggerProvider()
	}
	return lp.Logger(scope, log.WithSchemaURL(schemaOf(scope)))
}

// TextMapPropagator returns the propagator; it is never nil.
func (p Providers) TextMapPropagator() propagation.TextMapPropagator {
	if p.Propagator == nil {
		return otel.GetTextMapPropagator()
	}
	return p.Propagator
}

// Slog returns the logger for people. If Logger is nil, it is the current slog.Default, so call Slog again rather than keep the result.
func (p Providers) Slog() *slog.Logger {
	if p.Logger == nil {
		return slog.Default()
	}
	return p.Logger
}

// Tracing reports whether spans can ever be recorded. It is false only for the no-op provider. For the process-wide provider it is
// true, since an SDK may be installed behind it later.
func (p Providers) Tracing() bool {
	_, off := p.TracerProvider.(tracenoop.TracerProvider)
	return !off
}
