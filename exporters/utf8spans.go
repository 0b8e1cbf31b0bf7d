package exporters

import (
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// repairSpans replaces the spans of a batch that hold invalid text.
func repairSpans(batch []sdktrace.ReadOnlySpan) {
	for i, s := range batch {
		if !soundSpan(s) {
			batch[i] = newRepairedSpan(s)
		}
	}
}

// soundSpan skips the resource, which newResource has repaired.
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

// rewrittenSpan is a span with replaced parts. It leaves the original unchanged, which may wait for another destination.
type rewrittenSpan struct {
	sdktrace.ReadOnlySpan
	name   string
	status sdktrace.Status
	attrs  []attribute.KeyValue
	events []sdktrace.Event
	links  []sdktrace.Link
	scope  instrumentation.Scope
}

func newRepairedSpan(s sdktrace.ReadOnlySpan) *rewrittenSpan {
	return rewriteSpan(s, repairText, repairAttrs, repairScope)
}

// rewriteSpan replaces the contents of a span: all strings, all lists of attributes, and the scope.
func rewriteSpan(
	s sdktrace.ReadOnlySpan, text func(string) string, attrs func([]attribute.KeyValue) []attribute.KeyValue,
	scope func(instrumentation.Scope) instrumentation.Scope,
) *rewrittenSpan {
	status := s.Status()
	status.Description = text(status.Description)
	events := append([]sdktrace.Event(nil), s.Events()...)
	for i := range events {
		events[i].Name, events[i].Attributes = text(events[i].Name), attrs(events[i].Attributes)
	}
	links := append([]sdktrace.Link(nil), s.Links()...)
	for i := range links {
		links[i].Attributes = attrs(links[i].Attributes)
	}
	return &rewrittenSpan{
		ReadOnlySpan: s, name: text(s.Name()), status: status, attrs: attrs(s.Attributes()), events: events, links: links,
		scope: scope(s.InstrumentationScope()),
	}
}

// Name implements sdktrace.ReadOnlySpan.
func (s *rewrittenSpan) Name() string { return s.name }

// Status implements sdktrace.ReadOnlySpan.
func (s *rewrittenSpan) Status() sdktrace.Status { return s.status }

// Attributes implements sdktrace.ReadOnlySpan.
func (s *rewrittenSpan) Attributes() []attribute.KeyValue { return s.attrs }

// Events implements sdktrace.ReadOnlySpan.
func (s *rewrittenSpan) Events() []sdktrace.Event { return s.events }

// Links implements sdktrace.ReadOnlySpan.
func (s *rewrittenSpan) Links() []sdktrace.Link { return s.links }

// InstrumentationScope implements sdktrace.ReadOnlySpan.
func (s *rewrittenSpan) InstrumentationScope() instrumentation.Scope { return s.scope }
