package testenv_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/go-os/go-os/internal/tooling/testenv"
)

// say sends a line over TCP and returns the first line of the answer.
func say(addr, line string, patience time.Duration) (string, error) {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprint(conn, line, "\r\n"); err != nil {
		return "", err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(answer), err
}

// expectLine fails the test unless a server answers a line with the wanted line.
func expectLine(t *testing.T, addr, line, want string) {
	t.Helper()
	if got, err := say(addr, line, 5*time.Second); err != nil || got != want {
		t.Errorf("%s: got %q, %v; want %q", line, got, err, want)
	}
}

// TestRedisKeepsItsData kills Redis. Acknowledged data is there when it returns.
func TestRedisKeepsItsData(t *testing.T) {
	t.Parallel()
	redis := testenv.Redis(t)
	expectLine(t, redis.Addr(0), "SET k 1", "+OK")
	redis.Kill()
	if _, err := say(redis.Addr(0), "PING", time.Second); err == nil {
		t.Error("a killed Redis answers")
	}
	redis.Restart()
	expectLine(t, redis.Addr(0), "EXISTS k", ":1")
}

func TestMemcachedForgets(t *testing.T) {
	t.Parallel()
	memcached := testenv.Memcached(t)
	expectLine(t, memcached.Addr(0), "set k 0 0 1\r\n1", "STORED")
	expectLine(t, memcached.Addr(0), "get k", "VALUE k 0 1")
	memcached.Kill()
	memcached.Restart()
	expectLine(t, memcached.Addr(0), "get k", "END")
}

// TestPostgresKeepsItsData kills PostgreSQL, and pauses it. Committed data is there when it returns.
func TestPostgresKeepsItsData(t *testing.T) {
	t.Parallel()
	postgres := testenv.Postgres(t)
	pool, err := pgxpool.New(t.Context(), postgres.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if _, err := pool.Exec(t.Context(), "CREATE TABLE kept AS SELECT 1 AS n"); err != nil {
		t.Fatal(err)
	}
	count := func(patience time.Duration) (n int, err error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return n, pool.QueryRow(ctx, "SELECT count(*) FROM kept").Scan(&n)
	}
	postgres.Kill()
	if _, err := count(time.Second); err == nil {
		t.Error("a killed PostgreSQL answers")
	}
	postgres.Restart()
	if n, err := count(5 * time.Second); err != nil || n != 1 {
		t.Errorf("%d rows after a restart, %v", n, err)
	}
	postgres.Pause()
	if _, err := count(time.Second); err == nil {
		t.Error("a paused PostgreSQL answers")
	}
	postgres.Resume()
	if n, err := count(5 * time.Second); err != nil || n != 1 {
		t.Errorf("%d rows after a pause, %v", n, err)
	}
}

// TestHTTPEngines queries the engines that speak HTTP, before and after they are killed.
func TestHTTPEngines(t *testing.T) {
	t.Parallel()
	nats, consul := testenv.NATS(t), testenv.Consul(t)
	for url, process := range map[string]*testenv.Process{
		nats.MonitorURL() + "/healthz":     nats.Process,
		consul.URL() + "/v1/status/leader": consul.Process,
	} {
		for range 2 {
			resp, err := http.Get(url)
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Fatalf("%s: %v, %v", url, resp, err)
			}
			resp.Body.Close()
			process.Kill()
			process.Restart()
		}
	}
}

// TestProxy puts a network in front of a Redis and injects each fault.
func TestProxy(t *testing.T) {
	network := testenv.Proxy(t, testenv.Redis(t).Addr(0))
	ping := func() (time.Duration, error) {
		asked := time.Now()
		answer, err := say(network.Endpoint(), "PING", 500*time.Millisecond)
		if err == nil && answer != "+PONG" {
			err = errors.New(answer)
		}
		return time.Since(asked), err
	}
	whole := func() {
		t.Helper()
		if took, err := ping(); err != nil || took > 100*time.Millisecond {
			t.Errorf("a whole network answers after %s: %v", took, err)
		}
	}
	whole()
	network.Slow(150*time.Millisecond, 0)
	if took, err := ping(); err != nil || took < 150*time.Millisecond {
		t.Errorf("a slow network answers after %s: %v", took, err)
	}
	network.Heal()
	whole()
	network.Drop()
	if took, err := ping(); !timedOut(err) || took < 500*time.Millisecond {
		t.Errorf("a network that swallows everything answers after %s: %v", took, err)
	}
	network.Heal()
	whole()
	network.Cut()
	if _, err := ping(); err == nil {
		t.Error("a network that is cut answers")
	}
	network.Heal()
	whole()
}

func timedOut(err error) bool {
	timeout := net.Error(nil)
	return errors.As(err, &timeout) && timeout.Timeout()
}

// TestEtcdClusterElects kills the leader of three nodes. Another one becomes leader soon, and the old one
// rejoins.
func TestEtcdClusterElects(t *testing.T) {
	t.Parallel()
	cluster := testenv.EtcdCluster(t, 3)
	old := cluster.Leader()
	cluster.KillLeader()
	killed := time.Now()
	if now := cluster.Leader(); now == old {
		t.Error("the leader that was killed leads")
	}
	t.Logf("another leads after %s", time.Since(killed))
	cluster.Restart()
	if resp, err := http.Get(old.URL() + "/health"); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("the old leader has not come back: %v", err)
	} else {
		resp.Body.Close()
	}
}

// TestDNSChanges changes, drops and restores the zone of a DNS server.
func TestDNSChanges(t *testing.T) {
	t.Parallel()
	dns := testenv.DNS(t, "example.", "a A 10.0.0.1")
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, dns.Addr(0))
	}}
	expect := func(want string) {
		t.Helper()
		got, err := resolver.LookupHost(t.Context(), "a.example.")
		if err != nil {
			got = []string{strings.Replace(err.Error(), "lookup a.example. on ", "", 1)}
		}
		if !strings.Contains(strings.Join(got, ","), want) {
			t.Errorf("got %v, want %s", got, want)
		}
	}
	expect("10.0.0.1")
	dns.SetZone("a A 10.0.0.2")
	expect("10.0.0.2")
	dns.SetZone("")
	expect("no such host")
	dns.DropZone()
	expect("server misbehaving")
	dns.SetZone("a A 10.0.0.3")
	expect("10.0.0.3")
	dns.Kill()
	dns.Restart()
	expect("10.0.0.3")
}
