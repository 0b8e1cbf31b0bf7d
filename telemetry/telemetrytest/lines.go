package telemetrytest

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// Line is a record of Providers.Logger.
type Line struct {
	Level   slog.Level
	Message string
	// Attributes are resolved values. The name of an attribute in a group begins with the name of the
	// group and a dot.
	Attributes map[string]any
	Time       time.Time
}

// handler records log lines.
type handler struct {
	recorder *Recorder
	prefix   string // of open groups, with the dot
	attrs    []slog.Attr
}

// Enabled implements slog.Handler.
func (*handler) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (h *handler) Handle(_ context.Context, r slog.Record) error {
	line := Line{Level: r.Level, Message: r.Message, Attributes: map[string]any{}, Time: r.Time}
	for _, a := range h.attrs {
		flatten(line.Attributes, "", a)
	}
	for a := range r.Attrs {
		flatten(line.Attributes, h.prefix, a)
	}
	record(h.recorder, &h.recorder.lines, line)
	return nil
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	all := slices.Clone(h.attrs)
	for _, a := range attrs {
		if a.Key == "" { // an inline group: its members belong to the open groups
			all = append(all, slog.Attr{Key: strings.TrimSuffix(h.prefix, "."), Value: a.Value})
			continue
		}
		all = append(all, slog.Attr{Key: h.prefix + a.Key, Value: a.Value})
	}
	return &handler{recorder: h.recorder, prefix: h.prefix, attrs: all}
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return &handler{recorder: h.recorder, prefix: h.prefix + name + ".", attrs: h.attrs}
}

// flatten adds an attribute, or the attributes of a group.
func flatten(to map[string]any, prefix string, a slog.Attr) {
	value := a.Value.Resolve()
	if value.Kind() != slog.KindGroup {
		if a.Key != "" {
			to[prefix+a.Key] = value.Any()
		}
		return
	}
	if a.Key != "" {
		prefix += a.Key + "."
	}
	for _, member := range value.Group() {
		flatten(to, prefix, member)
	}
}
