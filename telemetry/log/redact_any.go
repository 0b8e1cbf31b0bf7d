package log

import (
	"log/slog"
	"reflect"
)

// redacted is implemented by types that can show themselves without their secrets.
type redacted interface{ Redacted() string }

// cleanAny reports whether v, a value of slog.KindAny, can stay as it is under a key that is not hidden.
func (d *redactor) cleanAny(v any, depth int) bool {
	if _, ok := v.(redacted); ok {
		return false
	}
	t := reflect.TypeOf(v)
	if t == nil {
		return true
	}
	if _, ok := d.types[t]; ok {
		return false
	}
	if !leadsToMap(t) {
		return true
	}
	if depth >= maxDepth {
		return false
	}
	for it := followed(v).MapRange(); it.Next(); {
		if !d.clean(mapAttr(it), false, depth+1) {
			return false
		}
	}
	return true
}

// leadsToMap reports whether values of this type are maps with string keys, or pointers to such, which encoders follow.
func leadsToMap(t reflect.Type) bool {
	for i := 0; t.Kind() == reflect.Pointer && i < maxDepth; i++ { // a pointer type may point to itself
		t = t.Elem()
	}
	return t.Kind() == reflect.Map && t.Key().Kind() == reflect.String
}

// followed returns the map that v leads to, and an empty one if a pointer on the way is nil.
func followed(v any) reflect.Value {
	m := reflect.ValueOf(v)
	for m.Kind() == reflect.Pointer {
		m = m.Elem()
	}
	if !m.IsValid() {
		return reflect.ValueOf(map[string]any(nil))
	}
	return m
}

// rewriteAny returns what sinks may see of v, which cleanAny did not accept.
func (d *redactor) rewriteAny(v any, depth int) slog.Value {
	if shown, ok := d.byType(v); ok {
		return shown
	}
	if !leadsToMap(reflect.TypeOf(v)) {
		return d.hidden
	}
	m := followed(v)
	out := make(map[string]any, m.Len())
	for it := m.MapRange(); it.Next(); {
		a := d.rewrite(mapAttr(it), false, depth+1)
		out[a.Key] = plain(a.Value)
	}
	return slog.AnyValue(out)
}

// byType returns what stands for v if its type alone decides that.
func (d *redactor) byType(v any) (slog.Value, bool) {
	if _, ok := d.types[reflect.TypeOf(v)]; ok {
		return d.hidden, true
	}
	if r, ok := v.(redacted); ok {
		return d.show(r), true
	}
	return slog.Value{}, false
}

// show hides the value if it cannot show itself: a nil pointer, most likely.
func (d *redactor) show(r redacted) (v slog.Value) {
	defer func() {
		if recover() != nil {
			v = d.hidden
		}
	}()
	return slog.StringValue(r.Redacted())
}

// mapAttr is the entry of a map as an attribute, so that the rules for attributes hold for it.
func mapAttr(it *reflect.MapIter) slog.Attr {
	v := it.Value()
	if !v.CanInterface() {
		return slog.String(it.Key().String(), "")
	}
	return slog.Any(it.Key().String(), v.Interface())
}

// plain turns a value back into what a map holds: encoders know maps, but not slog's groups.
func plain(v slog.Value) any {
	if v.Kind() != slog.KindGroup {
		return v.Any()
	}
	out := make(map[string]any)
	for _, a := range v.Group() {
		out[a.Key] = plain(a.Value)
	}
	return out
}
