package config

import (
	"encoding"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// text is a value of a source that knows only texts: it may stand for a number, a list or a map as well.
type text string

// valueError says that a value does not fit. The value itself is told only where the key is known to hold no secret.
type valueError struct {
	want string
	why  string // instead of want, a whole predicate: "has no unit"
	got  any
}

func (e *valueError) Error() string {
	if e.why != "" {
		return e.why
	}
	return "is not " + e.want
}

// fit turns a value of a document into one of a type without losing anything, or refuses it.
func fit(value any, t reflect.Type) (any, error) {
	switch {
	case value == nil:
		return nil, &valueError{why: "is null: write a value, or leave the key out"}
	case reflect.TypeOf(value) == t:
		return value, nil
	case t == typeOfDuration:
		return durationFrom(value)
	case t == typeOfURL:
		return urlFrom(value)
	case reflect.PointerTo(t).Implements(typeOfText):
		return textFrom(value, t)
	}
	return fitKind(value, t)
}

func textOf(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case text:
		return string(v), true
	}
	return "", false
}

func durationFrom(value any) (any, error) {
	s, ok := textOf(value)
	if !ok {
		return nil, &valueError{why: "has no unit: write a duration such as 30s, 5m or 1h30m", got: value}
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return nil, &valueError{want: "a duration such as 30s, 5m or 1h30m", got: value}
	}
	return d, nil
}

func urlFrom(value any) (any, error) {
	s, ok := textOf(value)
	if !ok {
		return nil, &valueError{want: "a URL", got: value}
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, &valueError{want: "a URL"}
	}
	return *u, nil
}

// textFrom lets a type read itself. A number goes as it is written, so that 512 can be a Size.
func textFrom(value any, t reflect.Type) (any, error) {
	s, ok := textOf(value)
	if !ok {
		switch v := value.(type) {
		case int, int64, uint64:
			s = fmt.Sprint(v)
		case float64:
			s = strconv.FormatFloat(v, 'f', -1, 64)
		default:
			return nil, &valueError{want: describe(t), got: value}
		}
	}
	target := reflect.New(t)
	if err := target.Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(s)); err != nil {
		if t == reflect.TypeFor[Size]() {
			return nil, &valueError{why: err.Error(), got: value}
		}
		return nil, &valueError{want: describe(t), got: value}
	}
	return target.Elem().Interface(), nil
}

func fitKind(value any, t reflect.Type) (any, error) {
	s, isText := value.(text)
	switch t.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return intFrom(value, t)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return uintFrom(value, t)
	case reflect.Float32, reflect.Float64:
		if isText {
			f, err := strconv.ParseFloat(string(s), t.Bits())
			if err != nil {
				return nil, &valueError{want: describe(t), got: value}
			}
			return f, nil
		}
	case reflect.Bool:
		if isText {
			b, err := strconv.ParseBool(string(s))
			if err != nil {
				return nil, &valueError{want: describe(t), got: value}
			}
			return b, nil
		}
	case reflect.String, reflect.Interface:
		if isText {
			return string(s), nil
		}
	case reflect.Slice, reflect.Array, reflect.Map, reflect.Struct:
		if isText {
			return structureFrom(string(s), t)
		}
	}
	return value, nil
}

// exact is the whole number below which JSON's numbers, which are floats to its parser, are exact (RFC 8259, section 6).
const exact = 1 << 53

func intFrom(value any, t reflect.Type) (any, error) {
	wrong := &valueError{want: describe(t), got: value}
	var n int64
	switch v := value.(type) {
	case text:
		parsed, err := strconv.ParseInt(string(v), 0, 64)
		if err != nil {
			return nil, wrong
		}
		n = parsed
	case int:
		n = int64(v)
	case int64:
		n = v
	case uint64:
		if v > math.MaxInt64 {
			return nil, wrong
		}
		n = int64(v)
	case float64:
		if v != math.Trunc(v) || math.Abs(v) >= exact {
			return nil, wrong
		}
		n = int64(v)
	default:
		return nil, wrong
	}
	if reflect.Zero(t).OverflowInt(n) {
		return nil, wrong
	}
	return n, nil
}

func uintFrom(value any, t reflect.Type) (any, error) {
	wrong := &valueError{want: describe(t), got: value}
	var n uint64
	switch v := value.(type) {
	case text:
		parsed, err := strconv.ParseUint(string(v), 0, 64)
		if err != nil {
			return nil, wrong
		}
		n = parsed
	case uint64:
		n = v
	default:
		signed, err := intFrom(value, reflect.TypeFor[int64]())
		if err != nil || signed.(int64) < 0 {
			return nil, wrong
		}
		n = uint64(signed.(int64))
	}
	if reflect.Zero(t).OverflowUint(n) {
		return nil, wrong
	}
	return n, nil
}

// structureFrom reads a list or a map from a text: JSON, or, for a list, values with commas between them.
func structureFrom(s string, t reflect.Type) (any, error) {
	trimmed := strings.TrimSpace(s)
	isList := t.Kind() == reflect.Slice || t.Kind() == reflect.Array
	switch {
	case isList && !strings.HasPrefix(trimmed, "["):
		parts := []any{}
		for part := range strings.SplitSeq(trimmed, ",") {
			if part = strings.TrimSpace(part); part != "" {
				parts = append(parts, text(part))
			}
		}
		return parts, nil
	case isList:
		var out []any
		if err := json.Unmarshal([]byte(trimmed), &out); err != nil {
			return nil, &valueError{want: "a list, as JSON or with commas"}
		}
		return out, nil
	}
	var out map[string]any
	if err := json.Unmarshal([]byte(trimmed), &out); err != nil {
		return nil, &valueError{want: "an object in JSON, such as {\"key\": 1}"}
	}
	return out, nil
}

// describe names a type for people.
func describe(t reflect.Type) string {
	t = indirect(t)
	switch {
	case t == typeOfDuration:
		return "a duration such as 30s, 5m or 1h30m"
	case t == typeOfTime:
		return "a time such as 2006-01-02T15:04:05Z"
	case t == typeOfURL:
		return "a URL"
	case isSecret(t):
		return "what the secret should be"
	}
	switch shapeOf(t) {
	case object, table:
		return "a group of keys"
	case list:
		return "a list"
	case scalar:
		if reflect.PointerTo(t).Implements(typeOfText) {
			return "a " + t.String()
		}
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "a whole number" + within(t)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number of zero or more" + within(t)
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.String:
		return "a text; put it in quotes"
	default:
		return "a " + t.String()
	}
}

func within(t reflect.Type) string {
	if t.Bits() == 64 {
		return ""
	}
	return fmt.Sprintf(" of %d bits", t.Bits())
}

// show writes a value for people. What may not be shown is redacted before.
func show(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return v
	case text:
		return string(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case time.Time:
		return v.Format(time.RFC3339Nano)
	case []any, map[string]any:
		if out, err := json.Marshal(v); err == nil {
			return string(out)
		}
	}
	return fmt.Sprint(v)
}

// showText hides the password of a URL.
func showText(s string) string {
	if strings.Contains(s, "://") && strings.Contains(s, "@") {
		u, err := url.Parse(s)
		switch {
		case err != nil:
			return Redacted
		case u.User != nil:
			if _, has := u.User.Password(); has {
				return u.Redacted()
			}
		}
	}
	return s
}
