package show

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

func (r *Recorder) add(id trace.TraceID, line Line) {
	r.keep(id, func(t *Trace) {
		if len(t.Lines) < maxLines {
			t.Lines = append(t.Lines, line)
		}
	})
}

// Sink returns a slog handler that keeps the records of one service with their traces. It discards records outside of a trace.
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

// flatten appends an attribute as text for people. Groups become dotted names.
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

// text returns the attributes of the line, without those that its span also has. It omits stack traces, which would fill the screen.
func (l Line) text(span []attribute.KeyValue) string {
	var parts []string
	for _, kv := range l.Attrs {
		value := kv.Value.String()
		if kv.Key == "exception.stacktrace" || kv.Key == "logger" || find(span, kv.Key) == value {
			continue
		}
		if strings.ContainsAny(value, " \n\t") {
			value = strconv.Quote(value)
		}
		parts = append(parts, string(kv.Key)+"="+value)
	}
	return strings.Join(parts, " ")
}
