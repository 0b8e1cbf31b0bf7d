package config

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"time"
)

// savedValue is a value of a document without text, as the last-good file keeps it: with its kind, since JSON alone would turn an
// int64 into a float, and has no infinity, no time and no duration.
type savedValue struct {
	Kind string                `json:"kind"`
	Text string                `json:"text,omitempty"`
	List []savedValue          `json:"list,omitempty"`
	Map  map[string]savedValue `json:"map,omitempty"`
}

// savedValueOf returns the saved form of a value, or ErrInvalid if it has none.
func savedValueOf(v any) (savedValue, error) {
	if p := reflect.ValueOf(v); p.Kind() == reflect.Pointer && p.IsNil() {
		v = nil
	}
	switch v := v.(type) {
	case nil:
		return savedValue{Kind: "null"}, nil
	case secret:
		return savedValueOf(v.inner())
	case time.Time:
		return savedValue{Kind: "time", Text: v.Format(time.RFC3339Nano)}, nil
	case time.Duration:
		return savedValue{Kind: "duration", Text: v.String()}, nil
	case number:
		return savedValue{Kind: "number", Text: string(v)}, nil
	case json.Number:
		return savedValue{Kind: "json number", Text: v.String()}, nil
	case encoding.TextMarshaler:
		text, err := v.MarshalText()
		return savedValue{Kind: "string", Text: string(text)}, err
	}
	return savedByKind(reflect.ValueOf(v))
}

func savedByKind(v reflect.Value) (out savedValue, err error) {
	switch {
	case v.Kind() == reflect.Bool:
		return savedValue{Kind: "bool", Text: strconv.FormatBool(v.Bool())}, nil
	case v.CanInt():
		return savedValue{Kind: "int", Text: strconv.FormatInt(v.Int(), 10)}, nil
	case v.CanUint():
		return savedValue{Kind: "uint", Text: strconv.FormatUint(v.Uint(), 10)}, nil
	case v.CanFloat():
		return savedValue{Kind: "float", Text: strconv.FormatFloat(v.Float(), 'g', -1, 64)}, nil
	case v.Kind() == reflect.String:
		return savedValue{Kind: "string", Text: v.String()}, nil
	case v.Kind() == reflect.Pointer:
		return savedValueOf(v.Elem().Interface())
	case v.Kind() == reflect.Slice || v.Kind() == reflect.Array:
		out = savedValue{Kind: "list", List: make([]savedValue, v.Len())}
		for i := range out.List {
			if out.List[i], err = savedValueOf(v.Index(i).Interface()); err != nil {
				return out, err
			}
		}
		return out, nil
	case v.Kind() == reflect.Map && v.Type().Key().Kind() == reflect.String:
		out = savedValue{Kind: "map", Map: make(map[string]savedValue, v.Len())}
		for key, inner := range v.Seq2() {
			if out.Map[key.String()], err = savedValueOf(inner.Interface()); err != nil {
				return out, err
			}
		}
		return out, nil
	}
	return out, fmt.Errorf("%w: a value of type %s cannot be kept: give it as text, a number, a list or a map", ErrInvalid, v.Type())
}

// value returns the value again.
func (s savedValue) value() (any, error) {
	switch s.Kind {
	case "null":
		return nil, nil
	case "string":
		return s.Text, nil
	case "number":
		return number(s.Text), nil
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

func (s savedValue) list() (out []any, err error) {
	out = make([]any, len(s.List))
	for i, one := range s.List {
		if out[i], err = one.value(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s savedValue) group() (out map[string]any, err error) {
	out = make(map[string]any, len(s.Map))
	for key, one := range s.Map {
		if out[key], err = one.value(); err != nil {
			return nil, err
		}
	}
	return out, nil
}
