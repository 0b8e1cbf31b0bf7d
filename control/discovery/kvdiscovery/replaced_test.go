package kvdiscovery_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/etcdkv"
	"github.com/go-os/go-os/telemetry"
)

// TestReplacedEtcd sets etcd back to an earlier revision, and replaces it by a cluster without data. No request fails, all instances are
// registered again within a TTL, and the reader follows the new cluster.
func TestReplacedEtcd(t *testing.T) {
	t.Parallel()
	engine := testenv.Etcd(t)
	client := connect(t, []string{engine.Endpoint()})
	store := kv.New(etcdkv.New(client, nil), &kv.Options{Telemetry: telemetry.Off()})
	t.Cleanup(func() { _ = store.Close() })
	a := newArena(t, ttl)
	a.answers = func(ctx context.Context) error {
		_, err := client.Get(ctx, "answer")
		return err
	}
	o := &ours{arena: a, count: countKeys(store, "orders/"), open: func() *kv.Store {
		return kv.New(etcdkv.New(connect(t, []string{engine.Endpoint()}), nil), &kv.Options{Telemetry: telemetry.Off()})
	}}
	a.contestants = []contestant{o}
	o.start()
	restore := engine.Backup()
	weigh(o, 7)
	a.run([]fault{{name: "restored", inject: restore}})
	weighs(o, 7) // the backup has an earlier weight
	weigh(o, 8)
	weighs(o, 8)
	a.run([]fault{{name: "replaced", inject: engine.Replace}})
	weighs(o, 8)
	weigh(o, 9)
	weighs(o, 9)
}

// weigh changes the weight of all servers.
func weigh(o *ours, weight int) {
	o.arena.Helper()
	for _, g := range o.servers {
		if err := g.Update(o.arena.Context(), func(i *discovery.Instance) { i.Weight = weight }); err != nil {
			o.arena.Fatal(err)
		}
	}
}

// weighs waits until the reader sees this weight of all servers, in a watch that is in place.
func weighs(o *ours, weight int) {
	o.arena.Helper()
	testenv.Eventually(o.arena, time.Minute, fmt.Sprint("the reader sees the weight ", weight), func() error {
		s, err := o.resolver.Lookup(o.arena.Context(), "orders")
		if err != nil {
			return err
		}
		for _, i := range s.Instances {
			if i.Weight != weight {
				return fmt.Errorf("%s weighs %d", i.ID, i.Weight)
			}
		}
		if len(s.Instances) != instances || s.Held > 0 || s.Age() > 0 {
			return fmt.Errorf("%d instances, %d of them held, out of reach for %v", len(s.Instances), s.Held, s.Age())
		}
		return nil
	})
}
