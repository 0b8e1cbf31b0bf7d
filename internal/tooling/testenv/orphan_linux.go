package testenv

import (
	"os/exec"
	"syscall"
)

// dieWithParent makes the kernel kill the server when the test process dies, for whatever reason.
func dieWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
