package testenv

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
)

// NATSClusterHandle is a JetStream cluster of several NATS servers. It works as long as most of them do.
type NATSClusterHandle struct {
	t     testing.TB
	nodes []*NATSHandle
}

// NATSCluster starts a cluster of this many servers, named n0, n1 and so on. Every server syncs each message to disk.
func NATSCluster(t testing.TB, nodes int) *NATSClusterHandle {
	t.Helper()
	const each = 3 // clients, statistics, the other servers
	ports, err := freePorts(each * nodes)
	if err != nil {
		t.Fatal(err)
	}
	var routes []string
	for i := range nodes {
		routes = append(routes, fmt.Sprintf("nats-route://127.0.0.1:%d", ports[each*i+2]))
	}
	c := &NATSClusterHandle{t: t}
	for i := range nodes {
		own := func(int) ([]int, error) { return ports[each*i : each*(i+1)], nil }
		engine := natsMember(fmt.Sprint("n", i), strings.Join(routes, ", "))
		c.nodes = append(c.nodes, &NATSHandle{Process: startProgram(t, engine, program(t, engine), own)})
	}
	c.await()
	return c
}

// natsMember describes a NATS server of a cluster. It is ready when it accepts connections: it cannot answer without the others.
func natsMember(name, routes string) *Engine {
	engine := natsEngine()
	single := engine.Prepare
	engine.Prepare = func(p Place) error {
		if err := single(p); err != nil {
			return err
		}
		file, err := os.OpenFile(p.File("nats.conf"), os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		defer file.Close()
		_, err = fmt.Fprintf(file, "server_name: %s\ncluster { name: test, listen: %q, routes: [%s] }\n", name, p.Addr(2), routes)
		return err
	}
	engine.Ready = func(ctx context.Context, p Place) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.Addr(0))
		if err != nil {
			return err
		}
		return conn.Close()
	}
	return engine
}

// await waits until every server is healthy.
func (c *NATSClusterHandle) await() {
	c.t.Helper()
	for _, node := range c.nodes {
		Eventually(c.t, readyWithin, "the cluster to be complete", func() error {
			ctx, cancel := context.WithTimeout(context.Background(), readyProbe)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, node.MonitorURL()+"/healthz", nil)
			if err != nil {
				return err
			}
			return expectOK(req)
		})
	}
}

// URLs returns the URLs for clients, in the order of the servers' names.
func (c *NATSClusterHandle) URLs() (all []string) {
	for _, node := range c.nodes {
		all = append(all, node.URL())
	}
	return all
}

// Node returns the server with a name. Replies about leaders give such names.
func (c *NATSClusterHandle) Node(name string) *NATSHandle {
	c.t.Helper()
	for i, node := range c.nodes {
		if name == fmt.Sprint("n", i) {
			return node
		}
	}
	c.t.Fatalf("no server %q in the cluster", name)
	return nil
}

// Kill ends all servers at once.
func (c *NATSClusterHandle) Kill() {
	for _, node := range c.nodes {
		node.Kill()
	}
}

// Restart starts the killed servers, and returns when all of them are healthy.
func (c *NATSClusterHandle) Restart() {
	c.t.Helper()
	for _, node := range c.nodes {
		if node.current().over() {
			node.Restart()
		}
	}
	c.await()
}

// Pause stops all servers from answering until Resume.
func (c *NATSClusterHandle) Pause() {
	for _, node := range c.nodes {
		node.Pause()
	}
}

// Resume ends Pause.
func (c *NATSClusterHandle) Resume() {
	for _, node := range c.nodes {
		node.Resume()
	}
}
