package testenv

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

const (
	// readyWithin is generous: test machines are small and do other work while a server starts.
	readyWithin = 60 * time.Second
	readyEvery  = 20 * time.Millisecond
	readyProbe  = 2 * time.Second

	startAttempts = 5
)

// errPortTaken means that the server ended because another process has its port.
var errPortTaken = errors.New("port taken")

// start finds the engine's program, runs it, and returns once it answers. If it cannot, it ends the test: by a skip when the engine is not
// available in this mode, and by a failure otherwise. The server is stopped when the test ends.
func start(t testing.TB, e *Engine) *Process {
	t.Helper()
	return startProgram(t, e, program(t, e), freePorts)
}

// startProgram is start with a given program and source of ports.
func startProgram(t testing.TB, e *Engine, found Program, ports func(int) ([]int, error)) *Process {
	t.Helper()
	p := &Process{t: t, engine: e, place: Place{Program: found, Dir: newFolder(t)}, stopWithin: stopWithin}
	// This cleanup is registered after that of the folder and so runs before it: the server is gone when its files are removed.
	t.Cleanup(p.finish)
	var err error
	for range startAttempts {
		if p.place.Ports, err = ports(e.Ports); err != nil {
			t.Fatalf("%s: %v", e.Name, err)
		}
		if err = p.start(); !errors.Is(err, errPortTaken) {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// finish ends the server with its test. If the test has failed, it prints the server's output.
func (p *Process) finish() {
	if p.current() == nil {
		return
	}
	p.Stop()
	if p.t.Failed() {
		p.t.Logf("output of %s ends:\n%s", p.engine.Name, tail(p.Output(), 30))
	}
}

// start launches the server and waits until it is ready.
func (p *Process) start() error {
	before := p.outputSize()
	r, err := p.launch()
	if err != nil {
		return fmt.Errorf("%s could not be started: %w", p.engine.Name, err)
	}
	p.mu.Lock()
	p.running = r
	p.mu.Unlock()
	if err := p.awaitReady(r); err != nil {
		ended := r.over()
		p.Kill()
		said := p.outputFrom(before)
		if ended && portTaken(said) {
			err = fmt.Errorf("%w: %w", errPortTaken, err)
		}
		return fmt.Errorf("%s did not start: %w; its output ends:\n%s", p.engine.Name, err, tail(said, 30))
	}
	return nil
}

// awaitReady polls the server until it answers, it ends, or the time is up.
func (p *Process) awaitReady(r *run) error {
	ctx, cancel := context.WithTimeout(context.Background(), readyWithin)
	defer cancel()
	go func() { // a probe must not outlast the server: on a taken port another process may never answer it
		select {
		case <-r.ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for {
		probe, done := context.WithTimeout(ctx, readyProbe)
		err := p.engine.Ready(probe, p.place)
		done()
		// The process is checked after the answer: on a taken port, the answer comes from another process.
		if r.over() {
			return fmt.Errorf("it ended before it was ready: %w", orClean(r.err))
		}
		if err == nil {
			return nil
		}
		select {
		case <-r.ended:
		case <-ctx.Done():
			if !r.over() {
				return fmt.Errorf("not ready within %s: %w", readyWithin, err)
			}
		case <-tick.C:
		}
	}
}

// orClean returns an error for a process that ended without one.
func orClean(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// portTaken reports whether a server's output shows that it could not listen.
func portTaken(said string) bool {
	said = strings.ToLower(said)
	return strings.Contains(said, "address already in use") || strings.Contains(said, "only one usage of each socket address")
}
