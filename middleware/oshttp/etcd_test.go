package oshttp_test

import (
	"testing"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/internal/tooling/servicetest"
	"github.com/go-os/go-os/internal/tooling/testenv"
)

// TestRegistryDownUnderLoad stops a real etcd, and kills an instance meanwhile: no request fails. Then a new instance is found.
func TestRegistryDownUnderLoad(t *testing.T) {
	etcd := testenv.Etcd(t)
	f := newFleetIn(t, servicetest.EtcdStore(t, etcd).Namespace("services"))
	nodes := []*node{f.start("orders", "a", answer("")), f.start("orders", "b", answer("")), f.start("orders", "c", answer(""))}
	f.see("orders", func(s *discovery.Snapshot) bool { return len(s.Instances) == 3 })
	caller := f.client("orders")
	stop := servicetest.Load(4, func() error {
		_, err := get(caller, "http://orders/")
		time.Sleep(time.Millisecond)
		return err
	})
	servicetest.Serves(t, "requests before the outage", &nodes[0].served, 20)
	etcd.Kill()
	servicetest.Serves(t, "requests during the outage", &nodes[0].served, 100)
	nodes[1].kill()
	servicetest.Serves(t, "requests after the death of an instance", &nodes[2].served, 100)
	etcd.Restart()
	fourth := f.start("orders", "d", answer(""))
	servicetest.Serves(t, "requests to an instance that has come since", &fourth.served, 5)
	if n, failed := stop(); len(failed) > 0 {
		t.Errorf("%d of %d requests failed: %v", len(failed), n, failed[0])
	}
}
