package log

import "io"

// lineWriter writes lines to w. A line of which w takes only a part, as on a full disk, is an error even if w reports none; the next line
// then begins a line of its own. Its caller writes one line at a time.
type lineWriter struct {
	w    io.Writer
	torn bool // the last line has no end
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

// shortWrite is the error of a write of want bytes of which n were taken.
func shortWrite(n, want int, err error) error {
	if n < want && err == nil {
		return io.ErrShortWrite
	}
	return err
}
