package document

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/go-os/go-os/control/config/driver"
)

// Within reports whether a path equals another, or is below it.
func Within(path, other string) bool {
	rest, ok := strings.CutPrefix(path, other)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// CheckPath returns why a type has no such path.
func CheckPath(t reflect.Type, path string) error {
	for whole := path; path != ""; {
		part, rest := firstPart(path)
		t = indirect(t)
		switch shapeOf(t) {
		case object:
			fields := fieldsOf(t)
			i := slices.IndexFunc(fields, func(f field) bool { return f.name == part })
			if i < 0 {
				hint := ""
				if meant := suggest(part, t); meant != "" {
					hint = fmt.Sprintf("; did you mean %s?", meant)
				}
				return &driver.Error{Key: whole, Err: fmt.Errorf("%w: %s has no key %s%s", driver.ErrInvalid, t, part, hint)}
			}
			t = fields[i].typ
		case table:
			t = t.Elem()
		case anything:
			return nil
		default:
			return &driver.Error{Key: whole, Err: fmt.Errorf("%w: nothing below a %s can be followed, nor single elements of a list", driver.ErrInvalid, t)}
		}
		path = rest
	}
	return nil
}

// firstPart splits a path at its first dot outside of quotes.
func firstPart(path string) (part, rest string) {
	if strings.HasPrefix(path, `"`) {
		if quoted, err := strconv.QuotedPrefix(path); err == nil {
			part, _ = strconv.Unquote(quoted)
			return part, strings.TrimPrefix(path[len(quoted):], ".")
		}
	}
	part, rest, _ = strings.Cut(path, ".")
	return part, rest
}

// ChangedKeys returns the paths at which two values differ.
func ChangedKeys(a, b any) []string {
	v := reflect.ValueOf(a).Elem()
	all := appendChanged(nil, v, reflect.ValueOf(b).Elem(), place{typ: v.Type()})
	slices.Sort(all)
	return all
}

func appendChanged(all []string, a, b reflect.Value, at place) []string {
	t := a.Type()
	if t.Kind() == reflect.Pointer && !a.IsNil() && !b.IsNil() {
		return appendChanged(all, a.Elem(), b.Elem(), at)
	}
	switch {
	case t.Kind() != reflect.Pointer && shapeOf(t) == object:
		for _, f := range fieldsOf(t) {
			all = appendChanged(all, a.FieldByIndex(f.index), b.FieldByIndex(f.index), at.field(f))
		}
		return all
	case t.Kind() == reflect.Map && shapeOf(t) == table && !at.hidden: // the keys of a secret are secret too
		return appendChangedMap(all, a, b, at)
	case equal(a, b):
		return all
	default:
		return append(all, at.path)
	}
}

func appendChangedMap(all []string, a, b reflect.Value, at place) []string {
	elem := a.Type().Elem()
	for it := a.MapRange(); it.Next(); {
		key, x, y := it.Key(), it.Value(), b.MapIndex(it.Key())
		switch {
		case !y.IsValid():
			all = append(all, at.entry(key.String(), elem).path)
		case !equal(x, y):
			all = appendChanged(all, x, y, at.entry(key.String(), elem))
		}
	}
	for it := b.MapRange(); it.Next(); {
		if !a.MapIndex(it.Key()).IsValid() {
			all = append(all, at.entry(it.Key().String(), elem).path)
		}
	}
	return all
}

// equal is reflect.DeepEqual, but faster for comparable values.
func equal(a, b reflect.Value) bool {
	return a.Comparable() && b.Comparable() && a.Equal(b) || reflect.DeepEqual(a.Interface(), b.Interface())
}

// Equal reports whether two values of documents are equal for every Go type. 1 and "1" are not; nor are 1.1 and 1.10, which differ as
// strings.
func Equal(x, y any) bool {
	switch x := x.(type) {
	case map[string]any:
		group, ok := y.(map[string]any)
		return ok && maps.EqualFunc(x, group, Equal)
	case []any:
		elements, ok := y.([]any)
		return ok && slices.EqualFunc(x, elements, Equal)
	case instant:
		other, ok := y.(instant)
		return ok && x.written == other.written
	}
	switch y.(type) {
	case map[string]any, []any, instant:
		return false
	}
	return x == y
}
