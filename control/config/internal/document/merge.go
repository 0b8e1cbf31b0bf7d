package document

import (
	"maps"
	"slices"
	"sync"
)

// layer is one document in the order of precedence.
type layer struct {
	source string
	*Tree
}

// origins are the sources of merged values. The tree is built at the first use, since it costs as much as the merge.
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

// mark is a node in the tree of origins: a value, or the parent of others.
type mark struct {
	path  string
	set   []setting // the last one is in effect; none if the key was never set, or was removed
	other *setting  // the last group or null here: neither is a value, but an error may refer to it
	below map[string]*mark
}

// setting is the value of a key in one layer.
type setting struct {
	layer layer
	value any
	line  int
}

// merge merges the layers in their order, on top of the defaults. Maps are merged key by key; other values are replaced. Null removes the
// values of earlier layers, as in a JSON Merge Patch (RFC 7396), but not the defaults: in YAML, a heading with nothing but comments below it
// is a null.
func merge(defaults map[string]any, layers []layer) (map[string]any, *origins) {
	values := map[string]any{}
	layers = append([]layer{{source: defaultSource, Tree: &Tree{Name: defaultSource, content: content{Values: defaults}}}}, layers...)
	for _, l := range layers {
		mergeInto(values, l.Values)
	}
	addMissing(values, clone(defaults).(map[string]any))
	return values, &origins{layers: layers}
}

// mergeInto merges a tree into another, and copies what it takes.
func mergeInto(values, upper map[string]any) {
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
			mergeInto(below, group)
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

// overlay records the settings of a layer.
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

// defaultSource is the source name of the defaults in tags.
const defaultSource = "default"

// reset removes all settings but the defaults.
func (m *mark) reset() {
	m.other = nil
	m.set = slices.DeleteFunc(m.set, func(s setting) bool { return s.layer.source != defaultSource })
	for _, child := range m.below {
		child.reset()
	}
}

// index collects the marks by path.
func (m *mark) index(all map[string]*mark) {
	for _, child := range m.below {
		all[child.path] = child
		child.index(all)
	}
}

// isGroup reports whether the last layer with this key has a group there, possibly an empty one.
func (m *mark) isGroup() bool { return m.other != nil && m.other.value != nil }

// isNull reports whether the last layer with this key removes it.
func (m *mark) isNull() bool { return m.other != nil && m.other.value == nil }

// last returns the setting in effect: that of the mark, of a node below, or of an empty group. Defaults are the last choice, since they are
// rarely at fault.
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
