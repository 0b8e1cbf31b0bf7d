package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

// printable writes text for people. What does not print is shown as an escape of Go, so that a message, a key or a value cannot steer
// the terminal. Lines stay lines.
type printable struct{ w io.Writer }

func (p printable) Write(text []byte) (int, error) {
	if _, err := io.WriteString(p.w, escaped(string(text), '\n')); err != nil {
		return 0, err
	}
	return len(text), nil
}

// field returns a text from the store as a part of a line: it can neither end the line nor begin another column.
func field(text string) string { return escaped(text, ' ') }

// escaped replaces every rune that does not print, but for one that may.
func escaped(text string, may rune) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case r == may || unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			quoted := fmt.Sprintf("%+q", r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		i += size
	}
	return b.String()
}

// isTerminal reports whether what is written goes to a terminal, rather than into a file or another program.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
