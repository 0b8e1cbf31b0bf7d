//go:build !linux

package testenv

import "os/exec"

// dieWithParent does nothing: only Linux offers it. Servers are still stopped by t.Cleanup.
func dieWithParent(*exec.Cmd) {}
