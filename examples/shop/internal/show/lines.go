package show

import (
	"context"
	"log/slog"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/trace"
)

// Enabled implements sdklog.Processor: only events are asked for.
func (*Recorder) Enabled(_ context.Context, p sdklog.EnabledParameters) bool {
	return p.EventName != ""
}

// OnEmit implements sdklog.Processor. It keeps events, such as exceptions; plain log records come through Sink, where they
// are also seen when no log exporter is configured.
func (r *Recorder) OnEmit(_ context.Context, rec *sdklog.Record) error {
	if rec.EventName() == "" {
		return nil
	}
	line := Line{
		Time:    rec.Timestamp(),
		Service: serviceOf(rec.Resource()),
		Level:   levelOf(rec.Severity()),
		Message: rec.EventName(),
		Span:    rec.SpanID(),
	}
	rec.WalkAttributes(func(kv attribute.KeyValue) bool {
		line.Attrs = append(line.Attrs, kv)
		return true
	})
	r.add(rec.TraceID(), line)
	return nil
}

func levelOf(s log.Severity) string {
	switch {
	case s >= log.SeverityError:
		return "ERROR"
	case s >= log.SeverityWarn:
		return "WARN"
	case s >= log.SeverityInfo:
		return "INFO"
	}
	return "DEBUG"
}

func (r *Recorder) add(id trace.TraceID, line Line) {
	r.keep(id, func(t *Trace) {
		if len(t.Lines) < maxLines {
			t.Lines = append(t.Lines, line)
		}
	})
}

// Sink returns a slog handler that keeps the records of one service with their traces. Records outside a trace pass by.
func (r *Recorder) Sink(service string) slog.Handler { return &sink{recorder: r, service: service} }

type sink struct {
	recorder *Recorder
	service  string
	attrs    []attribute.KeyValue // of WithAttrs, already under their groups
	prefix   string               // of WithGroup: "group." or nothing
}

func (s *sink) Enabled(context.Context, slog.Level) bool { return true }

func (s *sink) Handle(ctx context.Context, rec slog.Record) error {
	sc := trace.SpanContextFromContext(ctx)
	if !sc.IsValid() {
		return nil
	}
	line := Line{Time: rec.Time, Service: s.service, Level: rec.Level.String(), Message: rec.Message, Span: sc.SpanID(), Attrs: slices.Clone(s.attrs)}
	rec.Attrs(func(a slog.Attr) bool {
		line.Attrs = flatten(line.Attrs, s.prefix, a)
		return true
	})
	s.recorder.add(sc.TraceID(), line)
	return nil
}

func (s *sink) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *s
	next.attrs = slices.Clone(s.attrs)
	for _, a := range attrs {
		next.attrs = flatten(next.attrs, s.prefix, a)
	}
	return &next
}

func (s *sink) WithGroup(name string) slog.Handler {
	if name == "" {
		return s
	}
	next := *s
	next.prefix += name + "."
	return &next
}

// flatten writes an attribute for people: groups become dotted names, values become text.
func flatten(to []attribute.KeyValue, prefix string, a slog.Attr) []attribute.KeyValue {
	value := a.Value.Resolve()
	if value.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, member := range value.Group() {
			to = flatten(to, prefix, member)
		}
		return to
	}
	if a.Equal(slog.Attr{}) {
		return to
	}
	return append(to, attribute.String(prefix+a.Key, value.String()))
}

// text is the line's attributes, without stacks: they fill a screen, and exporters carry them.
func (l Line) text() string {
	var parts []string
	for _, kv := range l.Attrs {
		if kv.Key == "exception.stacktrace" || strings.HasSuffix(string(kv.Key), "_id") {
			continue
		}
		value := kv.Value.String()
		if strings.ContainsAny(value, " \n\t") {
			value = "\"" + strings.ReplaceAll(value, "\n", " ") + "\""
		}
		parts = append(parts, string(kv.Key)+"="+value)
	}
	return strings.Join(parts, " ")
}
