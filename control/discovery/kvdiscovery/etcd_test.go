package kvdiscovery_test

import (
	"context"
	"errors"
	"net/url"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"go.etcd.io/etcd/client/v3/naming/resolver"
	"go.uber.org/zap"
	gresolver "google.golang.org/grpc/resolver"

	"github.com/go-os/go-os/internal/tooling/suite"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/etcdkv"
	"github.com/go-os/go-os/telemetry"
)

const ttl = 3 * time.Second

func connect(t *testing.T, endpoints []string) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, Logger: zap.NewNop(), DialTimeout: 5 * time.Second, DialKeepAliveTime: 5 * time.Second, DialKeepAliveTimeout: 2 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// etcdArena is three nodes of etcd, each behind a network that can be cut.
type etcdArena struct {
	*arena
	cluster *testenv.EtcdClusterHandle
	network []*testenv.ProxyHandle
	direct  *clientv3.Client // not through the network
}

func newEtcdArena(t *testing.T) *etcdArena {
	t.Helper()
	a := &etcdArena{arena: newArena(t, ttl), cluster: testenv.EtcdCluster(t, 3)}
	var through []string
	for _, endpoint := range a.cluster.Endpoints() {
		proxy := testenv.Proxy(t, endpoint)
		a.network, through = append(a.network, proxy), append(through, proxy.Endpoint())
	}
	a.direct = connect(t, a.cluster.Endpoints())
	a.answers = func(ctx context.Context) error {
		_, err := a.direct.Get(ctx, "answer")
		return err
	}
	store := kv.New(etcdkv.New(a.direct, nil), &kv.Options{Telemetry: telemetry.Off()})
	t.Cleanup(func() { _ = store.Close() })
	a.contestants = []contestant{
		&ours{arena: a.arena, count: countKeys(store, "services/orders/"), open: func() *kv.Store {
			return kv.New(etcdkv.New(connect(t, through), nil), &kv.Options{Telemetry: telemetry.Off()}).Namespace("services")
		}},
		&etcdNaming{arena: a.arena, endpoints: through, direct: a.direct, count: countKeys(store, namingTarget+"/")},
	}
	return a
}

// revokeAll ends all leases, as an operator can.
func (a *etcdArena) revokeAll() {
	leases, err := a.direct.Leases(a.Context())
	if err != nil {
		a.Fatal(err)
	}
	for _, l := range leases.Leases {
		if _, err := a.direct.Revoke(a.Context(), l.ID); err != nil {
			a.Fatal(err)
		}
	}
}

// wipe deletes all records.
func (a *etcdArena) wipe() {
	if _, err := a.direct.Delete(a.Context(), "\x00", clientv3.WithFromKey()); err != nil {
		a.Fatal(err)
	}
}

// compact makes etcd forget all changes up to now. Changes that no watch has read are lost for good.
func (a *etcdArena) compact() {
	resp, err := a.direct.Put(a.Context(), "unrelated", "")
	if err == nil {
		_, err = a.direct.Compact(a.Context(), resp.Header.Revision)
	}
	if err != nil {
		a.Fatal(err)
	}
}

func (a *etcdArena) each(act func(*testenv.ProxyHandle)) {
	for _, proxy := range a.network {
		act(proxy)
	}
}

// faults are all of them.
func (a *etcdArena) faults() []fault {
	cut := func() { a.each((*testenv.ProxyHandle).Cut) }
	drop := func() { a.each((*testenv.ProxyHandle).Drop) }
	heal := func() { a.each((*testenv.ProxyHandle).Heal) }
	follower := func() { a.cluster.Follower().Kill() }
	one := a.network[0]
	return []fault{
		{name: "all leases revoked", inject: a.revokeAll},
		{name: "all records deleted, compacted", inject: func() { a.wipe(); a.compact() }},
		{name: "all servers paused", inject: a.cluster.Pause, mend: a.cluster.Resume, lasts: 2},
		{name: "a follower killed", long: true, inject: follower, mend: a.cluster.Restart, lasts: 2},
		{name: "the leader killed", long: true, inject: a.cluster.KillLeader, mend: a.cluster.Restart, lasts: 2},
		{name: "all servers killed", long: true, inject: a.cluster.Kill, mend: a.cluster.Restart, lasts: 3},
		{name: "connections refused, compacted", long: true, inject: cut, mend: func() { a.compact(); heal() }, lasts: 3},
		{name: "network silent", long: true, inject: drop, mend: heal, lasts: 5},
		{name: "one endpoint of three silent", long: true, inject: one.Drop, mend: heal, lasts: 5},
		{name: "one endpoint of three slow by 2 s", long: true, inject: func() { one.Slow(2*time.Second, 0) }, mend: heal, lasts: 3},
	}
}

