package testenv

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// memoryFolder is a file system in memory.
const memoryFolder = "/dev/shm"

// freeMemory returns how many bytes a file system in memory can hold: limited by its own room and by the machine's free memory.
func freeMemory(dir string) int64 {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return 0
	}
	return min(int64(fs.Bavail)*fs.Bsize, availableMemory())
}

// availableMemory returns how much memory the machine can give to programs without swapping (proc_meminfo(5)).
func availableMemory() int64 {
	file, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var kilobytes int64
		if n, _ := fmt.Sscanf(strings.TrimSpace(lines.Text()), "MemAvailable: %d kB", &kilobytes); n == 1 {
			return kilobytes << 10
		}
	}
	return 0
}
