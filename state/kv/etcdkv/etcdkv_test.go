package etcdkv_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/go-os/go-os/internal/tooling/suite"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/etcdkv"
	"github.com/go-os/go-os/state/kv/kvtest"
)

// owner closes the client with the driver. Each driver has its own client, so that leaks are detected.
type owner struct {
	*etcdkv.Driver
	client *clientv3.Client
}

func (o *owner) Close() error { return errors.Join(o.Driver.Close(), o.client.Close()) }

func connect(t testing.TB, endpoints ...string) *owner {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, Logger: zap.NewNop(), DialTimeout: 5 * time.Second,
		DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 2 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	return &owner{Driver: etcdkv.New(client, nil), client: client}
}

// backend returns a driver that reaches etcd by the endpoints of way, and one that uses those of beside.
func backend(way, beside []string) kvtest.Backend {
	return kvtest.Backend{
		EngineFuncs: testenv.Goroutines(),
		Open: func(t testing.TB) driver.Driver {
			o := connect(t, way...)
			resp, err := o.client.Delete(t.Context(), "\x00", clientv3.WithFromKey())
			if err != nil {
				t.Fatal(err)
			}
			for _, endpoint := range way { // a watch starts at its server's revision, and would show the deletes
				testenv.Eventually(t, 10*time.Second, endpoint+" catches up", func() error {
					status, err := o.client.Status(t.Context(), endpoint)
					if err == nil && status.Header.Revision < resp.Header.Revision {
						err = fmt.Errorf("is at revision %d of %d", status.Header.Revision, resp.Header.Revision)
					}
					return err
				})
			}
			return o
		},
		Beside: func(t testing.TB) driver.Driver { return connect(t, beside...) },
		Leases: func(t testing.TB) int { return leases(t, beside) },
		Compact: func(t testing.TB, s driver.Driver) {
			client := s.(*owner).client
			resp, err := client.Get(t.Context(), "revision")
			if err == nil {
				_, err = client.Compact(t.Context(), resp.Header.Revision)
			}
			if err != nil {
				t.Fatal(err)
			}
		},
	}
}

// leases counts the leases of a cluster.
func leases(t testing.TB, endpoints []string) int {
	t.Helper()
	o := connect(t, endpoints...)
	defer o.Close()
	resp, err := o.client.Leases(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return len(resp.Leases)
}

// TestContract runs the suite against one etcd behind a network that can be cut.
func TestContract(t *testing.T) {
	engine := testenv.Etcd(t)
	network := testenv.Proxy(t, engine.Endpoint())
	b := backend([]string{network.Endpoint()}, []string{engine.Endpoint()})
	b.Record = "testdata/contract.json"
	b.Restart = func(t testing.TB, old driver.Driver) driver.Driver {
		engine.Kill()
		engine.Restart()
		kvtest.Awake(t, old)
		return old
	}
	b.Kill, b.Revive = func(testing.TB) { engine.Kill() }, func(testing.TB) { engine.Restart() }
	b.Pause, b.Resume = func(testing.TB) { engine.Pause() }, func(testing.TB) { engine.Resume() }
	b.Cut, b.Drop, b.Heal = func(testing.TB) { network.Cut() }, func(testing.TB) { network.Drop() }, func(testing.TB) { network.Heal() }
	b.Slow = func(_ testing.TB, latency, jitter time.Duration) { network.Slow(latency, jitter) }
	b.Requests = engine.Requests
	kvtest.Run(t, b)
}

// TestContractCluster runs the suite against three etcd servers whose leader can be killed.
func TestContractCluster(t *testing.T) {
	suite.Long(t)
	cluster := testenv.EtcdCluster(t, 3)
	b := backend(cluster.Endpoints(), cluster.Endpoints())
	b.Record = "testdata/contract-three-nodes.json"
	b.Restart = func(t testing.TB, old driver.Driver) driver.Driver {
		cluster.Kill()
		cluster.Restart()
		kvtest.Awake(t, old)
		return old
	}
	b.Kill, b.Revive, b.KillLeader = func(testing.TB) { cluster.Kill() }, func(testing.TB) { cluster.Restart() }, func(testing.TB) { cluster.KillLeader() }
	b.Pause, b.Resume = func(testing.TB) { cluster.Pause() }, func(testing.TB) { cluster.Resume() }
	kvtest.Run(t, b)
}

func TestEngineNeverThere(t *testing.T) { kvtest.NeverThere(t, connect(t, "127.0.0.1:1")) }
