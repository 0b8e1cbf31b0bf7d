package testenv

import "runtime"

// Heap returns the size of reachable objects on the heap, in bytes. It collects twice: pools, and objects released by cleanups, need a
// second run.
func Heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
