package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestConsoleKeepsItsProgress: log lines are above the progress line, and later output is below it.
func TestConsoleKeepsItsProgress(t *testing.T) {
	var screen bytes.Buffer
	c := newConsole(&screen, &screen)
	if c.terminal {
		t.Fatal("a buffer is no terminal")
	}
	c.terminal = true
	c.printf("begin\n")
	c.progress("%d", 1)
	if _, err := c.Write([]byte("a log line\n")); err != nil {
		t.Fatal(err)
	}
	c.progress("%d", 2)
	c.printf("end\n")
	want := "begin\n" + clearLine + "1" + clearLine + "a log line\n" + "1" + clearLine + "2" + "\n" + "end\n"
	if got := screen.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestTerminalSaysOnce: the terminal shows only warnings and errors, each message once in ten seconds, without stack traces.
func TestTerminalSaysOnce(t *testing.T) {
	var screen bytes.Buffer
	terminal := newTerminal(&screen)
	logger := slog.New(terminal).With("service", "orders")
	logger.Info("order placed")
	for range 3 {
		logger.Warn("order refused")
		logger.Error("order failed", "error", errors.New("no answer"), "exception.stacktrace", "goroutine 1")
	}
	lines := strings.Split(strings.TrimSpace(screen.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "order refused") || !strings.Contains(lines[1], "order failed") {
		t.Errorf("got %q", lines)
	}
	if strings.Contains(screen.String(), "goroutine") || !strings.Contains(screen.String(), "service=orders") {
		t.Errorf("got %s", &screen)
	}
	later := slog.NewRecord(time.Now().Add(sayAgain), slog.LevelWarn, "order refused", 0)
	if err := terminal.Handle(context.Background(), later); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(screen.String(), "order refused"); n != 2 {
		t.Errorf("after %v it is said again: got %d times", sayAgain, n)
	}
}
