package exporters

import (
	"strings"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
)

// OTLP carries text as protobuf strings, which must be UTF-8. One bad byte makes an exporter refuse the whole batch, and most
// telemetry holds text from outside the service. So each destination checks everything just before its exporter does, and repairs
// it: each run of bad bytes becomes one U+FFFD.
//
// The exporting goroutine does this, at no cost to the service's calls. Checking good text allocates nothing, except for
// attributes that are lists or maps, which the attribute package copies for each caller.

// repairText returns s itself if it is UTF-8.
func repairText(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// sound reports whether all strings within v are UTF-8. Bytes may be anything.
func sound(v attribute.Value) bool {
	switch v.Type() {
	case attribute.STRING:
		return utf8.ValidString(v.AsString())
	case attribute.STRINGSLICE:
		for _, s := range v.AsStringSlice() {
			if !utf8.ValidString(s) {
				return false
			}
		}
	case attribute.SLICE:
		for _, item := range v.AsSlice() {
			if !sound(item) {
				return false
			}
		}
	case attribute.MAP:
		return soundAttrs(v.AsMap())
	}
	return true
}

func soundAttr(kv attribute.KeyValue) bool {
	return utf8.ValidString(string(kv.Key)) && sound(kv.Value)
}

func soundAttrs(attrs []attribute.KeyValue) bool {
	for i := range attrs {
		if !soundAttr(attrs[i]) {
			return false
		}
	}
	return true
}

func soundSet(s *attribute.Set) bool {
	for i := range s.Len() {
		if kv, _ := s.Get(i); !soundAttr(kv) {
			return false
		}
	}
	return true
}

func soundScope(s *instrumentation.Scope) bool {
	return utf8.ValidString(s.Name) && utf8.ValidString(s.Version) && utf8.ValidString(s.SchemaURL) && soundSet(&s.Attributes)
}

func repair(v attribute.Value) attribute.Value {
	switch v.Type() {
	case attribute.STRING:
		return attribute.StringValue(repairText(v.AsString()))
	case attribute.STRINGSLICE:
		texts := v.AsStringSlice()
		for i := range texts {
			texts[i] = repairText(texts[i])
		}
		return attribute.StringSliceValue(texts)
	case attribute.SLICE:
		items := v.AsSlice()
		for i := range items {
			items[i] = repair(items[i])
		}
		return attribute.SliceValue(items...)
	case attribute.MAP:
		return attribute.MapValue(repairAttrs(v.AsMap())...)
	}
	return v
}

// repairAttrs returns a new slice: its argument may be in use elsewhere.
func repairAttrs(attrs []attribute.KeyValue) []attribute.KeyValue {
	repaired := make([]attribute.KeyValue, len(attrs))
	for i, kv := range attrs {
		repaired[i] = attribute.KeyValue{Key: attribute.Key(repairText(string(kv.Key))), Value: repair(kv.Value)}
	}
	return repaired
}

// repairSet repairs a set. If keys become equal, the last attribute wins.
func repairSet(s *attribute.Set) attribute.Set {
	return attribute.NewSet(repairAttrs(s.ToSlice())...)
}

func repairScope(s instrumentation.Scope) instrumentation.Scope {
	return instrumentation.Scope{
		Name: repairText(s.Name), Version: repairText(s.Version), SchemaURL: repairText(s.SchemaURL), Attributes: repairSet(&s.Attributes),
	}
}
