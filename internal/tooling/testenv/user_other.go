//go:build !unix

package testenv

import (
	"os"
	"os/exec"
)

// runAs does nothing: this system has no root.
func runAs(*exec.Cmd, string, string) error { return nil }

// signal kills the process: this system cannot ask another process to end.
func signal(p *os.Process, _ os.Signal) { _ = p.Kill() }
