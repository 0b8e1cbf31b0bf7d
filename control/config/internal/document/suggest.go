package document

import (
	"reflect"
	"strings"
)

// Suggest returns the key of a struct that an unknown one was probably meant to be, or nothing.
func suggest(key string, t reflect.Type) string {
	var names []string
	for _, f := range fieldsOf(t) {
		names = append(names, f.name)
	}
	return Nearest(strings.ToLower(key), names)
}

// Nearest returns the name that a text was probably meant to be, or nothing.
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

// edits is the optimal string alignment distance: insertions, deletions, replacements and swaps of neighbours.
func edits(a, b string) int {
	const longest = 64
	if len(a) > longest || len(b) > longest {
		return longest
	}
	var rows [3][longest + 1]int
	before, last, now := &rows[0], &rows[1], &rows[2]
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		now[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			now[j] = min(last[j]+1, now[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				now[j] = min(now[j], before[j-2]+1)
			}
		}
		before, last, now = last, now, before
	}
	return last[len(b)]
}
