package oshttp_test

import (
	"errors"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/etcdkv"
	"github.com/go-os/go-os/telemetry"
)

// TestRegistryDownUnderLoad stops a real etcd, and kills an instance meanwhile: no request fails. Then a new instance is found.
func TestRegistryDownUnderLoad(t *testing.T) {
	etcd := testenv.Etcd(t)
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{etcd.Endpoint()}, Logger: zap.NewNop(), DialTimeout: 5 * time.Second, DialKeepAliveTime: 5 * time.Second, DialKeepAliveTimeout: 2 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	store := kv.New(etcdkv.New(client, nil), &kv.Options{Telemetry: telemetry.Off()})
	t.Cleanup(func() { _ = store.Close() })
	f := newFleetIn(t, store.Namespace("services"))
	nodes := []*node{f.start("orders", "a", answer("")), f.start("orders", "b", answer("")), f.start("orders", "c", answer(""))}
	f.see("orders", func(s *discovery.Snapshot) bool { return len(s.Instances) == 3 })
	caller := f.client("orders")
	stop := load(4, func() error {
		_, err := get(caller, "http://orders/")
		time.Sleep(time.Millisecond)
		return err
	})
	serve := func(what string, n *node, more int64) {
		t.Helper()
		before := n.served.Load()
		testenv.Eventually(t, 30*time.Second, what, func() error {
			if n.served.Load() < before+more {
				return errors.New("few requests yet")
			}
			return nil
		})
	}
	serve("requests before the outage", nodes[0], 20)
	etcd.Kill()
	serve("requests during the outage", nodes[0], 100)
	nodes[1].kill()
	serve("requests after the death of an instance", nodes[2], 100)
	etcd.Restart()
	fourth := f.start("orders", "d", answer(""))
	serve("requests to an instance that has come since", fourth, 5)
	if n, failed := stop(); len(failed) > 0 {
		t.Errorf("%d of %d requests failed: %v", len(failed), n, failed[0])
	}
}
