//go:build unix

package testenv

import (
	"os"
	"syscall"
)

// The errors ignored below mean that the process has ended.

func terminate(p *os.Process) { _ = p.Signal(syscall.SIGTERM) }

func pause(p *os.Process) error { return p.Signal(syscall.SIGSTOP) }

func resume(p *os.Process) { _ = p.Signal(syscall.SIGCONT) }
