package kv_test

import (
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/etcdkv"
	"github.com/go-os/go-os/telemetry"
)

// etcd is a real etcd and a store on it.
type etcd struct {
	*testenv.EtcdHandle
	client *clientv3.Client
	store  *kv.Store
}

func openEtcd(t testing.TB) *etcd {
	t.Helper()
	e := &etcd{EtcdHandle: testenv.Etcd(t)}
	e.client, e.store = e.connect(t)
	return e
}

// connect opens another store with a client of its own.
func (e *etcd) connect(t testing.TB) (*clientv3.Client, *kv.Store) {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{e.Endpoint()}, Logger: zap.NewNop(), DialTimeout: 5 * time.Second,
		DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 2 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	store := kv.New(etcdkv.New(client, nil), &kv.Options{Telemetry: telemetry.Off()})
	t.Cleanup(func() {
		_ = store.Close()
		_ = client.Close()
	})
	return client, store
}
