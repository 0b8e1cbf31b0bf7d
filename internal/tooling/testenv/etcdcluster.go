package testenv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// EtcdClusterHandle is a running etcd cluster. It answers as long as a majority of its nodes does.
type EtcdClusterHandle struct {
	t     testing.TB
	nodes []*EtcdHandle
}

// EtcdCluster starts a cluster of several nodes. It elects a new leader a quarter of a second after the old one stopped answering.
func EtcdCluster(t testing.TB, nodes int) *EtcdClusterHandle {
	t.Helper()
	ports, err := freePorts(2 * nodes)
	if err != nil {
		t.Fatal(err)
	}
	var members []string
	for i := range nodes {
		members = append(members, fmt.Sprintf("n%d=http://127.0.0.1:%d", i, ports[2*i+1]))
	}
	c := &EtcdClusterHandle{t: t}
	for i := range nodes {
		own := func(int) ([]int, error) { return ports[2*i : 2*i+2], nil }
		engine := memberEngine(fmt.Sprint("n", i), strings.Join(members, ","))
		c.nodes = append(c.nodes, &EtcdHandle{Process: startProgram(t, engine, program(t, engine), own)})
	}
	c.await()
	return c
}

// memberEngine describes a member of a cluster. It is ready when its peers can connect; it answers clients only when they run.
func memberEngine(name, members string) *Engine {
	engine := etcdEngine()
	single := engine.Args
	engine.Args = func(p Place) []string {
		args := append(single(p), "--name="+name, "--initial-cluster="+members, "--heartbeat-interval=50", "--election-timeout=250")
		return args
	}
	engine.Ready = func(ctx context.Context, p Place) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.Addr(1))
		if err != nil {
			return err
		}
		return conn.Close()
	}
	return engine
}

// await waits until every node answers.
func (c *EtcdClusterHandle) await() {
	c.t.Helper()
	for _, node := range c.nodes {
		Eventually(c.t, readyWithin, "the cluster to be complete", func() error {
			ctx, cancel := context.WithTimeout(context.Background(), readyProbe)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, node.URL()+"/health", nil)
			if err != nil {
				return err
			}
			return expectOK(req)
		})
	}
}

// Endpoints returns the addresses for clients.
func (c *EtcdClusterHandle) Endpoints() (all []string) {
	for _, node := range c.nodes {
		all = append(all, node.Endpoint())
	}
	return all
}

// Leader returns the current leader.
func (c *EtcdClusterHandle) Leader() *EtcdHandle {
	c.t.Helper()
	var leader *EtcdHandle
	Eventually(c.t, readyWithin, "a leader", func() error {
		for _, node := range c.nodes {
			leads, err := node.leads()
			if err == nil && leads {
				leader = node
				return nil
			}
		}
		return errors.New("no node is the leader")
	})
	return leader
}

// Follower returns a node that is not the current leader.
func (c *EtcdClusterHandle) Follower() *EtcdHandle {
	c.t.Helper()
	leader := c.Leader()
	return c.nodes[slices.IndexFunc(c.nodes, func(node *EtcdHandle) bool { return node != leader })]
}

// leads reports whether a node is the leader.
func (e *EtcdHandle) leads() (bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), readyProbe)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.URL()+"/v3/maintenance/status", bytes.NewReader([]byte("{}")))
	if err != nil {
		return false, err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	var status struct {
		Header struct {
			Member string `json:"member_id"`
		} `json:"header"`
		Leader string `json:"leader"`
	}
	err = json.NewDecoder(resp.Body).Decode(&status)
	return status.Leader != "" && status.Leader == status.Header.Member, err
}

// KillLeader kills the leader.
func (c *EtcdClusterHandle) KillLeader() {
	c.t.Helper()
	c.Leader().Kill()
}

// Kill kills all nodes.
func (c *EtcdClusterHandle) Kill() {
	for _, node := range c.nodes {
		node.Kill()
	}
}

// Restart starts the killed nodes, and returns when all of them answer.
func (c *EtcdClusterHandle) Restart() {
	c.t.Helper()
	for _, node := range c.nodes {
		if node.current().over() {
			node.Restart()
		}
	}
	c.await()
}

// Pause stops all nodes from answering until Resume.
func (c *EtcdClusterHandle) Pause() {
	for _, node := range c.nodes {
		node.Pause()
	}
}

// Resume ends Pause.
func (c *EtcdClusterHandle) Resume() {
	for _, node := range c.nodes {
		node.Resume()
	}
}
