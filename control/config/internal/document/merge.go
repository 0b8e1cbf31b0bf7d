package document

import (
	"maps"
	"slices"
	"sync"
)

// layer is a document as it lies over those before it.
type layer struct {
	source string
	*Tree
}

// Origins say where merged values come from. The tree is built when it is first asked for: it costs as much as merging.
type origins struct {
	layers []layer
	built  sync.Once
	tree   *mark
}

// root returns the tree.
func (o *origins) root() *mark {
	o.built.Do(func() {
		o.tree = &mark{}
		for _, l := range o.layers {
			o.tree.overlay(l, l.Values, "")
		}
	})
	return o.tree
}

// mark is a place in the tree of origins: a value, or what lies below.
type mark struct {
	path  string
	set   []setting // the last one counts; none if the place was not set, or was taken away
	other *setting  // the last group or null at the place: neither is a value, but a mistake may be
	below map[string]*mark
}

// setting is one layer's word on a key.
type setting struct {
	layer layer
	value any
	line  int
}

// merge lays the layers over each other, and all over the defaults. Maps are merged key by key, everything else is replaced; null
// takes away what earlier layers set, as in a JSON Merge Patch (RFC 7396), but not the defaults: a heading in YAML below which
// everything is commented out is a null.
func merge(defaults map[string]any, layers []layer) (map[string]any, *origins) {
	values := map[string]any{}
	layers = append([]layer{{source: defaultSource, Tree: &Tree{Name: defaultSource, content: content{Values: defaults}}}}, layers...)
	for _, l := range layers {
		lay(values, l.Values)
	}
	under(values, clone(defaults).(map[string]any))
	return values, &origins{layers: layers}
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
		at := JoinKey(path, key)
		child := m.below[key]
		if child == nil {
			if m.below == nil {
				m.below = map[string]*mark{}
			}
			child = &mark{path: at}
			m.below[key] = child
		}
		here := setting{l, v, l.Line(at)}
		switch v := v.(type) {
		case nil:
			child.reset()
			child.other = &here
		case map[string]any:
			child.set, child.other = nil, &here
			child.overlay(l, v, at)
		default:
			child.below, child.other = nil, nil
			child.set = append(child.set, here)
		}
	}
}

// defaultSource is the name of the tags' defaults as a source.
const defaultSource = "default"

// reset leaves the defaults alone.
func (m *mark) reset() {
	m.other = nil
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

// isGroup reports whether a layer has a group at the place, which may be empty.
func (m *mark) isGroup() bool { return m.other != nil && m.other.value != nil }

// isNull reports whether the last layer that has the place takes it away.
func (m *mark) isNull() bool { return m.other != nil && m.other.value == nil }

// last returns the setting that counts: the mark's own, or one below, or that of an empty group. Defaults come last: a mistake is
// rarely theirs.
func (m *mark) last() (s setting, ok bool) {
	if len(m.set) > 0 {
		return m.set[len(m.set)-1], true
	}
	for _, key := range slices.Sorted(maps.Keys(m.below)) {
		below, found := m.below[key].last()
		if found && (!ok || s.layer.source == defaultSource) {
			s, ok = below, true
		}
	}
	if m.isGroup() && (!ok || s.layer.source == defaultSource) {
		return *m.other, true
	}
	return s, ok
}
