//go:build !linux

package testenv

// memoryFolder is empty: there is no file system in memory that every machine has.
const memoryFolder = ""

// freeMemory is not known here.
func freeMemory(string) int64 { return 0 }
