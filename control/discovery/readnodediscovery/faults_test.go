package readnodediscovery_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/control/discovery/readnodediscovery"
	"github.com/go-os/go-os/internal/tooling/suite"
	"github.com/go-os/go-os/internal/tooling/testenv"
)

func (c *child) signal(s syscall.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
}

// TestFaultsOnEtcd stops, kills and restarts read nodes, which are processes of their own, and the etcd behind them.
func TestFaultsOnEtcd(t *testing.T) {
	suite.Long(t)
	etcd := testenv.Etcd(t)
	nodes := []*child{startChild(t, etcd.Endpoint(), heartbeat), startChild(t, etcd.Endpoint(), heartbeat)}
	registry := hands(t, etcd.Endpoint())
	put := func(id string) {
		registry.Write(t, driver.Record{Instance: driver.Instance{Service: "orders", ID: id, Weight: 1, Addresses: map[string]string{"grpc": "10.0.0.7:9000"}}, Incarnation: id, Epoch: 1})
	}
	put("a")
	opts := &readnodediscovery.Options{Engine: openEtcd(t, etcd.Endpoint()), Patience: 2 * time.Second, Fallback: 5 * time.Second, MaxBackoff: time.Second}
	c := closing(t, newClient(t, opts, nodes[0].address, nodes[1].address))
	v := follow(t, c, "orders")
	v.expect("found", "a")

	paused := nodes[c.Status().Node]
	paused.signal(syscall.SIGSTOP)
	put("b")
	v.expect("the node is stopped", "a b")
	paused.signal(syscall.SIGCONT)

	nodes[c.Status().Node].kill()
	put("c")
	v.expect("the node is killed", "a b c")
	for _, n := range nodes {
		n.kill()
	}
	v.expect("both are killed", "a b c lost")
	put("d")
	v.expect("read from etcd", "a b c d")
	for _, n := range nodes {
		n.start()
	}
	testenv.Eventually(t, 20*time.Second, "back to a node", func() error {
		if s := c.Status(); !s.Connected || len(s.Fallback) > 0 {
			return fmt.Errorf("status %+v", s)
		}
		return nil
	})

	etcd.Kill()
	v.expect("etcd is killed", "a b c d lost")
	nodes[0].kill()
	nodes[0].start() // has no records
	time.Sleep(5 * time.Second)
	v.expect("a node without etcd changes nothing", "a b c d lost")
	etcd.Restart()
	v.expect("etcd is back", "a b c d")
	put("e")
	registry.Remove(t, "orders", "a")
	v.expect("changes", "b c d e")
}
