//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package testenv

import (
	"errors"
	"syscall"
)

// tryLock returns an unlock function, or nil when another process holds the lock. The kernel frees the lock of a process that dies, so a
// killed build blocks nobody. The file stays: if it were removed, two processes could lock two files of the same name.
func tryLock(path string) (unlock func(), err error) {
	file, err := openLock(path, 0)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return func() { file.Close() }, nil
	}
	file.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
		return nil, nil
	}
	return nil, err
}
