package testenv

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
)

// RedisHandle is a running Redis that writes every change to disk before it answers. Its data survives a Restart.
type RedisHandle struct{ *Process }

// Redis starts a Redis for the test.
func Redis(t testing.TB) *RedisHandle {
	t.Helper()
	return &RedisHandle{Process: start(t, redisEngine())}
}

// RedisCluster starts a Redis Cluster of several primaries, which share the slots evenly, without replicas.
func RedisCluster(t testing.TB, primaries int) []*RedisHandle {
	t.Helper()
	const slots = 16384
	engine := redisEngine()
	args := engine.Args
	engine.Ports = 2
	engine.Args = func(p Place) []string {
		return append(args(p), "--cluster-enabled", "yes", "--cluster-port", fmt.Sprint(p.Ports[1]))
	}
	nodes := make([]*RedisHandle, primaries)
	for i := range nodes {
		nodes[i] = &RedisHandle{Process: start(t, engine)}
		first, last := i*slots/primaries, (i+1)*slots/primaries-1
		command(t, nodes[i].Addr(0), fmt.Sprintf("CLUSTER ADDSLOTSRANGE %d %d", first, last))
		meet := nodes[0].place.Ports
		command(t, nodes[i].Addr(0), fmt.Sprintf("CLUSTER MEET 127.0.0.1 %d %d", meet[0], meet[1]))
	}
	for _, node := range nodes {
		Eventually(t, readyWithin, "the cluster to be complete", func() error {
			ctx, cancel := context.WithTimeout(context.Background(), readyProbe)
			defer cancel()
			return answers(ctx, node.Addr(0), "CLUSTER INFO\r\n", "cluster_state:ok")
		})
	}
	return nodes
}

// command sends a command that must succeed.
func command(t testing.TB, addr, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), readyProbe)
	defer cancel()
	if err := answers(ctx, addr, text+"\r\n", "+OK"); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
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

// answers sends a request by TCP and compares the beginning of the answer's first line. If that line is the length of a bulk string, it
// compares the second line.
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
	lines := bufio.NewReader(conn)
	got, err := lines.ReadString('\n')
	if err == nil && strings.HasPrefix(got, "$") {
		got, err = lines.ReadString('\n')
	}
	if err != nil {
		return err
	}
	if !strings.HasPrefix(got, want) {
		return fmt.Errorf("%s answered %q", addr, strings.TrimSpace(got))
	}
	return nil
}
