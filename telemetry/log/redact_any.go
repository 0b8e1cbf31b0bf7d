package log

import (
	"encoding"
	"errors"
	"log/slog"
	"reflect"
)

// redacted is implemented by types that can format themselves without their secrets.
type redacted interface{ Redacted() string }

var (
	attrType     = reflect.TypeFor[slog.Attr]()
	valueType    = reflect.TypeFor[slog.Value]()
	redactedType = reflect.TypeFor[redacted]()
	valuerType   = reflect.TypeFor[slog.LogValuer]()
	textType     = reflect.TypeFor[encoding.TextMarshaler]()
)

// cleanAny reports whether v, a value of slog.KindAny, can stay unchanged under a key that is not hidden.
func (d *redactor) cleanAny(v any, depth int) bool {
	if v == nil {
		return true
	}
	if !d.holds(reflect.TypeOf(v)) {
		return true
	}
	return d.cleanValue(reflect.ValueOf(v), depth)
}

// holds is mayHold, cached by type.
func (d *redactor) holds(t reflect.Type) bool {
	if known, ok := d.known.Load(t); ok {
		return known.(bool)
	}
	may := d.mayHold(t, 0)
	d.known.Store(t, may)
	return may
}

// mayHold reports whether values of type t may need redaction: themselves, or in what encoders follow, which are pointers,
// interfaces, slices, arrays, and maps whose keys are written as text. It does not look into the fields of structs.
func (d *redactor) mayHold(t reflect.Type, depth int) bool {
	if _, ok := d.types[t]; ok || t == attrType || t == valueType || t.Implements(redactedType) || t.Implements(valuerType) {
		return true
	}
	switch t.Kind() {
	case reflect.Interface:
		return true
	case reflect.Map:
		return textKeys(t) || d.mayHold(t.Elem(), depth+1)
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return depth < maxDepth && d.mayHold(t.Elem(), depth+1) // a type may be a pointer to itself
	default:
		return false
	}
}

// textKeys reports whether encoders write the keys of a map type as the caller's text.
func textKeys(t reflect.Type) bool {
	return t.Key().Kind() == reflect.String || t.Key().Kind() == reflect.Interface || t.Key().Implements(textType)
}

// cleanValue is cleanAny for a value obtained by reflection.
func (d *redactor) cleanValue(v reflect.Value, depth int) bool {
	v, leaf := d.follow(v)
	switch {
	case leaf != nil:
		return false
	case !v.IsValid() || !d.holds(v.Type()):
		return true
	case depth >= maxDepth:
		return false
	}
	switch v.Kind() {
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if !d.clean(mapAttr(it), false, depth+1) {
				return false
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if !d.cleanValue(v.Index(i), depth+1) {
				return false
			}
		}
	}
	return true
}

// follow dereferences pointers and interfaces. It stops at a value whose type alone decides its output, and returns it as leaf. For
// a nil pointer or interface it returns the zero Value.
func (d *redactor) follow(v reflect.Value) (end reflect.Value, leaf any) {
	for range maxDepth {
		if !v.IsValid() {
			return v, nil
		}
		if v.CanInterface() && v.Kind() != reflect.Interface && d.decides(v.Type()) {
			return v, v.Interface()
		}
		if v.Kind() != reflect.Pointer && v.Kind() != reflect.Interface {
			return v, nil
		}
		v = v.Elem()
	}
	return v, deep{} // a pointer that leads to itself
}

// deep replaces a value that is nested too deeply to be searched.
type deep struct{}

// decides reports whether the type of a value decides its output.
func (d *redactor) decides(t reflect.Type) bool {
	_, listed := d.types[t]
	return listed || t == attrType || t == valueType || t.Implements(redactedType) || t.Implements(valuerType)
}

// rewriteAny returns the value to show to sinks for v, which cleanAny did not accept.
func (d *redactor) rewriteAny(v any, depth int) slog.Value {
	return d.rewriteValue(reflect.ValueOf(v), depth)
}

