package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// console writes to a terminal. Its last line shows the progress, and log lines are above it. Without a terminal, progress is a plain line
// every few seconds.
type console struct {
	out, err io.Writer
	every    time.Duration // interval between two progress lines
	terminal bool

	mu     sync.Mutex
	status string // the progress line on the screen
}

func newConsole(out, err io.Writer) *console {
	c := &console{out: out, err: err, every: 5 * time.Second}
	if f, ok := out.(*os.File); ok {
		info, statErr := f.Stat()
		c.terminal = statErr == nil && info.Mode()&os.ModeCharDevice != 0
	}
	if c.terminal {
		c.every = time.Second / 4
	}
	return c
}

const clearLine = "\r\x1b[K"

// Write writes log lines.
func (c *console) Write(p []byte) (int, error) { return c.above(c.err, p) }

// note writes a line of news.
func (c *console) note(format string, args ...any) {
	_, _ = c.above(c.out, fmt.Appendf(nil, format, args...)) // a screen that is gone needs no news
}

// above writes above the progress line.
func (c *console) above(w io.Writer, p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.status != "" {
		fmt.Fprint(c.out, clearLine)
		defer fmt.Fprint(c.out, c.status)
	}
	return w.Write(p)
}

// progress replaces the progress line.
func (c *console) progress(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	line := fmt.Sprintf(format, args...)
	if !c.terminal {
		fmt.Fprintln(c.out, line)
		return
	}
	c.status = line
	fmt.Fprint(c.out, clearLine, line)
}

// printf ends the progress line, if there is one, and writes below it.
func (c *console) printf(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.status != "" {
		fmt.Fprintln(c.out)
		c.status = ""
	}
	fmt.Fprintf(c.out, format, args...)
}
