package document

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"time"

	"github.com/go-os/go-os/control/config/driver"
)

// SavedValue is a value in the last-good file, for a document without text. It has a kind, since JSON would convert an int64 to a float, and
// has no infinity, time or duration.
type SavedValue struct {
	Kind string                `json:"kind"`
	Text string                `json:"text,omitempty"`
	List []SavedValue          `json:"list,omitempty"`
	Map  map[string]SavedValue `json:"map,omitempty"`
}

// SavedValueOf returns the saved form of a value, or driver.ErrInvalid if it has none.
func SavedValueOf(v any) (SavedValue, error) {
	if p := reflect.ValueOf(v); p.Kind() == reflect.Pointer && p.IsNil() {
		v = nil
	}
	switch v := v.(type) {
	case nil:
		return SavedValue{Kind: "null"}, nil
	case secret:
		return SavedValueOf(v.inner())
	case time.Time:
		return SavedValue{Kind: "time", Text: v.Format(time.RFC3339Nano)}, nil
	case time.Duration:
		return SavedValue{Kind: "duration", Text: v.String()}, nil
	case number:
		return SavedValue{Kind: "number", Text: string(v)}, nil
	case text:
		return SavedValue{Kind: "text", Text: string(v)}, nil
	case json.Number:
		return SavedValue{Kind: "json number", Text: v.String()}, nil
	case encoding.TextMarshaler:
		text, err := v.MarshalText()
		return SavedValue{Kind: "string", Text: string(text)}, err
	}
	return savedByKind(reflect.ValueOf(v))
}

func savedByKind(v reflect.Value) (out SavedValue, err error) {
	switch {
	case v.Kind() == reflect.Bool:
		return SavedValue{Kind: "bool", Text: strconv.FormatBool(v.Bool())}, nil
	case v.CanInt():
		return SavedValue{Kind: "int", Text: strconv.FormatInt(v.Int(), 10)}, nil
	case v.CanUint():
		return SavedValue{Kind: "uint", Text: strconv.FormatUint(v.Uint(), 10)}, nil
	case v.CanFloat():
		return SavedValue{Kind: "float", Text: strconv.FormatFloat(v.Float(), 'g', -1, 64)}, nil
	case v.Kind() == reflect.String:
		return SavedValue{Kind: "string", Text: v.String()}, nil
	case v.Kind() == reflect.Pointer:
		return SavedValueOf(v.Elem().Interface())
	case v.Kind() == reflect.Slice || v.Kind() == reflect.Array:
		out = SavedValue{Kind: "list", List: make([]SavedValue, v.Len())}
		for i := range out.List {
			if out.List[i], err = SavedValueOf(v.Index(i).Interface()); err != nil {
				return out, err
			}
		}
		return out, nil
	case v.Kind() == reflect.Map && v.Type().Key().Kind() == reflect.String:
		out = SavedValue{Kind: "map", Map: make(map[string]SavedValue, v.Len())}
		for key, inner := range v.Seq2() {
			if out.Map[key.String()], err = SavedValueOf(inner.Interface()); err != nil {
				return out, err
			}
		}
		return out, nil
	}
	return out, fmt.Errorf("%w: a value of type %s cannot be saved: give it as text, a number, a list or a map", driver.ErrInvalid, v.Type())
}

// Value returns the original value.
func (s SavedValue) Value() (any, error) {
	switch s.Kind {
	case "null":
		return nil, nil
	case "string":
		return s.Text, nil
	case "number":
		return number(s.Text), nil
	case "text":
		return text(s.Text), nil
	case "json number":
		return json.Number(s.Text), nil
	case "bool":
		return strconv.ParseBool(s.Text)
	case "int":
		return strconv.ParseInt(s.Text, 10, 64)
	case "uint":
		return strconv.ParseUint(s.Text, 10, 64)
	case "float":
		return strconv.ParseFloat(s.Text, 64)
	case "time":
		return time.Parse(time.RFC3339Nano, s.Text)
	case "duration":
		return time.ParseDuration(s.Text)
	case "list":
		return s.list()
	case "map":
		return s.group()
	}
	return nil, fmt.Errorf("a value of the unknown kind %q", s.Kind)
}

func (s SavedValue) list() (out []any, err error) {
	out = make([]any, len(s.List))
	for i, one := range s.List {
		if out[i], err = one.Value(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s SavedValue) group() (out map[string]any, err error) {
	out = make(map[string]any, len(s.Map))
	for key, one := range s.Map {
		if out[key], err = one.Value(); err != nil {
			return nil, err
		}
	}
	return out, nil
}
