package document

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
)

// decoder fills a value along its type with what the documents hold. It decodes all that it can, and notes in the account what is
// wrong.
type decoder struct {
	*account
	defaults *defaultsTable
}

// Value decodes one place.
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

// object decodes a struct. A field that is missing or null has its default.
func (d *decoder) object(at place, from any, into reflect.Value) {
	t := into.Type()
	group, ok := d.group(at, from, t)
	if !ok {
		return
	}
	group = maps.Clone(group)
	under(group, d.defaults.of(t))
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

// group returns the keys and values of a struct or a map. A text may hold them as JSON.
func (d *decoder) group(at place, from any, t reflect.Type) (map[string]any, bool) {
	if s, isText := from.(text); isText {
		expanded, err := structureFrom(string(s), t)
		if err != nil {
			d.misfit(at, err)
			return nil, false
		}
		from = expanded
	}
	if from == nil { // Within a heading everything may be commented out
		return map[string]any{}, true
	}
	group, ok := from.(map[string]any)
	if !ok {
		d.misfit(at, unfit(from, t))
	}
	return group, ok
}

// table decodes a map. Null is no entry.
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
	k, element := reflect.New(t.Key()).Elem(), reflect.New(t.Elem()).Elem() // the map copies them
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
			d.misfits = append(d.misfits, at.path) // what is found at the entry may be another one's
		}
	}
}

// List decodes a slice or an array. Null is no element, unless the type can hold it.
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
		d.misfits = append(d.misfits, at.path) // the elements behind a null have other places now
	}
}

// scalar decodes a single value.
func (d *decoder) scalar(at place, from any, into reflect.Value) {
	v, err := fit(from, into.Type())
	if err == nil && !assign(into, v) {
		err = unfit(from, into.Type())
	}
	if err != nil {
		d.misfit(at, err)
	}
}

// free returns what an any holds: the kinds of JSON, but whole numbers as an int64, or a uint64 if they are larger, and times as
// times.
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
			return string(v) // an any takes it, so that nothing else is reported
		}
		return n
	case instant:
		return v.at
	case text:
		return string(v)
	}
	return from
}

// freeNumber returns a number in the type that holds it: int64, uint64 or float64.
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

// assign sets a value to what fit has made of a document's. It returns false if that is of another kind.
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
