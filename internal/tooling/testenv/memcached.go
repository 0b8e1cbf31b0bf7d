package testenv

import (
	"context"
	"fmt"
	"os"
	"testing"
)

// MemcachedHandle is a running memcached. It loses its data on a Restart.
type MemcachedHandle struct{ *Process }

// Memcached starts a memcached for the test.
func Memcached(t testing.TB) *MemcachedHandle {
	t.Helper()
	return &MemcachedHandle{Process: start(t, memcachedEngine())}
}

func memcachedEngine() *Engine {
	return &Engine{
		Name:    "memcached",
		Weight:  Installed,
		Command: "memcached",
		Remedy:  "apt-get install memcached",
		Ports:   1,
		Args: func(p Place) []string {
			args := []string{"-l", "127.0.0.1", "-p", fmt.Sprint(p.Ports[0]), "-U", "0", "-m", "64"}
			if os.Geteuid() == 0 { // it refuses to run as root
				args = append(args, "-u", "nobody")
			}
			return args
		},
		Ready: func(ctx context.Context, p Place) error { return answers(ctx, p.Addr(0), "version\r\n", "VERSION") },
	}
}
