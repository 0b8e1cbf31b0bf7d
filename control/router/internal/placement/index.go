package placement

import (
	"slices"
	"strconv"
)

// Index knows the labels that candidates have. It is immutable.
type Index struct{ known map[[2]string]struct{} }

// NewIndex returns the index of the candidates.
func NewIndex(candidates []Candidate) *Index {
	x := &Index{known: map[[2]string]struct{}{}}
	for i := range candidates {
		c := &candidates[i]
		for _, field := range [][2]string{{"zone", c.Zone}, {"version", c.Version}} {
			if value, ok := c.label(field[0]); ok {
				x.known[[2]string{field[0], value}] = struct{}{}
			}
		}
		for key, value := range c.Labels {
			x.known[[2]string{key, value}] = struct{}{}
		}
	}
	return x
}

// AppendKey appends a key for caches of results by the labels of a request. Labels that choose the same candidates by any Match have the
// same key as far as this shows from single labels: all values of a label that no candidate has count as one. A caller that invents values
// thus cannot fill a cache.
func (x *Index) AppendKey(dst []byte, labels map[string]string) []byte {
	var array [DefaultMaxLabels]string
	keys := array[:0]
	for key := range labels {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		dst = strconv.AppendQuote(dst, key)
		if value := labels[key]; x.has(key, value) {
			dst = strconv.AppendQuote(append(dst, '='), value)
		}
		dst = append(dst, ',')
	}
	return dst
}

func (x *Index) has(key, value string) bool {
	_, ok := x.known[[2]string{key, value}]
	return ok
}
