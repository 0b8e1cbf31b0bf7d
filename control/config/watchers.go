package config

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"

	"github.com/go-os/go-os/control/config/internal/document"
	"github.com/go-os/go-os/control/config/internal/scope"
	"github.com/go-os/go-os/internal/instrument"
	"github.com/go-os/go-os/telemetry"
)

const scopeName = "github.com/go-os/go-os/control/config"

const (
	resultKey      = attribute.Key("goos.config.result")
	sourceKey      = attribute.Key("goos.config.source")
	keyKey         = attribute.Key("goos.config.key")
	keysKey        = attribute.Key("goos.config.keys")
	fingerprintKey = attribute.Key("goos.config.fingerprint")
)

// watchers observe a configuration: metrics and events, or log lines if nobody takes events.
type watchers struct {
	telemetry                                               telemetry.Providers
	attrs                                                   []attribute.KeyValue
	load, reload                                            *instrument.Op
	applied, rejected, failed, recovered, unknown, panicked *instrument.Event
	changes                                                 metric.Int64Counter
	problems, info                                          metric.Int64Gauge
	countApplied, countRejected                             metric.MeasurementOption
}

func newWatchers(name string, p telemetry.Providers) *watchers {
	s, attrs := scope.New(scopeName, name, p)
	w := &watchers{
		telemetry: p,
		attrs:     attrs,
		load:      scope.Op(s, "load"),
		reload:    scope.Op(s, "reload"),
		applied:   s.Event("goos.config.applied", log.SeverityInfo, ""),
		rejected:  s.Event("goos.config.rejected", log.SeverityWarn, ""),
		failed:    s.Event("goos.config.source.failed", log.SeverityWarn, ""),
		recovered: s.Event("goos.config.source.recovered", log.SeverityInfo, ""),
		unknown:   s.Event("goos.config.unknown", log.SeverityWarn, ""),
		panicked:  s.Event("goos.config.callback.panicked", log.SeverityError, ""),
	}
	w.countApplied, w.countRejected = w.option(resultKey.String("applied")), w.option(resultKey.String("rejected"))
	m := s.Meter()
	w.changes = m.Counter("goos.config.changes", "{change}", "Changes of the configuration, applied and rejected.")
	w.problems = m.Gauge("goos.config.problems", "{problem}", "Whether a source is bad or out of reach.")
	w.info = m.Gauge("goos.config.info", "", "1 for the configuration in force.")
	return w
}

func (w *watchers) with(more ...attribute.KeyValue) []attribute.KeyValue {
	return slices.Concat(w.attrs, more)
}

func (w *watchers) option(more ...attribute.KeyValue) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(w.with(more...)...))
}

// maxKeys is how many changed keys an event names.
const maxKeys = 32

// took records that a configuration came into force. The one before may be nil.
func (w *watchers) took(ctx context.Context, before, now []attribute.KeyValue, keys []string) {
	w.changes.Add(ctx, 1, w.countApplied)
	if before != nil {
		w.info.Record(ctx, 0, w.option(before...))
	}
	w.info.Record(ctx, 1, w.option(now...))
	if w.applied.Enabled(ctx) {
		w.applied.Emit(ctx, w.with(append(slices.Clip(now), keysKey.StringSlice(keys[:min(len(keys), maxKeys)]))...)...)
	}
	if before != nil {
		w.say(ctx, w.applied, slog.LevelInfo, "configuration changed", slog.Any("keys", keys[:min(len(keys), maxKeys)]))
	}
}

// say writes a log line if nobody takes the event, so that nothing is refused silently.
func (w *watchers) say(ctx context.Context, e *instrument.Event, level slog.Level, message string, attrs ...slog.Attr) {
	if e.Enabled(ctx) {
		return
	}
	for _, kv := range w.attrs {
		attrs = append(attrs, slog.String("config", kv.Value.AsString()))
	}
	w.telemetry.Slog().LogAttrs(ctx, level, message, attrs...)
}

// broke records a new problem.
func (w *watchers) broke(ctx context.Context, p *Problem) {
	w.problems.Record(ctx, 1, w.option(sourceKey.String(p.Source)))
	event, message := w.failed, "configuration source failed; what it held stays in force"
	switch {
	case p.Rejected:
		w.changes.Add(ctx, 1, w.countRejected)
		event, message = w.rejected, "configuration refused; the last good one stays in force"
	case p.Source == lastGoodName:
		message = "last-good file of the configuration failed"
	case p.absent:
		message = "configuration source left out; the service runs without it"
	}
	err := document.WithoutValues(p.Err)
	w.say(ctx, event, slog.LevelWarn, message, slog.String("source", p.Source), slog.Any("error", err))
	attrs := w.with(sourceKey.String(p.Source))
	var e *Error
	if errors.As(p.Err, &e) && e.Key != "" {
		attrs = append(attrs, keyKey.String(e.Key))
	}
	event.EmitError(ctx, err, attrs...)
}

// healed records that a problem has ended.
func (w *watchers) healed(ctx context.Context, source string) {
	w.problems.Record(ctx, 0, w.option(sourceKey.String(source)))
	w.recovered.Emit(ctx, w.with(sourceKey.String(source))...)
	w.say(ctx, w.recovered, slog.LevelInfo, "configuration source is good again", slog.String("source", source))
}

func (w *watchers) ignored(ctx context.Context, warnings []error) {
	for _, warning := range warnings {
		var e *Error
		if errors.As(warning, &e) {
			w.unknown.Emit(ctx, w.with(sourceKey.String(e.Source), keyKey.String(e.Key))...)
			w.say(ctx, w.unknown, slog.LevelWarn, "configuration key ignored", slog.String("source", e.Source), slog.Any("error", warning))
		}
	}
}
