//go:build unix

package testenv

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// runAs makes a command run as another user, and gives that user the command's folder, if this process runs as root. Some servers refuse to
// run as root.
func runAs(cmd *exec.Cmd, dir, name string) error {
	if name == "" || os.Geteuid() != 0 {
		return nil
	}
	who, err := user.Lookup(name)
	if err != nil {
		return err
	}
	uid, err := strconv.ParseUint(who.Uid, 10, 32)
	if err != nil {
		return fmt.Errorf("user %s: %w", name, err)
	}
	gid, err := strconv.ParseUint(who.Gid, 10, 32)
	if err != nil {
		return fmt.Errorf("user %s: %w", name, err)
	}
	if err := os.Chown(dir, int(uid), int(gid)); err != nil {
		return err
	}
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil { // a test's own folder, which only its user can enter
		return err
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return nil
}

func signal(p *os.Process, s os.Signal) { _ = p.Signal(s) }
