package document

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
)

// decoder fills a value with the merged values of the documents, along its type. It continues after a mistake, and records all of them in the
// account.
type decoder struct {
	*account
	defaults *defaultsTable
}

// value decodes the value at one place.
func (d *decoder) value(at place, from any, into reflect.Value) {
	t := into.Type()
	switch {
	case t.Kind() == reflect.Pointer:
		if from == nil {
			return
		}
		into.Set(reflect.New(t.Elem()))
		at.typ = t.Elem()
		d.value(at, from, into.Elem())
		return
	case isSecret(t):
		inner := reflect.New(secretType(t)).Elem()
		d.value(place{path: at.path, typ: inner.Type(), hidden: true}, from, inner)
		into.Addr().Interface().(settable).conceal(inner)
		return
	}
	if e, ok := from.(goValue); ok {
		if reflect.TypeOf(e.value) == t {
			into.Set(reflect.ValueOf(e.value))
			return
		}
		from = e.written
	}
	switch shapeOf(t) {
	case object:
		d.object(at, from, into)
	case table:
		d.table(at, from, into)
	case list:
		d.list(at, from, into)
	case anything:
		if from != nil && !assign(into, d.free(at, from)) {
			d.misfit(at, unfit(from, t))
		}
	default:
		d.scalar(at, from, into)
	}
}

// object decodes a struct. A missing or null field gets its default.
func (d *decoder) object(at place, from any, into reflect.Value) {
	t := into.Type()
	group, ok := d.group(at, from, t)
	if !ok {
		return
	}
	group = maps.Clone(group)
	addMissing(group, d.defaults.of(t))
	fields := fieldsOf(t)
	for key := range group {
		if !slices.ContainsFunc(fields, func(f field) bool { return f.name == key }) {
			d.unknown(at.unknown(key), key, t)
		}
	}
	for _, f := range fields {
		if v := group[f.name]; v != nil {
			d.value(at.field(f), v, into.FieldByIndex(f.index))
		}
	}
}

// group returns the keys and values of a struct or a map. A text may contain them as JSON.
func (d *decoder) group(at place, from any, t reflect.Type) (map[string]any, bool) {
	if s, isText := from.(text); isText {
		expanded, err := structureFrom(string(s), t)
		if err != nil {
			d.misfit(at, err)
			return nil, false
		}
		from = expanded
	}
	if from == nil { // a heading with nothing but comments below it
		return map[string]any{}, true
	}
	group, ok := from.(map[string]any)
	if !ok {
		d.misfit(at, unfit(from, t))
	}
	return group, ok
}

// table decodes a map. A null adds no entry.
func (d *decoder) table(at place, from any, into reflect.Value) {
	t := into.Type()
	group, ok := d.group(at, from, t)
	if !ok {
		return
	}
	if from == nil {
		return
	}
	into.Set(reflect.MakeMapWithSize(t, len(group)))
	k, element := reflect.New(t.Key()).Elem(), reflect.New(t.Elem()).Elem() // the map stores copies
	for key, v := range group {
		if v == nil {
			continue
		}
		next := at.entry(key, t.Elem())
		k.SetZero()
		element.SetZero()
		fitting, entries := len(d.misfits), into.Len()
		d.scalar(place{path: next.path, typ: t.Key(), hidden: at.hidden}, key, k)
		hasKey := len(d.misfits) == fitting
		d.value(next, v, element)
		if into.SetMapIndex(k, element); into.Len() == entries {
			d.misfit(next, &valueError{why: "has the same key as another entry of the map"})
			hasKey = false
		}
		if !hasKey {
			d.misfits = append(d.misfits, at.path) // the entry may be that of another key
		}
	}
}

// list decodes a slice or an array. A null is left out, unless the type can be nil.
func (d *decoder) list(at place, from any, into reflect.Value) {
	t := into.Type()
	if s, isText := from.(text); isText {
		expanded, err := structureFrom(string(s), t)
		if err != nil {
			d.misfit(at, err)
			return
		}
		from = expanded
	}
	if from == nil {
		return
	}
	elements, ok := from.([]any)
	if !ok {
		d.misfit(at, unfit(from, t))
		return
	}
	if t.Kind() == reflect.Array && len(elements) > t.Len() {
		d.misfit(at, &valueError{why: fmt.Sprintf("has %d elements, and room for %d", len(elements), t.Len())})
		return
	}
	if t.Kind() == reflect.Slice {
		into.Set(reflect.MakeSlice(t, len(elements), len(elements)))
	}
	n, fitting := 0, len(d.misfits)
	for i, v := range elements {
		next := at.element(i, t.Elem())
		if v == nil && t.Kind() == reflect.Slice && shapeOf(place{typ: t.Elem()}.unwrapped().typ) == scalar && t.Elem().Kind() != reflect.Pointer {
			d.ignored(next, "is null, and left out of the list")
			continue
		}
		d.value(next, v, into.Index(n))
		n++
	}
	if t.Kind() == reflect.Slice {
		into.Set(into.Slice(0, n))
	}
	if n < len(elements) && len(d.misfits) > fitting {
		d.misfits = append(d.misfits, at.path) // the elements after a null have moved
	}
}

// scalar decodes a scalar.
func (d *decoder) scalar(at place, from any, into reflect.Value) {
	v, err := fit(from, into.Type())
	if err == nil && !assign(into, v) {
		err = unfit(from, into.Type())
	}
	if err != nil {
		d.misfit(at, err)
	}
}

// free returns the value of an any: the types of encoding/json, except that whole numbers are int64, or uint64 if they are larger, and
// times are times.
func (d *decoder) free(at place, from any) any {
	switch v := from.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, inner := range v {
			out[key] = d.free(at.entry(key, at.typ), inner)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, inner := range v {
			out[i] = d.free(at.element(i, at.typ), inner)
		}
		return out
	case number:
		n, err := freeNumber(v)
		if err != nil {
			d.misfit(at, err)
			return string(v) // fits an any, so that no second mistake is reported
		}
		return n
	case instant:
		return v.at
	case text:
		return string(v)
	}
	return from
}

// freeNumber returns a number as the first type that can represent it: int64, uint64 or float64.
func freeNumber(n number) (any, error) {
	l, _ := readLiteral(string(n))
	t := reflect.TypeFor[float64]()
	if l.whole {
		t = reflect.TypeFor[int64]()
		if i, err := l.integer(); err == nil && !i.negative && i.magnitude > math.MaxInt64 {
			t = reflect.TypeFor[uint64]()
		}
	}
	v, err := numberFrom(n, t)
	if l.whole && err != nil && !l.ambiguous() {
		return nil, &valueError{why: "is out of the range of 64 bits; put it in quotes", got: n}
	}
	return v, err
}

// assign sets a value to the result of fit. It returns false if their kinds differ.
func assign(into reflect.Value, v any) bool {
	from := reflect.ValueOf(v)
	if !from.IsValid() {
		return false
	}
	if from.Type().AssignableTo(into.Type()) {
		into.Set(from)
		return true
	}
	switch {
	case into.CanInt() && from.CanInt():
		into.SetInt(from.Int())
	case into.CanUint() && from.CanUint():
		into.SetUint(from.Uint())
	case into.CanFloat() && from.CanFloat():
		into.SetFloat(from.Float())
	case into.Kind() == reflect.Bool && from.Kind() == reflect.Bool:
		into.SetBool(from.Bool())
	case into.Kind() == reflect.String && from.Type() == reflect.TypeFor[string]():
		into.SetString(from.String())
	default:
		return false
	}
	return true
}
