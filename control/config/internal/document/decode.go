package document

import (
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/url"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-os/go-os/control/config/driver"
)

// text is a value of a source that has only texts.
type text = driver.Text

// valueError describes why a value does not fit. The value is shown only if its key is known not to be secret.
type valueError struct {
	want string
	why  string // in place of want, a predicate: "has no unit"
	got  any
}

func (e *valueError) Error() string {
	if e.why != "" {
		return e.why
	}
	return "is not " + e.want
}

// unfit returns the error for a value of the wrong kind. It states the kind of the value, if that helps, and the remedy.
func unfit(value any, t reflect.Type) *valueError {
	want := describe(t)
	switch v := value.(type) {
	case []any:
		return &valueError{why: "is a list, not " + want}
	case map[string]any:
		return &valueError{why: "is a group of keys, not " + want}
	case number, instant, bool:
		if t.Kind() == reflect.String || reflect.PointerTo(t).Implements(typeOfText) {
			want += "; put it in quotes"
		}
	case string:
		if needsNoQuotes(v, t) {
			return &valueError{why: "is a text, not " + want + ": write it without quotes", got: value}
		}
	}
	return &valueError{want: want, got: value}
}

// needsNoQuotes reports whether a text, without its quotes, is a value of a type in every format.
func needsNoQuotes(s string, t reflect.Type) bool {
	switch {
	case t.Kind() == reflect.Bool:
		return s == "true" || s == "false"
	case !isNumeric(t) || !jsonNumber.MatchString(s):
		return false
	}
	l, ok := readLiteral(s)
	_, err := l.as(t)
	return ok && err == nil
}

func isNumeric(t reflect.Type) bool { return reflect.Int <= t.Kind() && t.Kind() <= reflect.Float64 }

// fit converts a value of a document to a type without loss, or returns an error.
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
	case t == typeOfTime:
		return timeFrom(value)
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
		if n, isNumber := value.(number); isNumber {
			return nil, &valueError{why: "has no unit: write a duration such as 30s, 5m or 1h30m", got: n}
		}
		return nil, unfit(value, typeOfDuration)
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return nil, &valueError{want: "a duration such as 30s, 5m or 1h30m", got: value}
	}
	if !wholeNanoseconds(s, d) {
		return nil, &valueError{why: "has a fraction of a nanosecond", got: value}
	}
	return d, nil
}

// durationPart is a number and its unit.
var durationPart = regexp.MustCompile(`([0-9]*)\.?([0-9]*)([a-zµμ]+)`)

// wholeNanoseconds reports whether time.ParseDuration has lost no fraction.
func wholeNanoseconds(s string, d time.Duration) bool {
	sum := new(big.Rat)
	for _, m := range durationPart.FindAllStringSubmatch(s, -1) {
		unit, err := time.ParseDuration("1" + m[3])
		part, ok := new(big.Rat).SetString(cmp.Or(m[1], "0") + "." + cmp.Or(m[2], "0"))
		if err != nil || !ok {
			return false
		}
		sum.Add(sum, part.Mul(part, new(big.Rat).SetInt64(int64(unit))))
	}
	if strings.HasPrefix(s, "-") {
		sum.Neg(sum)
	}
	return sum.Cmp(new(big.Rat).SetInt64(int64(d))) == 0
}

// tooFine matches a time finer than nanoseconds, which the standard library would truncate.
var tooFine = regexp.MustCompile(`[.,][0-9]{10}`)

func timeFrom(value any) (any, error) {
	written, _ := textOf(value)
	if i, ok := value.(instant); ok {
		written = i.written
	}
	if tooFine.MatchString(written) {
		return nil, &valueError{why: "has a fraction of a nanosecond", got: value}
	}
	i, ok := value.(instant)
	if !ok {
		return textFrom(value, typeOfTime)
	}
	if t, ok := i.at.(time.Time); ok {
		return t, nil
	}
	return nil, &valueError{why: "has no time zone: write a time such as 2006-01-02T15:04:05Z", got: value}
}

func urlFrom(value any) (any, error) {
	s, ok := textOf(value)
	if !ok {
		return nil, unfit(value, typeOfURL)
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, &valueError{want: "a URL"}
	}
	return *u, nil
}

// textFrom calls UnmarshalText. It passes numbers and times as written: 1.10 may be a version, and 512 a Size.
func textFrom(value any, t reflect.Type) (any, error) {
	s, ok := textOf(value)
	if !ok {
		switch v := value.(type) {
		case number:
			s = string(v)
		case instant:
			s = v.written
		default:
			return nil, unfit(value, t)
		}
	}
	target := reflect.New(t)
	if err := target.Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(s)); err != nil {
		if known := (*valueError)(nil); errors.As(err, &known) {
			return nil, &valueError{why: err.Error(), got: value}
		}
		return nil, &valueError{want: describe(t), got: value}
	}
	return target.Elem().Interface(), nil
}

