package config

import (
	"context"
	"errors"
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

// watchers emit the metrics and events of a configuration. If no OTel event logger takes an event, it becomes a line of the Logger.
type watchers struct {
	attrs              []attribute.KeyValue
	load, reload, read *instrument.Op

	applied, rejected, recovered, unknown, panicked *instrument.Event
	failed, leftOut, lastGoodFailed                 *instrument.Event // of one name

	changes                     metric.Int64Counter
	problems, info              metric.Int64Gauge
	countApplied, countRejected metric.MeasurementOption
}

func newWatchers(name string, p telemetry.Providers) *watchers {
	s, attrs := scope.New(scopeName, name, sourceKey, p)
	const failed = "goos.config.source.failed"
	w := &watchers{
		attrs:          attrs,
		load:           scope.Op(s, "load"),
		reload:         scope.Op(s, "reload"),
		read:           scope.Op(s, "read"),
		applied:        s.Event("goos.config.applied", log.SeverityInfo, "configuration applied"),
		rejected:       s.Event("goos.config.rejected", log.SeverityWarn, "configuration rejected; the last good one stays in force"),
		failed:         s.Event(failed, log.SeverityWarn, "configuration source failed; what it held stays in force"),
		leftOut:        s.Event(failed, log.SeverityWarn, "configuration source left out; the service runs without it"),
		lastGoodFailed: s.Event(failed, log.SeverityWarn, "last-good file of the configuration failed"),
		recovered:      s.Event("goos.config.source.recovered", log.SeverityInfo, "configuration source recovered"),
		unknown:        s.Event("goos.config.unknown", log.SeverityWarn, "configuration key ignored"),
		panicked:       s.Event("goos.config.callback.panicked", log.SeverityError, "configuration callback panicked"),
	}
	w.countApplied, w.countRejected = w.option(resultKey.String("applied")), w.option(resultKey.String("rejected"))
	m := s.Meter()
	w.changes = m.Counter("goos.config.changes", "{change}", "Changes of the configuration, applied and rejected.")
	w.problems = m.Gauge("goos.config.problems", "{problem}", "Whether a source is invalid or out of reach.")
	w.info = m.Gauge("goos.config.info", "", "1 for the configuration in force.")
	return w
}

func (w *watchers) with(more ...attribute.KeyValue) []attribute.KeyValue {
	return slices.Concat(w.attrs, more)
}

func (w *watchers) option(more ...attribute.KeyValue) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(w.with(more...)...))
}

// maxKeys is the largest number of changed keys in an event.
const maxKeys = 32

// recordApplied records that a configuration came into force, given the attributes of both. before is nil for the first one.
func (w *watchers) recordApplied(ctx context.Context, before, now []attribute.KeyValue, keys []string) {
	w.changes.Add(ctx, 1, w.countApplied)
	if before != nil {
		w.info.Record(ctx, 0, w.option(before...))
	}
	w.info.Record(ctx, 1, w.option(now...))
	attrs := w.with(now...)
	if len(keys) > 0 {
		attrs = append(attrs, keysKey.StringSlice(keys[:min(len(keys), maxKeys)]))
	}
	w.applied.Emit(ctx, attrs...)
}

// recordProblem records a new problem.
func (w *watchers) recordProblem(ctx context.Context, p *Problem) {
	w.problems.Record(ctx, 1, w.option(sourceKey.String(p.Source)))
	if p.Rejected {
		w.changes.Add(ctx, 1, w.countRejected)
	}
	attrs := w.with(sourceKey.String(p.Source))
	var e *Error
	if errors.As(p.Err, &e) && e.Key != "" {
		attrs = append(attrs, keyKey.String(e.Key))
	}
	w.eventOf(p).EmitError(ctx, document.WithoutValues(p.Err), attrs...)
}

func (w *watchers) eventOf(p *Problem) *instrument.Event {
	switch {
	case p.Rejected:
		return w.rejected
	case p.Source == lastGoodName:
		return w.lastGoodFailed
	case p.absent:
		return w.leftOut
	}
	return w.failed
}

// recordRecovery records that a problem has ended.
func (w *watchers) recordRecovery(ctx context.Context, source string) {
	w.problems.Record(ctx, 0, w.option(sourceKey.String(source)))
	w.recovered.Emit(ctx, w.with(sourceKey.String(source))...)
}

// recordIgnored records warnings about keys without an effect.
func (w *watchers) recordIgnored(ctx context.Context, warnings []error) {
	for _, warning := range warnings {
		var e *Error
		if errors.As(warning, &e) {
			w.unknown.EmitError(ctx, warning, w.with(sourceKey.String(e.Source), keyKey.String(e.Key))...)
		}
	}
}

// recordPanic records that a callback panicked.
func (w *watchers) recordPanic(ctx context.Context, value any, stack []byte) {
	w.panicked.EmitPanic(ctx, value, stack, w.attrs...)
}
