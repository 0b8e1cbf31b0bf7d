//go:build !linux

package testenv

import "os"

// childrenOf returns nothing: on this system, a list of children needs another program.
func childrenOf(int) []*os.Process { return nil }

func alive(*os.Process) bool { return false }
