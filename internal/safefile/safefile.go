// Package safefile reads and writes the state files of a capability. A file is replaced as a whole, and only a file that no other user can
// have written is read.
package safefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/go-os/go-os/internal/fault"
)

// Open opens a regular file for reading. It does not block on a named pipe. It returns fault.Invalid for anything else.
func Open(name string) (*os.File, error) {
	file, _, err := open(name, 0)
	return file, err
}

func open(name string, flags int) (*os.File, os.FileInfo, error) {
	file, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|flags, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%w: is %s: give the path of a regular file", fault.Invalid, kindOf(info.Mode()))
	}
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	return file, info, nil
}

// kindOf returns the kind of a file that is not regular.
func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a folder"
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "a special file"
}

// Read reads a file that only the user of this process can have written. It returns fault.Invalid if another user owns it or may read or
// write it, or if it is a symbolic link. It returns fault.TooLarge if it has more than limit bytes. It also removes the temporary files of
// a crash during Write.
func Read(name string, limit int64) ([]byte, error) {
	removeTemps(name)
	if info, err := os.Lstat(name); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return nil, fmt.Errorf("%w: is a symbolic link: give the path of the file itself", fault.Invalid)
	}
	file, info, err := open(name, noFollow)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	if err := trusted(info); err != nil {
		return nil, fmt.Errorf("%w: %w", fault.Invalid, err)
	}
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%w: over the limit of %d MiB", fault.TooLarge, limit>>20)
	}
	return data, err
}

// Write replaces a file as a whole, with the mode 0600. A reader sees the old contents or the new ones, also after a crash.
func Write(name string, data []byte) (err error) {
	dir := filepath.Dir(name)
	defer func() { err = withoutTempName(dir, err) }()
	temp, err := os.CreateTemp(dir, tempPattern(name))
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temp.Name()))
		}
	}()
	_, err = temp.Write(data)
	err = errors.Join(err, temp.Chmod(0o600), temp.Sync(), temp.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), name); err != nil {
		return err
	}
	return syncDir(dir)
}

// tempPattern is the pattern of the names of temporary files for a file.
func tempPattern(name string) string { return "." + filepath.Base(name) + ".*.tmp" }

// staleAfter is the age at which a temporary file no longer belongs to a running Write.
const staleAfter = time.Hour

// removeTemps removes the temporary files of processes that crashed during Write. Failures are ignored: this is only cleanup.
func removeTemps(name string) {
	dir := filepath.Dir(name)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if match, err := filepath.Match(tempPattern(name), e.Name()); err != nil || !match {
			continue
		}
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > staleAfter {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// withoutTempName removes the random name of a temporary file from an error of the file system: the same problem must always have the same
// text.
func withoutTempName(dir string, err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return fmt.Errorf("%s a file in %s: %w", path.Op, dir, path.Err)
	case errors.As(err, &link):
		return fmt.Errorf("%s a file in %s: %w", link.Op, dir, link.Err)
	}
	return err
}

// syncDir makes the new name durable where the system can sync folders.
func syncDir(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	_ = dir.Sync()
	return dir.Close()
}
