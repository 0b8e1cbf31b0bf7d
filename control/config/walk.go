package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// visit is one place of a configuration, with the type that it has.
type visit struct {
	path   string       // as people read it
	name   string       // as mapstructure names it
	typ    reflect.Type // nil: the type has no such key
	owner  reflect.Type // the struct that should have it, if typ is nil
	key    string       // its last part
	hidden bool
}

// walk goes through values along a type. It tells every place, those below an unknown one excepted.
func walk(values map[string]any, t reflect.Type, at visit, tell func(visit)) {
	fields := map[string]field{}
	for _, f := range fieldsOf(t) {
		fields[f.name] = f
	}
	for key, v := range values {
		next := visit{path: join(at.path, key), name: dotted(at.name, key), key: key, owner: t, hidden: at.hidden}
		if f, ok := fields[key]; ok {
			next.typ, next.hidden = f.typ, at.hidden || f.secret
		}
		tell(next)
		if next.typ != nil {
			walkValue(v, next, tell)
		}
	}
}

func dotted(name, key string) string {
	if name == "" {
		return key
	}
	return name + "." + key
}

func walkValue(v any, at visit, tell func(visit)) {
	t := indirect(at.typ)
	switch shapeOf(t) {
	case object:
		if inner, ok := v.(map[string]any); ok {
			walk(inner, t, at, tell)
		}
	case table:
		inner, _ := v.(map[string]any)
		for key, element := range inner {
			next := visit{path: join(at.path, key), name: fmt.Sprintf("%s[%s]", at.name, key), key: key, typ: t.Elem(), hidden: at.hidden || isSecret(t.Elem())}
			tell(next)
			walkValue(element, next, tell)
		}
	case list:
		inner, _ := v.([]any)
		for i, element := range inner {
			next := visit{path: item(at.path, i), name: item(at.name, i), typ: t.Elem(), hidden: at.hidden || isSecret(t.Elem())}
			tell(next)
			walkValue(element, next, tell)
		}
	}
}

// fill gives structs in lists and maps, and those behind pointers, the defaults of their fields. Those of other structs are a
// layer of their own.
func fill(values map[string]any, t reflect.Type) {
	for _, f := range fieldsOf(t) {
		if v, ok := values[f.name]; ok {
			fillValue(v, f.typ, false)
		}
	}
}

func fillValue(v any, t reflect.Type, missing bool) {
	missing = missing || t.Kind() == reflect.Pointer
	t = indirect(t)
	switch v := v.(type) {
	case map[string]any:
		switch shapeOf(t) {
		case object:
			if missing {
				fillDefaults(v, t)
			}
			fill(v, t)
		case table:
			for _, element := range v {
				fillValue(element, t.Elem(), true)
			}
		}
	case []any:
		if shapeOf(t) == list {
			for _, element := range v {
				fillValue(element, t.Elem(), true)
			}
		}
	}
}

// fillDefaults sets the keys that are not there.
func fillDefaults(values map[string]any, t reflect.Type) { under(values, defaults(t, nil)) }

// under puts a tree beneath another.
func under(values, lower map[string]any) {
	for key, v := range lower {
		have, ok := values[key]
		if !ok {
			values[key] = v
			continue
		}
		upper, isMap := have.(map[string]any)
		if group, isGroup := v.(map[string]any); isMap && isGroup {
			under(upper, group)
		}
	}
}

// defaults returns what the tags of a struct say, as a tree.
func defaults(t reflect.Type, above []reflect.Type) map[string]any {
	out := map[string]any{}
	for _, f := range fieldsOf(t) {
		switch {
		case f.def != nil:
			out[f.name] = text(*f.def)
		case f.typ.Kind() == reflect.Struct && shapeOf(f.typ) == object && !slices.Contains(above, f.typ):
			if inner := defaults(f.typ, append(above, t)); len(inner) > 0 {
				out[f.name] = inner
			}
		}
	}
	return out
}

// suggest returns the key of a struct that an unknown one was probably meant to be, or nothing.
func suggest(key string, t reflect.Type) string {
	best, distance := "", len(key)/3+1
	for _, f := range fieldsOf(t) {
		if d := edits(strings.ToLower(key), f.name); d <= distance && (best == "" || d < distance) {
			best, distance = f.name, d
		}
	}
	return best
}

// edits is the optimal string alignment distance: insertions, deletions, replacements and swaps of neighbours.
func edits(a, b string) int {
	const longest = 64
	if len(a) > longest || len(b) > longest {
		return longest
	}
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
