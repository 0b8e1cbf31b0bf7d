package testenv

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
)

// Ports are taken below the ranges that serve outgoing connections and listeners on port 0: 32768 and up on Linux, 49152 and up on the
// BSDs, macOS and Windows. A server that is down between Kill and Restart must find its port free.
const (
	firstPort = 20000
	lastPort  = 32000
	blockSize = 100
)

// freePorts returns n distinct TCP ports that nobody listens on. Another program may take one before the server does; start then retries
// with other ports.
func freePorts(n int) ([]int, error) { return ownPorts().take(n) }

// ownPorts is the block of ports of this test process. The process owns it until it ends: other test processes take no port of it while a
// server is down.
var ownPorts = sync.OnceValue(func() *portBlock {
	return reserve(filepath.Join(os.TempDir(), fmt.Sprint("go-os-test-ports-", os.Getuid())))
})

// portBlock is a range of ports that one test process uses.
type portBlock struct {
	first  int
	unlock func() // called by tests only; it keeps the lock file reachable, whose finalizer would unlock the block

	mu   sync.Mutex
	next int // offset of the next port to try; a port comes up again after all the others
}

// reserve locks a block that no other process has. If it cannot, for example because dir is not writable, it returns any block: ports are
// then only likely to be distinct.
func reserve(dir string) *portBlock {
	_ = os.MkdirAll(dir, 0o755)
	blocks := rand.Perm((lastPort - firstPort) / blockSize)
	for _, i := range blocks {
		first := firstPort + i*blockSize
		if unlock, err := tryLock(filepath.Join(dir, strconv.Itoa(first))); err == nil && unlock != nil {
			return &portBlock{first: first, unlock: unlock}
		}
	}
	return &portBlock{first: firstPort + blocks[0]*blockSize, unlock: func() {}}
}

// take returns the next n ports of the block that nobody listens on.
func (b *portBlock) take(n int) ([]int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var ports []int
	for range blockSize {
		if len(ports) == n {
			break
		}
		port := b.first + b.next
		b.next = (b.next + 1) % blockSize
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		_ = listener.Close()
		ports = append(ports, port)
	}
	if len(ports) < n {
		return nil, fmt.Errorf("only %d of %d ports are free between %d and %d", len(ports), n, b.first, b.first+blockSize)
	}
	return ports, nil
}
