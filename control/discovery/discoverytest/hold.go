package discoverytest

import (
	"bytes"
	"sync"
	"testing"
)

// Tap is a network between drivers and engine that passes chunk by chunk, such as a testenv.TapHandle.
type Tap interface {
	// Requests calls decide for each chunk that a driver sends, until the next call of Requests. The first now bytes of the chunk pass at
	// once. The others, and later chunks of the connection, pass when rest is closed. A nil rest or a nil decide passes everything.
	Requests(decide func(chunk []byte) (now int, rest <-chan struct{}))
}

// HoldTap returns the hook Hold of drivers that reach the engine by a Tap. A request about a service must contain its name as it is, if that
// consists of letters and digits.
func HoldTap(tap Tap) func(t testing.TB, service string, n int) (<-chan struct{}, func()) {
	return func(_ testing.TB, service string, n int) (<-chan struct{}, func()) {
		held, open := make(chan struct{}), make(chan struct{})
		var mu sync.Mutex
		seen := 0
		tap.Requests(func(chunk []byte) (int, <-chan struct{}) {
			mu.Lock()
			defer mu.Unlock()
			if !bytes.Contains(chunk, []byte(service)) {
				return 0, nil
			}
			if seen++; seen < n {
				return 0, nil
			}
			if seen == n {
				close(held)
			}
			return 0, open
		})
		return held, sync.OnceFunc(func() {
			tap.Requests(nil)
			close(open)
		})
	}
}
