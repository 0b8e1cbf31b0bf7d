package etcdsync_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/go-os/go-os/internal/tooling/suite"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/sync"
	"github.com/go-os/go-os/state/sync/driver"
	"github.com/go-os/go-os/state/sync/etcdsync"
)

// TestSlowEndpoints holds a lock for more than two TTLs through a client with three endpoints, two of which are slower than the request
// timeout. The lock is not lost.
func TestSlowEndpoints(t *testing.T) {
	suite.Short(t) // waits for several TTLs
	t.Parallel()
	engine := testenv.Etcd(t)
	var endpoints []string
	var slow []*testenv.ProxyHandle
	for range 2 {
		network := testenv.Proxy(t, engine.Endpoint())
		slow, endpoints = append(slow, network), append(endpoints, network.Endpoint())
	}
	const ttl = 6 * time.Second
	s := sync.New(opens(append(endpoints, engine.Endpoint())...)(t), &sync.Options{TTL: ttl})
	defer s.Close()
	held, err := s.Mutex("m").Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, network := range slow {
		network.Slow(2*ttl, 0)
	}
	for began := time.Now(); time.Since(began) < 2*ttl+ttl/4; time.Sleep(100 * time.Millisecond) {
		if err := held.Lost(); err != nil {
			t.Fatalf("lost after %s: %v", time.Since(began), err)
		}
	}
}

// falseKV answers every transaction with the same responses.
type falseKV struct {
	clientv3.KV
	resp  *clientv3.TxnResponse
	asked int
}

func (f *falseKV) Txn(ctx context.Context) clientv3.Txn { return falseTxn{f.KV.Txn(ctx), f} }

type falseTxn struct {
	clientv3.Txn
	kv *falseKV
}

func (f falseTxn) Then(...clientv3.Op) clientv3.Txn { return f }

func (f falseTxn) Commit() (*clientv3.TxnResponse, error) {
	f.kv.asked++
	return f.kv.resp, nil
}

// falseWatcher emits an event at once, whatever is watched.
type falseWatcher struct{ clientv3.Watcher }

func (falseWatcher) Watch(context.Context, string, ...clientv3.OpOption) clientv3.WatchChan {
	events := make(chan clientv3.WatchResponse, 1)
	events <- clientv3.WatchResponse{Events: []*clientv3.Event{{}}}
	return events
}

// TestImpossibleAnswers returns answers that etcd never gives. A waiter returns an error, and the session backs off instead of spinning.
func TestImpossibleAnswers(t *testing.T) {
	t.Parallel()
	claim := driver.Claim{Name: "semaphore/s", ID: "me", Seats: 2, Token: 9}
	key := func(id string, revision int64) *mvccpb.KeyValue {
		return &mvccpb.KeyValue{Key: []byte(etcdsync.DefaultPrefix + claim.Name + "\x00" + id), CreateRevision: revision}
	}
	own, a, b, c := key("me", 9), key("a", 1), key("b", 2), key("c", 3)
	keys := func(kvs ...*mvccpb.KeyValue) *etcdserverpb.ResponseOp {
		return &etcdserverpb.ResponseOp{Response: &etcdserverpb.ResponseOp_ResponseRange{ResponseRange: &etcdserverpb.RangeResponse{Kvs: kvs}}}
	}
	for what, responses := range map[string][]*etcdserverpb.ResponseOp{
		"no seat, and nobody before":       {keys(own), keys(a, b, c), keys()},
		"an event, and no later revision":  {keys(own), keys(a, b, c), keys(c)},
		"an event of holders, and no more": {keys(own), keys(a, b, own), keys(b)},
	} {
		client := clientv3.NewCtxClient(t.Context())
		kv := &falseKV{KV: clientv3.NewKVFromKVClient(nil, client), resp: &clientv3.TxnResponse{Header: &etcdserverpb.ResponseHeader{Revision: 50}, Responses: responses}}
		client.KV, client.Watcher = kv, falseWatcher{}
		d := etcdsync.New(client, nil)
		if err := d.Await(t.Context(), claim); !errors.Is(err, driver.ErrUnavailable) {
			t.Errorf("%s: %v; want ErrUnavailable", what, err)
		}
		if kv.asked > 2 {
			t.Errorf("%s: asked %d times", what, kv.asked)
		}
	}
}
