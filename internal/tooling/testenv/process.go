package testenv

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"
	"time"
)

// stopWithin is how long a server may take to end after it was asked to.
const stopWithin = 20 * time.Second

// Process is a running engine. Handles embed it. Its methods may be called in any order and any number of times. Those that can fail the
// test (Stop, Restart) belong on the test's own goroutine.
type Process struct {
	t          testing.TB
	engine     *Engine
	place      Place
	stopWithin time.Duration

	mu      sync.Mutex
	running *run // the latest run; its ended channel is closed once it is over
}

// run is one life of the server's process.
type run struct {
	process *os.Process
	ended   chan struct{}
	err     error // how it ended; read after ended is closed
}

// over reports whether the run has ended.
func (r *run) over() bool {
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

// launch starts the server's program once, with its output appended to the log file.
func (p *Process) launch() (*run, error) {
	if p.engine.Prepare != nil {
		if err := p.engine.Prepare(p.place); err != nil {
			return nil, fmt.Errorf("%s: preparing %s: %w", p.engine.Name, p.place.Dir, err)
		}
	}
	output, err := os.OpenFile(p.logFile(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(p.place.Program.Path, p.engine.Args(p.place)...)
	cmd.Dir = p.place.Dir
	cmd.Stdout, cmd.Stderr = output, output
	cmd.Env = append(os.Environ(), p.engine.Env...)
	dieWithParent(cmd)
	if err := runAs(cmd, p.place.Dir, p.engine.User); err != nil {
		return nil, err
	}
	return supervise(cmd, output)
}

// supervise starts cmd and waits for its end on a dedicated thread. On Linux, the kernel ties the death of the parent to the thread that
// started the child, not to the process. That thread must therefore live as long as the child.
func supervise(cmd *exec.Cmd, output *os.File) (*run, error) {
	started := make(chan error)
	r := &run{ended: make(chan struct{})}
	go r.startAndWait(cmd, output, started)
	if err := <-started; err != nil {
		return nil, err
	}
	return r, nil
}

func (r *run) startAndWait(cmd *exec.Cmd, output *os.File, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer output.Close()
	if err := cmd.Start(); err != nil {
		started <- err
		return
	}
	r.process = cmd.Process
	started <- nil
	r.err = cmd.Wait()
	close(r.ended)
}

// current returns the latest run.
func (p *Process) current() *run {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running
}

// Stop asks the server to end (SIGTERM) and waits until it has ended. A paused server is resumed first. A server that does not end within
// 20 seconds is killed, and the test fails. If the server is not running, Stop does nothing.
func (p *Process) Stop() {
	p.t.Helper()
	r := p.current()
	if r.over() {
		return
	}
	p.engine.stop(r.process)
	resume(r.process) // a paused process receives its SIGTERM only now
	timeout := time.NewTimer(p.stopWithin)
	defer timeout.Stop()
	select {
	case <-r.ended:
	case <-timeout.C:
		p.Kill()
		p.t.Errorf("%s did not end within %s of SIGTERM; its output ends:\n%s", p.engine.Name, p.stopWithin, tail(p.Output(), 20))
	}
}

// stop asks a server to end.
func (e *Engine) stop(p *os.Process) {
	if e.StopSignal != nil {
		signal(p, e.StopSignal)
		return
	}
	terminate(p)
}

// Kill ends the server at once (SIGKILL), without a chance to write anything, and waits until it is gone. Restart starts it again. If the
// server is not running, Kill does nothing.
func (p *Process) Kill() {
	r := p.current()
	// The only error is that the process has already ended.
	_ = r.process.Kill()
	<-r.ended
}

// Pause stops the server (SIGSTOP): its connections stay open and nothing answers, as when a machine hangs. The test is skipped on systems
// that do not support this.
func (p *Process) Pause() {
	p.t.Helper()
	if err := pause(p.current().process); err != nil {
		p.t.Skipf("%s cannot be paused here: %v", p.engine.Name, err)
	}
	Eventually(p.t, stopWithin, p.engine.Name+" to stop", func() error {
		if !frozen(p.current().process) {
			return errors.New("it still runs")
		}
		return nil
	})
}

// Resume continues a paused server (SIGCONT).
func (p *Process) Resume() { resume(p.current().process) }

// Restart stops the server if it runs, and starts it again on the same ports with the same data. It returns once the server answers, and
// fails the test if the server does not.
func (p *Process) Restart() {
	p.t.Helper()
	p.Stop()
	if err := p.start(); err != nil {
		p.t.Fatal(err)
	}
}

// Running reports whether the server's process exists. A paused process counts.
func (p *Process) Running() bool { return !p.current().over() }

// Pid returns the id of the server's latest process.
func (p *Process) Pid() int { return p.current().process.Pid }

// Output returns everything that the server has written to standard output and standard error, over all its runs.
func (p *Process) Output() string { return p.outputFrom(0) }

// outputFrom returns the output from an offset on. With the size before the latest run, it returns the output of that run.
func (p *Process) outputFrom(offset int64) string {
	text, err := os.ReadFile(p.logFile())
	if err != nil {
		return fmt.Sprintf("(no output: %v)", err)
	}
	return string(text[min(offset, int64(len(text))):])
}

// outputSize returns how much the server has written so far.
func (p *Process) outputSize() int64 {
	info, err := os.Stat(p.logFile())
	if err != nil {
		return 0 // missing before the first run
	}
	return info.Size()
}

// Dir returns the server's folder, which is removed when the test ends.
func (p *Process) Dir() string { return p.place.Dir }

// Addr returns the "127.0.0.1:port" of the server's i-th port.
func (p *Process) Addr(i int) string { return p.place.Addr(i) }

// logFile returns the path of the server's output.
func (p *Process) logFile() string { return p.place.File(p.engine.Name + ".log") }
