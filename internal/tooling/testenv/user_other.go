//go:build !unix

package testenv

import (
	"os"
	"os/exec"
)

// runAs does nothing: this system has no root.
func runAs(*exec.Cmd, string, string) error { return nil }

// signal kills: this system has no way to ask another process to end.
func signal(p *os.Process, _ os.Signal) { _ = p.Kill() }