func fitKind(value any, t reflect.Type) (any, error) {
	s, isText := value.(text)
	switch t.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64,
		reflect.Float32, reflect.Float64:
		return numberFrom(value, t)
	case reflect.Bool:
		if isText {
			b, err := strconv.ParseBool(string(s))
			if err != nil {
				return nil, misread(s, t)
			}
			return b, nil
		}
	case reflect.String:
		if isText {
			return string(s), nil
		}
	}
	if i, ok := value.(instant); ok && reflect.TypeOf(i.at) == t {
		return i.at, nil
	}
	return value, nil
}

// numberFrom converts a number to a numeric type, or returns an error if that would change it.
func numberFrom(value any, t reflect.Type) (any, error) {
	var l literal
	ok := false
	switch v := value.(type) {
	case number:
		l, ok = readLiteral(string(v))
	case text:
		if l, ok = readLiteral(string(v)); !ok {
			return nil, misread(v, t)
		}
	}
	if !ok {
		return nil, unfit(value, t)
	}
	out, err := l.as(t)
	switch err := err.(type) {
	case nil:
		return out, nil
	case *valueError:
		return nil, &valueError{why: err.why, got: value}
	default:
		return nil, integerError(err, t, value)
	}
}

// integerError returns why a number does not fit an integer type.
func integerError(err error, t reflect.Type, value any) error {
	if err == errNotWhole {
		return &valueError{want: describe(t), got: value}
	}
	bits := uint(t.Bits())
	low, high := "0", strconv.FormatUint(math.MaxUint64>>(64-bits), 10)
	if t.Kind() <= reflect.Int64 {
		low, high = strconv.FormatInt(math.MinInt64>>(64-bits), 10), strconv.FormatUint(math.MaxInt64>>(64-bits), 10)
	}
	return &valueError{why: "is out of range: write a whole number from " + low + " to " + high, got: value}
}

// as returns the number for a numeric type: an int64, a uint64 or a float64 in the range of the type.
func (l literal) as(t reflect.Type) (any, error) {
	if k := t.Kind(); k == reflect.Float32 || k == reflect.Float64 {
		return l.float(t.Bits())
	}
	i, err := l.integer()
	if err != nil {
		return nil, err
	}
	if t.Kind() >= reflect.Uint && t.Kind() <= reflect.Uint64 {
		if u, ok := i.unsigned(); ok && !reflect.Zero(t).OverflowUint(u) {
			return u, nil
		}
		return nil, errTooLarge
	}
	if n, ok := i.signed(); ok && !reflect.Zero(t).OverflowInt(n) {
		return n, nil
	}
	return nil, errTooLarge
}

// serviceLink is a variable that Kubernetes sets for each service, such as SHOP_PORT=tcp://10.0.0.1:80.
var serviceLink = regexp.MustCompile(`^(?:tcp|udp|sctp)://[0-9a-fA-F.:\[\]]+$`)

// misread returns why a text does not fit a type.
func misread(s text, t reflect.Type) error {
	switch {
	case s == "":
		return &valueError{why: "is empty: give it a value, or unset it"}
	case serviceLink.MatchString(string(s)):
		return &valueError{why: "is not " + describe(t) + ": Kubernetes sets this variable for a service of that name; set enableServiceLinks: false in the pod, or use another prefix", got: s}
	}
	return &valueError{want: describe(t), got: s}
}

// structureFrom parses a list or a map from a text: JSON or, for a list, values separated by commas.
func structureFrom(s string, t reflect.Type) (any, error) {
	trimmed := strings.TrimSpace(s)
	isList := t.Kind() == reflect.Slice || t.Kind() == reflect.Array
	if isList && !strings.HasPrefix(trimmed, "[") {
		return listFrom(trimmed)
	}
	if trimmed == "" || serviceLink.MatchString(trimmed) {
		return nil, misread(text(trimmed), t)
	}
	if !utf8.ValidString(trimmed) { // the decoder would substitute U+FFFD
		return nil, &valueError{why: "is not UTF-8"}
	}
	v, err := readJSONValue([]byte(trimmed))
	_, isGroup := v.(map[string]any)
	_, isArray := v.([]any)
	switch {
	case errors.Is(err, errDuplicate):
		return nil, &valueError{why: "has a duplicate key"}
	case isList && (err != nil || !isArray):
		return nil, &valueError{want: "a list, as JSON or with commas"}
	case !isList && (err != nil || !isGroup):
		return nil, &valueError{want: "an object in JSON, such as {\"key\": 1}"}
	}
	return v, nil
}

// listFrom splits a text at commas.
func listFrom(s string) (any, error) {
	parts := []any{}
	if s == "" {
		return parts, nil
	}
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part == "" {
			return nil, &valueError{why: "has an empty element: leave it out, or write the list as JSON"}
		}
		parts = append(parts, text(part))
	}
	return parts, nil
}

// describe returns the name of a type for an error.
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
		return "a text"
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
