package config

import (
	"maps"
	"slices"
)

// layer is a document as it lies over those before it.
type layer struct {
	source string
	*tree
}

// mark is a place in the tree of origins: a value, or what lies below.
type mark struct {
	path  string
	set   []setting // the last one counts; none if the place was not set, or was taken away
	below map[string]*mark
}

// setting is one layer's word on a key.
type setting struct {
	layer layer
	value any
	line  int
}

// merged is what layers make together.
type merged struct {
	values map[string]any
	root   *mark
}

// merge lays the layers over each other, and all over the defaults. Maps are merged key by key, everything else is replaced; null
// takes away what earlier layers set, as in a JSON Merge Patch (RFC 7396), but not the defaults: a heading in YAML below which
// everything is commented out is a null.
func merge(defaults map[string]any, layers []layer) merged {
	m := merged{values: map[string]any{}, root: &mark{}}
	layers = append([]layer{{source: defaultSource, tree: &tree{name: defaultSource, values: defaults}}}, layers...)
	for _, l := range layers {
		lay(m.values, l.values)
		m.root.overlay(l, l.values, "")
	}
	under(m.values, clone(defaults).(map[string]any))
	return m
}

// lay puts a tree over another. It copies what it takes.
func lay(values, upper map[string]any) {
	for key, v := range upper {
		group, isGroup := v.(map[string]any)
		switch {
		case v == nil:
			delete(values, key)
		case isGroup:
			below, ok := values[key].(map[string]any)
			if !ok {
				below = make(map[string]any, len(group))
				values[key] = below
			}
			lay(below, group)
		default:
			values[key] = clone(v)
		}
	}
}

func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, inner := range v {
			out[key] = clone(inner)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = clone(v[i])
		}
		return out
	default:
		return v
	}
}

// overlay notes what a layer sets.
func (m *mark) overlay(l layer, values map[string]any, path string) {
	for key, v := range values {
		at := join(path, key)
		child := m.below[key]
		if child == nil {
			if m.below == nil {
				m.below = map[string]*mark{}
			}
			child = &mark{path: at}
			m.below[key] = child
		}
		switch v := v.(type) {
		case nil:
			child.reset()
		case map[string]any:
			child.set = nil
			child.overlay(l, v, at)
		default:
			child.below = nil
			child.set = append(child.set, setting{l, v, l.line(at)})
		}
	}
}

// defaultSource is the name of the tags' defaults as a source.
const defaultSource = "default"

// reset leaves the defaults alone.
func (m *mark) reset() {
	m.set = slices.DeleteFunc(m.set, func(s setting) bool { return s.layer.source != defaultSource })
	for _, child := range m.below {
		child.reset()
	}
}

// index lists the marks by their paths.
func (m *mark) index(all map[string]*mark) {
	for _, child := range m.below {
		all[child.path] = child
		child.index(all)
	}
}

// last returns the setting that counts: the mark's own, or the latest of those below.
func (m *mark) last() (s setting, ok bool) {
	if len(m.set) > 0 {
		return m.set[len(m.set)-1], true
	}
	for _, key := range slices.Sorted(maps.Keys(m.below)) {
		if s, ok = m.below[key].last(); ok {
			return s, true
		}
	}
	return s, false
}
