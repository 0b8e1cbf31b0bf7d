package readnodediscovery_test

import (
	"testing"
	"time"

	"github.com/go-os/go-os/control/discovery/discoverytest"
	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/control/discovery/kvdiscovery"
	"github.com/go-os/go-os/control/discovery/readnode"
	"github.com/go-os/go-os/control/discovery/readnodediscovery"
	"github.com/go-os/go-os/internal/tooling/recordtest"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/etcdkv"
	"github.com/go-os/go-os/telemetry"
)

// TestContract writes to etcd, and reads through a read node in a process of its own.
func TestContract(t *testing.T) {
	etcd := testenv.Etcd(t)
	node := startChild(t, etcd.Endpoint(), heartbeat)
	discoverytest.Run(t, discoverytest.Backend{
		Begin: func(t testing.TB) discoverytest.Registry {
			registry := hands(t, etcd.Endpoint())
			registry.Registrar = func(t testing.TB) driver.Registrar { return ownEtcd(t, etcd.Endpoint()) }
			registry.Reader = func(t testing.TB) driver.Reader {
				return behindEtcd{newClient(t, &readnodediscovery.Options{MaxBackoff: time.Second}, node.address)}
			}
			return registry
		},
		Kill:        func(testing.TB) { etcd.Kill() },
		Revive:      func(testing.TB) { etcd.Restart() },
		EngineFuncs: testenv.Goroutines(),
		Polls:       2 / heartbeat.Seconds(),
	})
}

// behindEtcd is a client with the registrar's system: the suite expects a single one.
type behindEtcd struct{ *client }

func (behindEtcd) System() string { return "etcd" }

// owned is a registry that closes its client.
type owned struct {
	*kvdiscovery.Registry
	end func()
}

func (o owned) Close() error {
	o.end()
	return nil
}

func ownEtcd(t testing.TB, endpoint string) owned {
	t.Helper()
	registry, end, err := openRegistry([]string{endpoint})
	if err != nil {
		t.Fatal(err)
	}
	return owned{registry, end}
}

// TestRecord runs the promises of a reader, with faults of etcd and of the network between client and node, and settles the driver's record.
// TestContract has a registrar in addition, which is not the driver's.
func TestRecord(t *testing.T) {
	etcd := testenv.Etcd(t)
	node := startChild(t, etcd.Endpoint(), heartbeat)
	proxy := testenv.Proxy(t, node.address)
	discoverytest.Run(t, discoverytest.Backend{
		Record: "testdata/contract.json",
		Begin: func(t testing.TB) discoverytest.Registry {
			registry := hands(t, etcd.Endpoint())
			registry.Reader = func(t testing.TB) driver.Reader {
				return newClient(t, &readnodediscovery.Options{MaxBackoff: time.Second}, proxy.Endpoint())
			}
			return registry
		},
		Kill:         func(testing.TB) { etcd.Kill() },
		Revive:       func(testing.TB) { etcd.Restart() },
		Pause:        func(testing.TB) { etcd.Pause() },
		Resume:       func(testing.TB) { etcd.Resume() },
		Cut:          func(testing.TB) { proxy.Cut() },
		Drop:         func(testing.TB) { proxy.Drop() },
		Heal:         func(testing.TB) { proxy.Heal() },
		EngineFuncs:  testenv.Goroutines(),
		Polls:        2 / heartbeat.Seconds(),
		DefaultPolls: 2 / readnode.DefaultHeartbeat.Seconds(),
	})
}

// hands returns the hooks that write to etcd as other programs do.
func hands(t testing.TB, endpoint string) discoverytest.Registry {
	t.Helper()
	client := etcdClient(t, endpoint)
	store := kv.New(etcdkv.New(client, nil), &kv.Options{Telemetry: telemetry.Off()})
	t.Cleanup(func() { _ = store.Close() })
	hooks := recordtest.Hooks(store)
	hooks.End = func(testing.TB) { _, _ = store.Close(), client.Close() }
	return hooks
}
