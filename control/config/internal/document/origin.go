package document

import (
	"maps"
	"reflect"
	"slices"
)

// Origin is the source of the value of a key. See config.Origin.
type Origin struct {
	Path, Value, Source, Document string

	Line     int
	Overrode []Origin
}

// Provenance has the origins of all values of a configuration, and its type, which determines what may be shown.
type Provenance struct {
	*origins
	typ reflect.Type
}

// List returns the origins of all keys that are set, in order.
func (o Provenance) List() []Origin { return originsBelow(nil, o.root(), place{typ: o.typ}) }

func originsBelow(all []Origin, m *mark, at place) []Origin {
	for _, key := range slices.Sorted(maps.Keys(m.below)) {
		child, next := m.below[key], at.key(key)
		if next.typ == nil {
			continue // an unknown key has no effect
		}
		if next.sealed() && len(child.below) > 0 { // one value, since its keys may be secret, too
			if last, ok := child.last(); ok {
				all = append(all, last.origin(place{path: child.path, hidden: true}))
			}
			continue
		}
		if len(child.set) > 0 {
			all = append(all, child.origin(next))
		}
		all = originsBelow(all, child, next)
	}
	return all
}

func (m *mark) origin(at place) Origin {
	var all []Origin
	for _, s := range slices.Backward(m.set) {
		all = append(all, s.origin(at))
	}
	first := all[0]
	first.Overrode = all[1:]
	return first
}

func (s setting) origin(at place) Origin {
	return Origin{Path: at.path, Value: Show(visible(s.value, at)), Source: s.layer.source, Document: s.layer.Name, Line: s.line}
}

// visible returns a value in which secrets, passwords of URLs and unknown keys, which may be misspelt secrets, are redacted.
func visible(v any, at place) any {
	if at.hidden || at.typ == nil {
		return Redacted
	}
	inner := at.unwrapped()
	if e, ok := v.(goValue); ok {
		v = e.written
	}
	if s, isText := textOf(v); isText {
		return visibleText(s, inner)
	}
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, element := range v {
			out[key] = visible(element, inner.key(key))
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, element := range v {
			out[i] = visible(element, inner.index(i))
		}
		return out
	}
	return v
}

// visibleText redacts the text of a list or a map in the same way as the list or map itself.
func visibleText(s string, at place) any {
	if at.hidden {
		return Redacted
	}
	if !holdsSecret(at.typ) {
		return ShowText(s)
	}
	if expanded := expand(s, at.typ); expanded != text(s) {
		return visible(expanded, at)
	}
	return Redacted
}
