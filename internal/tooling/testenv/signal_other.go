//go:build !unix

package testenv

import (
	"errors"
	"os"
)

// terminate kills the process: this system cannot ask another process to end.
func terminate(p *os.Process) { _ = p.Kill() }

func pause(*os.Process) error { return errors.ErrUnsupported }

func resume(*os.Process) {}