// TestFaultsOfEtcd injects faults into three nodes of etcd while clients send requests.
func TestFaultsOfEtcd(t *testing.T) {
	suite.Short(t) // waits for several TTLs
	t.Parallel()
	a := newEtcdArena(t)
	var short []fault
	for _, f := range a.faults() {
		if !f.long {
			short = append(short, f)
		}
	}
	a.run(short)
}

// TestFaultsOfEtcdLong injects every fault.
func TestFaultsOfEtcdLong(t *testing.T) {
	suite.Long(t)
	a := newEtcdArena(t)
	a.run(a.faults())
}

const namingTarget = "naming/orders"

// etcdNaming is etcd's own package, as its documentation shows it: an endpoint with a lease, which the client keeps alive.
type etcdNaming struct {
	arena     *arena
	endpoints []string
	direct    *clientv3.Client
	count     func(context.Context) (int, error)
	end       func()
	gresolver.ClientConn

	mu  sync.Mutex
	now []string
}

func (*etcdNaming) name() string        { return "etcd naming" }
func (*etcdNaming) must() bool          { return false }
func (*etcdNaming) report(string, bool) {}
func (n *etcdNaming) registered(ctx context.Context) (int, error) {
	return n.count(ctx)
}

// start replaces all registrations and the resolver: if one fault lost them, they would be lost in all later ones.
func (n *etcdNaming) start() {
	if n.end != nil {
		n.end()
	}
	ctx, cancel := context.WithCancel(n.arena.Context())
	n.now = nil
	var clients []*clientv3.Client
	for _, address := range n.arena.servers {
		client := connect(n.arena.T, n.endpoints)
		clients = append(clients, client)
		testenv.Eventually(n.arena, 20*time.Second, "etcd naming registers", func() error { return n.register(ctx, client, address) })
	}
	client := connect(n.arena.T, n.endpoints)
	clients = append(clients, client)
	builder, err := resolver.NewBuilder(client)
	if err != nil {
		n.arena.Fatal(err)
	}
	r, err := builder.Build(gresolver.Target{URL: url.URL{Scheme: "etcd", Path: "/" + namingTarget}}, n, gresolver.BuildOptions{})
	if err != nil {
		n.arena.Fatal(err)
	}
	n.end = sync.OnceFunc(func() {
		cancel()
		r.Close()
		for _, c := range clients {
			_ = c.Close()
		}
	})
	n.arena.Cleanup(n.end)
}

func (*etcdNaming) register(ctx context.Context, client *clientv3.Client, address string) error {
	manager, err := endpoints.NewManager(client, namingTarget)
	if err != nil {
		return err
	}
	asked, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	lease, err := client.Grant(asked, int64(ttl/time.Second))
	if err != nil {
		return err
	}
	err = manager.AddEndpoint(asked, namingTarget+"/"+address, endpoints.Endpoint{Addr: address}, clientv3.WithLease(lease.ID))
	if err != nil {
		return err
	}
	alive, err := client.KeepAlive(ctx, lease.ID)
	if err != nil {
		return errors.Join(err, asked.Err())
	}
	go func() {
		for range alive { // until the lease is lost
		}
	}()
	return nil
}

// UpdateState implements gresolver.ClientConn.
func (n *etcdNaming) UpdateState(s gresolver.State) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.now = nil
	for _, e := range s.Endpoints {
		n.now = append(n.now, e.Addresses[0].Addr)
	}
	return nil
}

func (n *etcdNaming) lookup() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.now
}
