package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// streams are the input and the outputs of a command.
type streams struct {
	in       io.Reader
	out, err io.Writer // for people; safe for concurrent use
	raw      io.Writer // out without escapes, for documents
}

// newStreams returns the streams of a command. Writes to out and errs are serialized together, since both may be the same writer.
func newStreams(in io.Reader, out, errs io.Writer) streams {
	var mu sync.Mutex
	s := streams{in: in, out: &serial{w: printable{out}, mu: &mu}, err: &serial{w: printable{errs}, mu: &mu}, raw: out}
	if isTerminal(out) {
		s.raw = s.out
	}
	return s
}

// serial passes one write at a time to a writer.
type serial struct {
	w  io.Writer
	mu *sync.Mutex
}

func (s *serial) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(text)
}

// printable writes text for people. Characters that do not print become Go escapes, so that a message, a key or a value cannot control the
// terminal. Newlines are kept.
type printable struct{ w io.Writer }

func (p printable) Write(text []byte) (int, error) {
	if _, err := io.WriteString(p.w, escaped(string(text), '\n')); err != nil {
		return 0, err
	}
	return len(text), nil
}

// field escapes a text from the store for one column of a line. The text can neither end the line nor begin another column.
func field(text string) string { return escaped(text, ' ') }

// escaped replaces every rune that does not print by its escape, except may.
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

// isTerminal reports whether a writer is a terminal, rather than a file or a pipe.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
