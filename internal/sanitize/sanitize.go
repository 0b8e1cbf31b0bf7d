// Package sanitize makes text from outside the process fit for spans and logs.
//
// OTLP carries strings as protobuf strings, which must be UTF-8: one bad byte in one attribute makes an exporter refuse the whole batch.
// Text without a bound lets a caller spend the memory of the service and the money of its owner.
package sanitize

import (
	"strings"
	"unicode/utf8"
)

// Text returns s as valid UTF-8 of at most limit bytes. Text that is both already is returned unchanged, without allocating.
func Text(s string, limit int) string {
	if len(s) > limit {
		s = cut(s, limit)
	}
	if utf8.ValidString(s) {
		return s
	}
	return cut(strings.ToValidUTF8(s, "\uFFFD"), limit)
}

// cut returns the longest prefix of s of at most limit bytes that does not split a character.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}
