// Package childtest runs the examples as what they are: programs, each in a process of its own.
package childtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Child is a running program. It is killed, if need be, when the test ends.
type Child struct {
	t      testing.TB
	cmd    *exec.Cmd
	output transcript // of both streams
	ended  chan struct{}
	err    error // how it ended; readable once ended is closed
}

// transcript collects what a process writes; it can be read meanwhile.
type transcript struct {
	mu   sync.Mutex
	text strings.Builder
}

func (w *transcript) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *transcript) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// Program is the program in the current folder, compiled when it is first asked for. Make one in TestMain or in the test that
// runs it, and Remove it.
type Program struct {
	once sync.Once
	dir  string
	path string
	err  error
}

// Path returns the program's file.
func (p *Program) Path(t testing.TB) string {
	t.Helper()
	p.once.Do(func() { p.err = p.build() })
	if p.err != nil {
		t.Fatal(p.err)
	}
	return p.path
}

func (p *Program) build() (err error) {
	if p.dir, err = os.MkdirTemp("", "go-os-example-*"); err != nil {
		return err
	}
	p.path = filepath.Join(p.dir, "program")
	if runtime.GOOS == "windows" {
		p.path += ".exe"
	}
	if out, err := exec.Command("go", "build", "-o", p.path, ".").CombinedOutput(); err != nil {
		return fmt.Errorf("the program does not build: %w\n%s", err, out)
	}
	return nil
}

// Remove removes what Path has made.
func (p *Program) Remove() {
	if p.dir != "" {
		_ = os.RemoveAll(p.dir) // a left-over in the temporary folder fails no test
	}
}

// Start runs a program. Of the telemetry settings of this machine (OTEL_*) it sees none but those in env.
func Start(t testing.TB, program *Program, env []string, args ...string) *Child {
	t.Helper()
	c := &Child{t: t, cmd: exec.Command(program.Path(t), args...), ended: make(chan struct{})}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "OTEL_") {
			c.cmd.Env = append(c.cmd.Env, kv)
		}
	}
	c.cmd.Env = append(c.cmd.Env, env...)
	c.cmd.Stdout, c.cmd.Stderr = &c.output, &c.output
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.ended)
		c.err = c.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill() // fails if it has ended, as it should have
		<-c.ended
		if t.Failed() {
			t.Logf("%s wrote:\n%s", strings.Join(c.cmd.Args, " "), &c.output)
		}
	})
	return c
}

// Output returns what the program has written so far.
func (c *Child) Output() string { return c.output.String() }

// Await waits until the program has written a line that matches, and returns the line's submatches. It fails the test after
// 30 seconds, or when the program ends without.
func (c *Child) Await(pattern string) []string {
	c.t.Helper()
	line := regexp.MustCompile("(?m)" + pattern)
	ctx, cancel := context.WithTimeout(c.t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for over := false; ; {
		if match := line.FindStringSubmatch(c.Output()); match != nil {
			return match
		}
		if over {
			c.t.Fatalf("the program has not written %q", pattern)
		}
		select {
		case <-ctx.Done():
			over = true
		case <-c.ended:
			over = true
		case <-tick.C:
		}
	}
}

// Terminate sends SIGTERM.
func (c *Child) Terminate() {
	c.t.Helper()
	if runtime.GOOS == "windows" {
		c.t.Skip("a process cannot be sent SIGTERM here")
	}
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		c.t.Fatal(err)
	}
}

// Kill ends the program at once (SIGKILL), without a chance to do anything, and waits until it is gone.
func (c *Child) Kill() {
	c.t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		c.t.Fatal(err)
	}
	<-c.ended
}

// Wait waits for the program to end with code 0, and returns what it has written. It fails the test otherwise, or after a
// minute.
func (c *Child) Wait() string {
	c.t.Helper()
	select {
	case <-c.ended:
		if c.err != nil {
			c.t.Fatalf("the program must end with code 0, got %v", c.err)
		}
	case <-time.After(time.Minute):
		c.t.Fatal("the program does not end")
	}
	return c.Output()
}
