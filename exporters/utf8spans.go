package exporters

import (
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// mendSpans replaces the spans of a batch that hold bad text.
func mendSpans(batch []sdktrace.ReadOnlySpan) {
	for i, s := range batch {
		if !soundSpan(s) {
			batch[i] = newMendedSpan(s)
		}
	}
}

// soundSpan leaves out the resource, which newResource has mended.
func soundSpan(s sdktrace.ReadOnlySpan) bool {
	if !utf8.ValidString(s.Name()) || !utf8.ValidString(s.Status().Description) || !soundAttrs(s.Attributes()) {
		return false
	}
	for _, e := range s.Events() {
		if !utf8.ValidString(e.Name) || !soundAttrs(e.Attributes) {
			return false
		}
	}
	for _, l := range s.Links() {
		if !soundAttrs(l.Attributes) {
			return false
		}
	}
	scope := s.InstrumentationScope()
	return soundScope(&scope)
}

// mendedSpan is a span with its text replaced. The span itself may wait for another destination, so it is left alone.
type mendedSpan struct {
	sdktrace.ReadOnlySpan
	name   string
	status sdktrace.Status
	attrs  []attribute.KeyValue
	events []sdktrace.Event
	links  []sdktrace.Link
	scope  instrumentation.Scope
}

func newMendedSpan(s sdktrace.ReadOnlySpan) *mendedSpan {
	status := s.Status()
	status.Description = mendText(status.Description)
	events := append([]sdktrace.Event(nil), s.Events()...)
	for i := range events {
		events[i].Name, events[i].Attributes = mendText(events[i].Name), mendAttrs(events[i].Attributes)
	}
	links := append([]sdktrace.Link(nil), s.Links()...)
	for i := range links {
		links[i].Attributes = mendAttrs(links[i].Attributes)
	}
	return &mendedSpan{
		ReadOnlySpan: s, name: mendText(s.Name()), status: status, attrs: mendAttrs(s.Attributes()), events: events, links: links,
		scope: mendScope(s.InstrumentationScope()),
	}
}

// Name implements sdktrace.ReadOnlySpan.
func (s *mendedSpan) Name() string { return s.name }

// Status implements sdktrace.ReadOnlySpan.
func (s *mendedSpan) Status() sdktrace.Status { return s.status }

// Attributes implements sdktrace.ReadOnlySpan.
func (s *mendedSpan) Attributes() []attribute.KeyValue { return s.attrs }

// Events implements sdktrace.ReadOnlySpan.
func (s *mendedSpan) Events() []sdktrace.Event { return s.events }

// Links implements sdktrace.ReadOnlySpan.
func (s *mendedSpan) Links() []sdktrace.Link { return s.links }

// InstrumentationScope implements sdktrace.ReadOnlySpan.
func (s *mendedSpan) InstrumentationScope() instrumentation.Scope { return s.scope }
