package testenv

import (
	"reflect"
	"runtime"
)

// Goroutines returns functions, as goleak names them, whose goroutines belong to this package. Some wait for an engine in another process,
// which a test may have restarted. Others are the connections of a Tap, which end a moment after those of a driver.
func Goroutines() (names []string) {
	for _, f := range []any{(*run).startAndWait, (*TapHandle).forwardOne, (*TapHandle).forwardChunks, (*TapHandle).forwardRead} {
		names = append(names, runtime.FuncForPC(reflect.ValueOf(f).Pointer()).Name())
	}
	return names
}
