package log

import "io"

// lineWriter writes lines to w. If w accepts only part of a line, as on a full disk, that is an error even if w reports none, and the
// next write starts a new line. Its caller writes one line at a time.
type lineWriter struct {
	w    io.Writer
	torn bool // the last line is incomplete
}

func (l *lineWriter) Write(p []byte) (int, error) {
	if l.torn {
		if n, err := l.w.Write(newline); n == 0 || err != nil {
			return 0, shortWrite(n, 1, err)
		}
		l.torn = false
	}
	n, err := l.w.Write(p)
	l.torn = 0 < n && n < len(p)
	return n, shortWrite(n, len(p), err)
}

var newline = []byte{'\n'}

// shortWrite returns the error of a write of want bytes of which n were written.
func shortWrite(n, want int, err error) error {
	if n < want && err == nil {
		return io.ErrShortWrite
	}
	return err
}
