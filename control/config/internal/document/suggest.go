package document

import (
	"reflect"
	"strings"

	"github.com/go-os/go-os/internal/editdistance"
)

// suggest returns the key of a struct that is most similar to an unknown one, or nothing.
func suggest(key string, t reflect.Type) string {
	var names []string
	for _, f := range fieldsOf(t) {
		names = append(names, f.name)
	}
	return Nearest(strings.ToLower(key), names)
}

// Nearest returns the name most similar to a text, or nothing if none is similar enough.
func Nearest(text string, names []string) string {
	best, distance := "", len(text)/3+1
	for _, name := range names {
		if longer := len(text) - len(name); max(longer, -longer) > distance {
			continue
		}
		if d := edits(text, name); d <= distance && (best == "" || d < distance) {
			best, distance = name, d
		}
	}
	return best
}

// edits returns the edit distance of two names. It does not compare names that are longer than any real one.
func edits(a, b string) int {
	const longest = 64
	if len(a) > longest || len(b) > longest {
		return longest
	}
	return editdistance.Distance(a, b)
}
