package config

import (
	"encoding"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
)

// tagName is the struct tag that names a key: `config:"max_conns"`, with ",secret" and ",squash" after it.
const tagName = "config"

// field is one key of a struct, as a configuration writes it.
type field struct {
	name   string // the key
	index  []int  // for reflect.Value.FieldByIndex
	typ    reflect.Type
	secret bool
	def    *string // of the tag default
}

var (
	typeOfDuration = reflect.TypeFor[time.Duration]()
	typeOfTime     = reflect.TypeFor[time.Time]()
	typeOfURL      = reflect.TypeFor[url.URL]()
	typeOfText     = reflect.TypeFor[encoding.TextUnmarshaler]()
	typeOfSettable = reflect.TypeFor[settable]()
)

// knownFields remembers the fields of every struct that was asked for: types are few and live as long as the program.
var knownFields sync.Map // reflect.Type → []field

// fieldsOf returns the keys of a struct type, those of squashed structs among them.
func fieldsOf(t reflect.Type) []field {
	if known, ok := knownFields.Load(t); ok {
		return known.([]field)
	}
	var all []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get(tagName), ",")
		if !f.IsExported() || name == "-" {
			continue
		}
		if has(options, "squash") {
			for _, inner := range fieldsOf(indirect(f.Type)) {
				inner.index = append([]int{i}, inner.index...)
				all = append(all, inner)
			}
			continue
		}
		if name == "" {
			name = snake(f.Name)
		}
		one := field{name: name, index: []int{i}, typ: f.Type, secret: has(options, "secret") || isSecret(f.Type)}
		if def, ok := f.Tag.Lookup("default"); ok {
			one.def = &def
		}
		all = append(all, one)
	}
	knownFields.Store(t, all)
	return all
}

func has(options, option string) bool { return slices.Contains(strings.Split(options, ","), option) }

// snake turns MaxConns into max_conns, and HTTPPort into http_port.
func snake(name string) string {
	runes := []rune(name)
	var out strings.Builder
	for i, r := range runes {
		if i > 0 && unicode.IsUpper(r) && (!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			if runes[i-1] != '_' {
				out.WriteByte('_')
			}
		}
		out.WriteRune(unicode.ToLower(r))
	}
	return out.String()
}

func indirect(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

func isSecret(t reflect.Type) bool { return reflect.PointerTo(indirect(t)).Implements(typeOfSettable) }

// shape is what may stand at a place of a configuration.
type shape int

const (
	scalar shape = iota // one value, a text among them
	object              // a struct: its keys are known
	table               // a map: any key
	list
	anything
)

func shapeOf(t reflect.Type) shape {
	t = indirect(t)
	switch {
	case t == typeOfTime, t == typeOfURL, isSecret(t), reflect.PointerTo(t).Implements(typeOfText):
		return scalar
	}
	switch t.Kind() {
	case reflect.Struct:
		return object
	case reflect.Map:
		return table
	case reflect.Slice, reflect.Array:
		return list
	case reflect.Interface:
		return anything
	default:
		return scalar
	}
}

// checkType returns why a type cannot be configured: what no text can say, and tags that contradict each other.
func checkType(t reflect.Type) error {
	if t.Kind() != reflect.Struct || shapeOf(t) != object {
		return fmt.Errorf("%w: the type of a configuration is a struct, not %s", ErrInvalid, t)
	}
	return checkFields(t, "", nil)
}

func checkFields(t reflect.Type, path string, above []reflect.Type) (err error) {
	if slices.Contains(above, t) {
		return nil
	}
	above = append(above, t)
	if err := checkSquash(t); err != nil {
		return err
	}
	names := map[string]bool{}
	for _, f := range fieldsOf(t) {
		at := join(path, f.name)
		if names[f.name] {
			err = errors.Join(err, fmt.Errorf("%w: two fields of %s have the key %s", ErrInvalid, t, at))
		}
		names[f.name] = true
		err = errors.Join(err, checkElem(f.typ, at, above))
	}
	return err
}

// checkSquash looks for what mapstructure cannot do.
func checkSquash(t reflect.Type) error {
	for i := range t.NumField() {
		f := t.Field(i)
		_, options, _ := strings.Cut(f.Tag.Get(tagName), ",")
		if f.IsExported() && has(options, "squash") && f.Type.Kind() != reflect.Struct {
			return fmt.Errorf("%w: %s.%s: only a struct can be squashed", ErrInvalid, t, f.Name)
		}
	}
	return nil
}

func checkElem(t reflect.Type, at string, above []reflect.Type) error {
	t = indirect(t)
	switch shapeOf(t) {
	case object:
		return checkFields(t, at, above)
	case table:
		if t.Key().Kind() != reflect.String {
			return fmt.Errorf("%w: %s: the keys of a map are strings, not %s", ErrInvalid, at, t.Key())
		}
		return checkElem(t.Elem(), at, above)
	case list:
		return checkElem(t.Elem(), at, above)
	case scalar:
		switch t.Kind() {
		case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer, reflect.Uintptr:
			if !reflect.PointerTo(t).Implements(typeOfText) {
				return fmt.Errorf("%w: %s: a %s cannot be configured; the tag `config:\"-\"` leaves the field out", ErrInvalid, at, t)
			}
		}
	}
	return nil
}

// join appends a key to a path as people read it: db.pool.max, prices."v1.2".
func join(path, key string) string {
	if key == "" || strings.ContainsFunc(key, func(r rune) bool {
		return r == '.' || r == '"' || r == '[' || r == ']' || unicode.IsSpace(r) || unicode.IsControl(r)
	}) {
		key = fmt.Sprintf("%q", key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

func item(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

// key is a place that a source of texts, such as the environment, can set.
type key struct {
	path []string
	typ  reflect.Type
}

// keysOf returns the keys of a type that hold a value, a list or a map.
func keysOf(t reflect.Type) []key { return appendKeys(nil, t, nil, nil) }

func appendKeys(all []key, t reflect.Type, path []string, above []reflect.Type) []key {
	if slices.Contains(above, t) {
		return all
	}
	above = append(above, t)
	for _, f := range fieldsOf(t) {
		at := append(slices.Clip(path), f.name)
		if inner := indirect(f.typ); shapeOf(inner) == object {
			all = appendKeys(all, inner, at, above)
			continue
		}
		all = append(all, key{path: at, typ: f.typ})
	}
	return all
}
