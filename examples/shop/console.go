package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// console writes to a terminal that has one line of progress at its foot; log lines go above it. Without a terminal the
// progress is a plain line now and then.
type console struct {
	out, err io.Writer
	every    time.Duration // between two lines of progress
	terminal bool

	mu     sync.Mutex
	status string // the line of progress on the screen
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
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.status != "" {
		fmt.Fprint(c.out, clearLine)
		defer fmt.Fprint(c.out, c.status)
	}
	return c.err.Write(p)
}

// progress replaces the line of progress.
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

// printf ends the line of progress, if there is one, and writes below it.
func (c *console) printf(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.status != "" {
		fmt.Fprintln(c.out)
		c.status = ""
	}
	fmt.Fprintf(c.out, format, args...)
}
