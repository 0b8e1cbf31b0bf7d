//go:build unix

package safefile

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// noFollow makes open fail for a symbolic link.
const noFollow = syscall.O_NOFOLLOW

// trusted returns an error if another user may have written the file or can read it.
func trusted(info fs.FileInfo) error {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("is owned by user %d, and this process runs as user %d: delete it, or change its owner", stat.Uid, os.Geteuid())
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("has the mode %04o, which gives others access: delete it, or set its mode to 0600", mode)
	}
	return nil
}
