package kvdiscovery_test

import (
	"context"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/go-os/go-os/internal/tooling/suite"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/consulkv"
	"github.com/go-os/go-os/telemetry"
)

// TestFaultsOfConsul injects faults into a Consul behind a network that can be cut. Its shortest TTL is 10 s.
func TestFaultsOfConsul(t *testing.T) {
	suite.Long(t)
	engine := testenv.Consul(t)
	network := testenv.Proxy(t, engine.Addr(0))
	connect := func(address string) *api.Client {
		config := api.DefaultConfig()
		config.Address = address
		client, err := api.NewClient(config)
		if err != nil {
			t.Fatal(err)
		}
		return client
	}
	open := func(address string) *kv.Store {
		return kv.New(consulkv.New(connect(address), nil), &kv.Options{Telemetry: telemetry.Off()})
	}
	direct, store := connect(engine.Addr(0)), open(engine.Addr(0))
	t.Cleanup(func() { _ = store.Close() })
	a := newArena(t, 10*time.Second)
	a.answers = func(ctx context.Context) error {
		_, _, err := direct.Session().List((&api.QueryOptions{}).WithContext(ctx))
		return err
	}
	a.contestants = []contestant{
		&ours{arena: a, count: countKeys(store, "services/orders/"), open: func() *kv.Store { return open(network.Endpoint()).Namespace("services") }},
	}
	destroy := func() {
		sessions, _, err := direct.Session().List(nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range sessions {
			if _, err := direct.Session().Destroy(s.ID, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Consul wakes no query for a key when a prefix of it is deleted recursively: see package consulkv. So each key is deleted by itself.
	wipe := func() {
		keys, _, err := direct.KV().Keys("services/orders/", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			if _, err := direct.KV().Delete(key, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	a.run([]fault{
		{name: "all sessions destroyed", inject: destroy},
		{name: "all records deleted", inject: wipe},
		{name: "server paused", inject: engine.Pause, mend: engine.Resume, lasts: 3},
		{name: "server killed", inject: engine.Kill, mend: engine.Restart, lasts: 3},
		{name: "connections refused, wiped", inject: network.Cut, mend: func() { wipe(); network.Heal() }, lasts: 3},
		{name: "network silent", inject: network.Drop, mend: network.Heal, lasts: 3},
		{name: "server slow by 1 s", inject: func() { network.Slow(time.Second, 0) }, mend: network.Heal, lasts: 2},
	})
}
