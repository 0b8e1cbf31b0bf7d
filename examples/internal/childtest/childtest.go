// Package childtest runs the examples as programs, each in a separate process.
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

// Child is a running program. If it still runs when the test ends, it is killed.
type Child struct {
	t      testing.TB
	cmd    *exec.Cmd
	output transcript // of both streams
	ended  chan struct{}
	err    error // of cmd.Wait; valid when ended is closed
}

// transcript collects the output of a process. It is safe for concurrent use.
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

// Program is the program in the current folder. It is compiled at its first use. Create it in TestMain or in a test, and call Remove at the
// end.
type Program struct {
	once sync.Once
	dir  string
	path string
	err  error
}

// Path returns the path of the compiled program.
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

// Remove removes the files that Path has created.
func (p *Program) Remove() {
	if p.dir != "" {
		_ = os.RemoveAll(p.dir) // a remaining temporary file is not a failure
	}
}

// Start starts a program. The program gets no OTEL_* variables of this process, only those in env.
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

// Await waits until the program has written a line that matches the pattern, and returns its submatches. It fails the test after 30
// seconds, or if the program ends without such a line.
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

// Kill sends SIGKILL, and waits until the program has ended.
func (c *Child) Kill() {
	c.t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		c.t.Fatal(err)
	}
	<-c.ended
}

// Wait waits until the program exits with code 0, and returns its output. It fails the test for another code, or after a minute.
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
