package osgrpc_test

import (
	"errors"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/middleware/osgrpc"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/etcdkv"
	"github.com/go-os/go-os/telemetry"
)

// retries is a service config that repeats calls which found no connection, or lost it.
const retries = `{
	"loadBalancingConfig": [{"round_robin": {}}],
	"methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.01s", "maxBackoff": "0.1s", "backoffMultiplier": 2,
		"retryableStatusCodes": ["UNAVAILABLE"]}}]}`

// TestRegistryDownUnderLoad stops a real etcd, and kills an instance meanwhile: no call that can be repeated fails. Then a new instance is
// found.
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
	nodes := []*node{f.start("orders", "a", "127.0.0.1:0"), f.start("orders", "b", "127.0.0.1:0"), f.start("orders", "c", "127.0.0.1:0")}
	caller := f.dial("os:///orders", osgrpc.DiscoveryOptions{}, grpc.WithDefaultServiceConfig(retries))
	f.settle(caller, "a", "b", "c")
	stop := load(4, func() error {
		_, err := call(t.Context(), caller)
		time.Sleep(time.Millisecond)
		return err
	})
	serve := func(what string, n *node, more int64) {
		t.Helper()
		before := n.served.Load()
		testenv.Eventually(t, 30*time.Second, what, func() error {
			if n.served.Load() < before+more {
				return errors.New("few calls yet")
			}
			return nil
		})
	}
	serve("calls before the outage", nodes[0], 20)
	etcd.Kill()
	serve("calls during the outage", nodes[0], 100)
	nodes[1].Stop()
	serve("calls after the death of an instance", nodes[2], 100)
	etcd.Restart()
	fourth := f.start("orders", "d", "127.0.0.1:0")
	serve("calls to an instance that has come since", fourth, 5)
	if n, failed := stop(); len(failed) > 0 {
		t.Errorf("%d of %d calls failed: %v", len(failed), n, failed[0])
	}
}
