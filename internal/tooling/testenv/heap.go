package testenv

import "runtime"

// Heap returns the size of what is reachable on the heap, in bytes. It collects twice: pools, and what cleanups let go, take a second run.
func Heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
