package testenv

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
)

// RedisHandle is a running Redis that has every write on disk before it answers. Its data survive a Restart.
type RedisHandle struct{ *Process }

// Redis starts a Redis for the test.
func Redis(t testing.TB) *RedisHandle {
	t.Helper()
	return &RedisHandle{Process: start(t, redisEngine())}
}

func redisEngine() *Engine {
	return &Engine{
		Name:    "redis",
		Weight:  Installed,
		Command: "redis-server",
		Remedy:  "apt-get install redis-server",
		Ports:   1,
		Args: func(p Place) []string {
			return []string{
				"--bind", "127.0.0.1", "--port", fmt.Sprint(p.Ports[0]), "--dir", p.Dir, "--daemonize", "no",
				"--save", "", "--appendonly", "yes", "--appendfsync", "always",
			}
		},
		Ready: func(ctx context.Context, p Place) error { return answers(ctx, p.Addr(0), "PING\r\n", "+PONG") },
	}
}

// answers sends a request by TCP and compares the beginning of the answer's first line.
func answers(ctx context.Context, addr, request, want string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if _, err := conn.Write([]byte(request)); err != nil {
		return err
	}
	got, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(got, want) {
		return fmt.Errorf("%s answered %q", addr, strings.TrimSpace(got))
	}
	return nil
}
