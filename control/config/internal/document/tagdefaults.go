package document

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/go-os/go-os/control/config/driver"
)

// defaultsTable has the values of the `default` tags in a configuration, by struct type.
type defaultsTable struct {
	byType map[reflect.Type]map[string]any
}

// newDefaultsTable parses the `default` tags below a type. The error has all values that do not fit their fields.
func newDefaultsTable(t reflect.Type) (*defaultsTable, error) {
	table := &defaultsTable{byType: map[reflect.Type]map[string]any{}}
	eachStruct(t, func(t reflect.Type, _ place) { table.byType[t] = table.read(t, nil) })
	a := &account{origins: &origins{}}
	eachStruct(t, func(t reflect.Type, at place) { table.check(t, at, a) })
	return table, a.err()
}

// of returns the defaults of a struct. Callers must not change them.
func (d *defaultsTable) of(t reflect.Type) map[string]any { return d.byType[t] }

// read returns the defaults of a struct and of the structs in it. Defaults behind a pointer apply once the pointer is set.
func (d *defaultsTable) read(t reflect.Type, above []reflect.Type) map[string]any {
	out := map[string]any{}
	for _, f := range fieldsOf(t) {
		inner := place{typ: f.typ}.unwrapped().typ
		switch {
		case f.def != nil:
			out[f.name] = expand(*f.def, inner)
		case f.typ.Kind() == reflect.Pointer, shapeOf(inner) != object, slices.Contains(above, t):
		default:
			if group := d.read(inner, append(above, t)); len(group) > 0 {
				out[f.name] = group
			}
		}
	}
	return out
}

// expand parses a list, a map or a struct in a tag, so that it can be merged with the values of the sources.
func expand(def string, t reflect.Type) any {
	switch shapeOf(t) {
	case object, table, list:
		if value, err := structureFrom(def, t); err == nil {
			return value
		}
	}
	return text(def) // rejected later if it does not fit
}

// check decodes the defaults of the fields of a struct.
func (d *defaultsTable) check(t reflect.Type, at place, a *account) {
	for _, f := range fieldsOf(t) {
		if f.def == nil {
			continue
		}
		next := at.field(f)
		if d.contains(d.byType[t][f.name], f.typ, t, map[reflect.Type]bool{}) {
			a.add(next.path, fmt.Errorf("%w: the tag `default` contains itself: %s has it again", driver.ErrInvalid, t))
			continue
		}
		own := &account{origins: a.origins}
		(&decoder{account: own, defaults: d}).value(next, d.byType[t][f.name], reflect.New(f.typ).Elem())
		for _, err := range own.errs {
			e := err.(*driver.Error)
			err := fmt.Errorf("the tag `default`: %w", e.Err)
			if !errors.Is(err, driver.ErrInvalid) {
				err = fmt.Errorf("%w: %w", driver.ErrInvalid, err)
			}
			a.add(e.Key, err)
		}
	}
}

// contains reports whether a default contains a struct of type t, so that its expansion would never end.
func (d *defaultsTable) contains(v any, typ, t reflect.Type, seen map[reflect.Type]bool) bool {
	at := place{typ: typ}.unwrapped()
	switch v := v.(type) {
	case map[string]any:
		if shapeOf(at.typ) == object {
			if at.typ == t {
				return true
			}
			if !seen[at.typ] {
				seen[at.typ] = true
				if d.contains(d.byType[at.typ], at.typ, t, seen) {
					return true
				}
			}
		}
		for key, inner := range v {
			if next := at.key(key); next.typ != nil && d.contains(inner, next.typ, t, seen) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, func(inner any) bool {
			next := at.index(0)
			return next.typ != nil && d.contains(inner, next.typ, t, seen)
		})
	}
	return false
}

// addMissing adds the values of a lower tree that are missing.
func addMissing(values, lower map[string]any) {
	for key, v := range lower {
		have := values[key]
		if have == nil { // missing, or null
			values[key] = clone(v)
			continue
		}
		upper, isMap := have.(map[string]any)
		if group, isGroup := v.(map[string]any); isMap && isGroup {
			addMissing(upper, group)
		}
	}
}
