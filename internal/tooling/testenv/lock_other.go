//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package testenv

import (
	"errors"
	"io/fs"
	"os"
	"time"
)

// staleLock is longer than any lock of a running build is held.
const staleLock = 20 * time.Minute

// tryLock returns an unlock function, or nil when another process holds the lock. Without flock, the existence of the file is the lock. A
// lock left by a killed process is taken over once it is too old to be in use.
func tryLock(path string) (unlock func(), err error) {
	file, err := openLock(path, os.O_EXCL)
	if err == nil {
		file.Close()
		return func() { os.Remove(path) }, nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if info, statErr := os.Stat(path); statErr == nil && time.Since(info.ModTime()) > staleLock {
		os.Remove(path)
	}
	return nil, nil
}
