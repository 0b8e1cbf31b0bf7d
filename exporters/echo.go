package exporters

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/otel/attribute"
	otellog "go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"

	"github.com/go-os/go-os/telemetry/log"
)

// eventEcho writes OTel events to the readable log, so that decisions and exceptions are visible without a collector. The line has the
// form of internal/instrument.Event: the message is the body of the event, or else its name, and the attribute "event" is the name. The
// logger's name is the scope of the event, so that Levels can filter it. Records from slog have no event name and are skipped: they are
// on the readable log already.
type eventEcho struct{ next slog.Handler }

var _ sdklog.Processor = eventEcho{}

// Enabled implements sdklog.Processor.
func (e eventEcho) Enabled(ctx context.Context, p sdklog.EnabledParameters) bool {
	return p.EventName != "" && e.next.Enabled(ctx, slogLevel(p.Severity))
}

// OnEmit implements sdklog.Processor.
func (e eventEcho) OnEmit(ctx context.Context, r *sdklog.Record) error {
	if r.EventName() == "" {
		return nil
	}
	h := e.next.WithAttrs([]slog.Attr{slog.String(log.LoggerKey, r.InstrumentationScope().Name)})
	level := slogLevel(r.Severity())
	if !h.Enabled(ctx, level) {
		return nil
	}
	at := r.Timestamp()
	if at.IsZero() {
		at = r.ObservedTimestamp()
	}
	line := slog.NewRecord(at, level, messageOf(r), 0)
	line.AddAttrs(slog.String("event", r.EventName()))
	r.WalkAttributes(func(kv attribute.KeyValue) bool {
		line.AddAttrs(slog.Any(string(kv.Key), kv.Value.AsInterface()))
		return true
	})
	return h.Handle(ctx, line)
}

// messageOf returns the text of an event: its body if that is a string, otherwise its name.
func messageOf(r *sdklog.Record) string {
	if text, ok := r.Body().AsInterface().(string); ok && text != "" {
		return text
	}
	return r.EventName()
}

// Shutdown implements sdklog.Processor.
func (eventEcho) Shutdown(context.Context) error { return nil }

// ForceFlush implements sdklog.Processor.
func (eventEcho) ForceFlush(context.Context) error { return nil }

// slogLevel is the inverse of otelslog's mapping: OpenTelemetry counts Info as 9, slog as 0.
func slogLevel(s otellog.Severity) slog.Level {
	if s == otellog.SeverityUndefined {
		return slog.LevelInfo
	}
	return slog.Level(s - otellog.SeverityInfo)
}
