package kv_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.uber.org/zap"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/etcdkv"
	"github.com/go-os/go-os/telemetry"
)

// etcd is a real etcd server with a store on it.
type etcd struct {
	*testenv.EtcdHandle
	client *clientv3.Client
	store  *kv.Store
}

func openEtcd(t testing.TB) *etcd {
	t.Helper()
	e := &etcd{EtcdHandle: testenv.Etcd(t)}
	e.client = etcdClient(t, e.Endpoint())
	e.store = kv.New(etcdkv.New(e.client, nil), &kv.Options{Telemetry: telemetry.Off()})
	t.Cleanup(func() { _ = e.store.Close() })
	return e
}

// connect opens another store with its own client.
func connect(t testing.TB, endpoint string, p telemetry.Providers) *kv.Store {
	t.Helper()
	s := kv.New(etcdkv.New(etcdClient(t, endpoint), nil), &kv.Options{Telemetry: p})
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func etcdClient(t testing.TB, endpoint string) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{endpoint}, Logger: zap.NewNop(), DialTimeout: 5 * time.Second,
		DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 2 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// TestMirrorOnEtcd mirrors a real etcd. The test cuts the network while the history is compacted beyond the position of the watch, and
// kills the server. No reader misses an item that exists, and the mirror receives every change.
func TestMirrorOnEtcd(t *testing.T) {
	const items, readers = 10_000, 50
	e := openEtcd(t)
	network := testenv.Proxy(t, e.Endpoint())
	began := time.Now()
	e.fill(t, items)
	t.Logf("written after %s", time.Since(began))
	names := &eventNames{}
	p := telemetry.Off()
	p.LoggerProvider = sdklog.NewLoggerProvider(sdklog.WithProcessor(names))
	mirror, err := kv.NewMirror[int](connect(t, network.Endpoint(), p), "m/", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- mirror.Run(ctx) }()
	<-mirror.Complete()
	t.Logf("complete after %s", time.Since(began))
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	for range readers {
		group.Go(func() { readAll(ctx, t, mirror, items, mirrorKey(3)) })
	}
	follows(t, mirror, e.store, "while all is well", 1)

	network.Cut()
	stale(t, mirror)
	if err := e.store.Delete(ctx, mirrorKey(3)); err != nil {
		t.Fatal(err)
	}
	e.compact(t)
	network.Heal()
	follows(t, mirror, e.store, "after a compaction", 2)
	if _, ok := mirror.Get(mirrorKey(3)); ok {
		t.Error("an item that was deleted while the network was cut is still there")
	}
	if n := names.count("goos.kv.watch.resync m/"); n != 2 {
		t.Errorf("%d snapshots, want one at first and one after the compaction: %q", n, names.names)
	}
	t.Logf("compacted after %s", time.Since(began))

	e.Kill()
	stale(t, mirror)
	e.Restart()
	follows(t, mirror, e.store, "after a restart", 3)
	t.Logf("done after %s", time.Since(began))
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// compact discards etcd's whole history.
func (e *etcd) compact(t *testing.T) {
	t.Helper()
	resp, err := e.client.Get(t.Context(), "revision")
	if err == nil {
		_, err = e.client.Compact(t.Context(), resp.Header.Revision)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// stale waits until a mirror reports that its engine is unreachable.
func stale(t *testing.T, m *kv.Mirror[int]) {
	t.Helper()
	testenv.Eventually(t, 60*time.Second, "a stale mirror", func() error {
		if status := m.Status(); status.State != kv.MirrorStale || status.Stale <= 0 {
			return fmt.Errorf("it is %+v", status)
		}
		return nil
	})
}

func mirrorKey(n int) string { return fmt.Sprintf("m/%06d", n) }

// fill writes items in transactions of 100.
func (e *etcd) fill(t *testing.T, items int) {
	t.Helper()
	for n := 0; n < items; n += 100 {
		var puts []clientv3.Op
		for i := n; i < min(n+100, items); i++ {
			puts = append(puts, clientv3.OpPut(mirrorKey(i), "0"))
		}
		if _, err := e.client.Txn(t.Context()).Then(puts...).Commit(); err != nil {
			t.Fatal(err)
		}
	}
}

// readAll reads all items in turn until ctx ends. All must exist except one, which is deleted meanwhile.
func readAll(ctx context.Context, t *testing.T, m *kv.Mirror[int], items int, deleted string) {
	for n := rand.IntN(items); ctx.Err() == nil; n++ {
		key := mirrorKey(n % items)
		if _, ok := m.Get(key); !ok && key != deleted || m.Len() < items-1 {
			t.Errorf("a reader misses %q, or finds %d items of %d", key, m.Len(), items)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// follows writes one item and waits until the mirror shows it.
func follows(t *testing.T, m *kv.Mirror[int], s *kv.Store, when string, value int) {
	t.Helper()
	testenv.Eventually(t, 60*time.Second, "a write "+when, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := s.Put(ctx, mirrorKey(7), []byte(strconv.Itoa(value)))
		return err
	})
	testenv.Eventually(t, 60*time.Second, "the mirror "+when, func() error {
		it, ok := m.Get(mirrorKey(7))
		if status := m.Status(); !ok || it.Value != value || status.State != kv.MirrorCurrent {
			return fmt.Errorf("it shows %+v, and is %+v; want the value %d", it, status, value)
		}
		return nil
	})
}