func (d *redactor) rewriteValue(v reflect.Value, depth int) slog.Value {
	v, leaf := d.follow(v)
	switch {
	case leaf != nil:
		return d.rewriteLeaf(leaf, depth)
	case !v.IsValid():
		return slog.AnyValue(nil)
	case depth >= maxDepth:
		return d.hidden
	}
	switch v.Kind() {
	case reflect.Map:
		out := make(map[string]any, v.Len())
		for it := v.MapRange(); it.Next(); {
			a := d.rewrite(mapAttr(it), false, depth+1)
			out[a.Key] = plain(a.Value)
		}
		return slog.AnyValue(out)
	case reflect.Slice, reflect.Array:
		out := make([]any, v.Len())
		for i := range out {
			out[i] = plain(d.rewriteElement(v.Index(i), depth+1))
		}
		return slog.AnyValue(out)
	default:
		return slog.AnyValue(v.Interface())
	}
}

// rewriteElement returns an element that needs no redaction unchanged.
func (d *redactor) rewriteElement(v reflect.Value, depth int) slog.Value {
	if v.CanInterface() && d.cleanValue(v, depth) {
		return slog.AnyValue(v.Interface())
	}
	return d.rewriteValue(v, depth)
}

// rewriteLeaf returns the output of a value whose type decides it.
func (d *redactor) rewriteLeaf(v any, depth int) slog.Value {
	if shown, ok := d.byType(v); ok {
		return shown
	}
	switch v := v.(type) {
	case slog.Attr:
		a := d.rewrite(v, false, depth+1)
		return slog.AnyValue(map[string]any{a.Key: plain(a.Value)})
	case slog.Value:
		return d.rewrite(slog.Attr{Value: v}, false, depth+1).Value
	case slog.LogValuer:
		return d.rewrite(slog.Any("", v), false, depth+1).Value
	default:
		return d.hidden
	}
}

// byType returns the replacement of v if its type is listed, or has a Redacted method.
func (d *redactor) byType(v any) (slog.Value, bool) {
	if _, ok := d.types[reflect.TypeOf(v)]; ok {
		return d.hidden, true
	}
	if r, ok := v.(redacted); ok {
		return d.show(r), true
	}
	return slog.Value{}, false
}

// show calls Redacted, and hides the value if that panics, most likely on a nil pointer.
func (d *redactor) show(r redacted) (v slog.Value) {
	defer func() {
		if recover() != nil {
			v = d.hidden
		}
	}()
	return slog.StringValue(r.Redacted())
}

// mapAttr returns the entry of a map as an attribute, so that the rules for attributes apply.
func mapAttr(it *reflect.MapIter) slog.Attr {
	key, v := mapKey(it.Key()), it.Value()
	if !v.CanInterface() {
		return slog.String(key, "")
	}
	return slog.Any(key, v.Interface())
}

// mapKey returns the text that encoders write for a key of a map.
func mapKey(k reflect.Value) string {
	for k.Kind() == reflect.Interface {
		k = k.Elem()
	}
	if k.Kind() == reflect.String {
		return k.String()
	}
	if k.IsValid() && k.CanInterface() {
		if m, ok := k.Interface().(encoding.TextMarshaler); ok {
			if text, err := marshalKey(m); err == nil {
				return text
			}
		}
		return slog.AnyValue(k.Interface()).String()
	}
	return ""
}

var errPanicked = errors.New("MarshalText panicked")

// marshalKey survives the MarshalText of a nil pointer.
func marshalKey(m encoding.TextMarshaler) (text string, err error) {
	defer func() {
		if r := recover(); r != nil {
			text, err = "", errPanicked
		}
	}()
	b, err := m.MarshalText()
	return string(b), err
}

// plain converts a value back to one for a map: encoders know maps, but not slog's groups.
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
