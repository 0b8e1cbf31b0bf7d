//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package boltkv

import (
	"os"
	"syscall"
)

// unlock releases bbolt's lock of a file. Closing the file is not enough while it is mapped into memory.
func unlock(file *os.File) { _ = syscall.Flock(int(file.Fd()), syscall.LOCK_UN) }
