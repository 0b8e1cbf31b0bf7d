package testenv

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"testing"
)

// ConsulHandle is a running Consul: one server that is its own leader. Its data survives a Restart.
type ConsulHandle struct{ *Process }

// Consul starts a Consul for the test.
func Consul(t testing.TB) *ConsulHandle {
	t.Helper()
	return &ConsulHandle{Process: start(t, consulEngine())}
}

// ConsulWith starts a Consul with additional arguments.
func ConsulWith(t testing.TB, more ...string) *ConsulHandle {
	t.Helper()
	engine := consulEngine()
	usual := engine.Args
	engine.Args = func(p Place) []string { return append(usual(p), more...) }
	return &ConsulHandle{Process: start(t, engine)}
}

// ConsulAgent starts a client agent for a server, like the one on each machine of a cluster. Stop makes it leave the cluster in an orderly
// way.
func ConsulAgent(t testing.TB, server *ConsulHandle) *ConsulHandle {
	t.Helper()
	return &ConsulHandle{Process: start(t, consulAgentEngine(server.place.Ports[2]))}
}

// URL returns the base URL of the HTTP API.
func (c *ConsulHandle) URL() string { return "http://" + c.Addr(0) }

// DNS returns the address at which a Consul that is no client agent answers DNS.
func (c *ConsulHandle) DNS() string { return c.Addr(3) }

func consulEngine() *Engine {
	return &Engine{
		Name:    "consul",
		Weight:  Heavy,
		Module:  "internal/tooling/engines/consul",
		Package: "github.com/hashicorp/consul",
		Ports:   4,
		Args: func(p Place) []string {
			return []string{
				"agent", "-server", "-bootstrap-expect=1", "-data-dir=" + p.File("data"), "-node=n0", "-log-level=warn",
				"-bind=127.0.0.1", "-client=127.0.0.1", "-http-port=" + strconv.Itoa(p.Ports[0]),
				"-server-port=" + strconv.Itoa(p.Ports[1]), "-serf-lan-port=" + strconv.Itoa(p.Ports[2]), "-serf-wan-port=-1",
				"-dns-port=" + strconv.Itoa(p.Ports[3]), "-grpc-port=-1", "-disable-host-node-id",
				"-hcl=disable_update_check = true", "-hcl=performance { raft_multiplier = 1 }",
				// A network that drops packets leaves connections behind. Consul's default limit is 200 for a client.
				"-hcl=limits { http_max_conns_per_client = 10000 }",
			}
		},
		Ready: func(ctx context.Context, p Place) error { return consulLeads(ctx, "http://"+p.Addr(0)) },
	}
}

func consulAgentEngine(serf int) *Engine {
	engine := consulEngine()
	engine.Ports = 2
	engine.Args = func(p Place) []string {
		return []string{
			"agent", "-data-dir=" + p.File("data"), "-node=agent", "-log-level=warn", "-bind=127.0.0.1", "-client=127.0.0.1",
			"-http-port=" + strconv.Itoa(p.Ports[0]), "-serf-lan-port=" + strconv.Itoa(p.Ports[1]), "-dns-port=-1", "-grpc-port=-1",
			"-retry-join=127.0.0.1:" + strconv.Itoa(serf), "-disable-host-node-id", "-hcl=disable_update_check = true",
		}
	}
	return engine
}

// consulLeads returns nil once the agent has a leader and the leader answers a consistent read.
func consulLeads(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v1/kv/?keys&consistent&separator=/", nil)
	if err != nil {
		return err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNotFound { // 404 means that there are no keys yet
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
		return fmt.Errorf("consul answered %s: %s", resp.Status, said)
	}
	return nil
}
