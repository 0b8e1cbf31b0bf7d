//go:build !linux

package testenv

// memoryFolder is empty: no file system in memory exists on every machine.
const memoryFolder = ""

// freeMemory is not known here.
func freeMemory(string) int64 { return 0 }
