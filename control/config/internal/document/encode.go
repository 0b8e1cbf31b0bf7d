package document

import (
	"encoding"
	"encoding/json"
	"net/url"
	"reflect"
	"time"
)

// TreeOf converts a struct to the tree of a document.
func TreeOf(v reflect.Value) map[string]any {
	out := map[string]any{}
	for _, f := range fieldsOf(v.Type()) {
		inner, err := v.FieldByIndexErr(f.index)
		if err != nil || inner.IsZero() {
			continue
		}
		out[f.name] = ValueOf(inner)
	}
	return out
}

// ValueOf converts a Go value to a value of a document.
func ValueOf(v reflect.Value) any {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	if held, ok := v.Interface().(secret); ok {
		inner := reflect.ValueOf(held.inner())
		if !inner.IsValid() {
			return nil
		}
		return ValueOf(inner)
	}
	switch shapeOf(v.Type()) {
	case object:
		return TreeOf(v)
	case table:
		out := map[string]any{}
		for it := v.MapRange(); it.Next(); {
			out[keyOf(it.Key())] = ValueOf(it.Value())
		}
		return out
	case list:
		out := make([]any, v.Len())
		for i := range out {
			out[i] = ValueOf(v.Index(i))
		}
		return out
	}
	return scalarOf(v)
}

// goValue is a Go value for a field of the same type, and its written form for all others. Not every type can write what it reads, and
// some write a redacted text.
type goValue struct {
	value   any
	written any
}

func (e goValue) MarshalJSON() ([]byte, error) { return json.Marshal(Show(e)) } // for the fingerprint

func scalarOf(v reflect.Value) any {
	if written, ok := textFor(v); ok {
		return goValue{v.Interface(), written}
	}
	if reflect.PointerTo(v.Type()).Implements(typeOfText) {
		return goValue{v.Interface(), plainKind(v)}
	}
	return plainKind(v)
}

// textFor returns the result of MarshalText.
func textFor(v reflect.Value) (string, bool) {
	copied := reflect.New(v.Type()) // the methods may have pointer receivers
	copied.Elem().Set(v)
	switch value := copied.Interface().(type) {
	case *time.Duration:
		return value.String(), true
	case *url.URL:
		return value.String(), true
	case encoding.TextMarshaler:
		out, err := value.MarshalText()
		return string(out), err == nil
	}
	return "", false
}

// keyOf returns the key of a map as text.
func keyOf(key reflect.Value) string {
	if written, ok := textFor(key); ok {
		return written
	}
	return key.String()
}

// plainKind converts a value to the types that the parsers return.
func plainKind(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Bool:
		return v.Bool()
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return v.Int()
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return v.Uint()
	case reflect.Float32, reflect.Float64:
		return v.Float()
	case reflect.String:
		return v.String()
	}
	return v.Interface()
}
