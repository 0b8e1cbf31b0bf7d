//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package testenv

import (
	"errors"
	"io/fs"
	"os"
	"time"
)

// staleLock is past the age of any lock whose owner still builds.
const staleLock = 20 * time.Minute

// tryLock returns an unlock function, or nil when another process holds the lock. Without flock the existence of the file
// is the lock, and one left by a process that was killed is taken over once it is too old to be in use.
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
