package osgrpc_test

import (
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/go-os/go-os/internal/tooling/servicetest"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/middleware/osgrpc"
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
	f := newFleetIn(t, servicetest.EtcdStore(t, etcd).Namespace("services"))
	nodes := []*node{f.start("orders", "a", "127.0.0.1:0"), f.start("orders", "b", "127.0.0.1:0"), f.start("orders", "c", "127.0.0.1:0")}
	caller := f.dial("os:///orders", osgrpc.DiscoveryOptions{}, grpc.WithDefaultServiceConfig(retries))
	f.settle(caller, "a", "b", "c")
	stop := servicetest.Load(4, func() error {
		_, err := call(t.Context(), caller)
		time.Sleep(time.Millisecond)
		return err
	})
	servicetest.Serves(t, "calls before the outage", &nodes[0].served, 20)
	etcd.Kill()
	servicetest.Serves(t, "calls during the outage", &nodes[0].served, 100)
	nodes[1].Stop()
	servicetest.Serves(t, "calls after the death of an instance", &nodes[2].served, 100)
	etcd.Restart()
	fourth := f.start("orders", "d", "127.0.0.1:0")
	servicetest.Serves(t, "calls to an instance that has come since", &fourth.served, 5)
	if n, failed := stop(); len(failed) > 0 {
		t.Errorf("%d of %d calls failed: %v", len(failed), n, failed[0])
	}
}
