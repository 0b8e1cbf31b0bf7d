package testenv

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

// frozen reports whether every thread of a process has stopped, or the process is gone. A signal only requests the stop.
func frozen(p *os.Process) bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.Pid))
	if err != nil {
		return true
	}
	for _, file := range threads {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		// The state follows the program's name, which is in parentheses and may contain some (proc_pid_stat(5)).
		state := stat[bytes.LastIndexByte(stat, ')')+1:]
		if !bytes.HasPrefix(state, []byte(" T")) {
			return false
		}
	}
	return true
}
