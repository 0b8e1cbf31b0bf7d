package bench

import (
	"context"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/rueidis"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/etcdkv"
	"github.com/go-os/go-os/state/kv/memcachedkv"
	"github.com/go-os/go-os/state/kv/natskv"
	"github.com/go-os/go-os/state/kv/rediskv"
)

const (
	// close allows the same mean time and the same 99th percentile, or five hundredths more.
	close = 1.05
	// little is how long the observation of a call may take, with caches that are cold after a round trip.
	little = 10 * time.Microsecond
)

// Pairs are the engines that a store may not slow down. On loopback some answer within twenty microseconds, of which a span and a point of
// the SDK are a tenth. There the added time is bounded, and the ratio only at a distance of a millisecond.
var Pairs = []Pair{
	{Name: "etcdkv, Get", Most: close, Block: 500, Setup: etcdGet},
	{Name: "etcdkv, Put", Most: close, Block: 250, Setup: etcdPut},
	{Name: "rediskv, Get", Added: little, Block: 1000, Setup: redisGet},
	{Name: "rediskv, Put", Added: little, Block: 500, Setup: redisPut},
	{Name: "natskv, Get", Added: little, Block: 1000, Setup: natsGet},
	{Name: "natskv, Put", Added: little, Block: 500, Setup: natsPut},
	{Name: "memcachedkv, Get", Added: little, Block: 1000, Setup: memcachedGet},
	{Name: "memcachedkv, Put", Added: little, Block: 1000, Setup: memcachedPut},
	{Name: "rediskv, Get, 1 ms away", Far: true, Most: close, Block: 200, Setup: redisGet},
	{Name: "rediskv, Put, 1 ms away", Far: true, Most: close, Block: 200, Setup: redisPut},
	{Name: "natskv, Get, 1 ms away", Far: true, Most: close, Block: 200, Setup: natsGet},
	{Name: "natskv, Put, 1 ms away", Far: true, Most: close, Block: 200, Setup: natsPut},
	{Name: "memcachedkv, Get, 1 ms away", Far: true, Most: close, Block: 200, Setup: memcachedGet},
	{Name: "memcachedkv, Put, 1 ms away", Far: true, Most: close, Block: 200, Setup: memcachedPut},
}

// through returns Get and Put of a store on a driver.
func through(t testing.TB, d driver.Driver) (get, put func() error) {
	ctx, next := requests(t), turn()
	s := kv.New(d, &kv.Options{Name: "bench", Telemetry: telemetryOn})
	t.Cleanup(func() { _ = s.Close() })
	value := make([]byte, kvSize)
	get = func() error { _, err := s.Get(ctx(), next()); return err }
	put = func() error { _, err := s.Put(ctx(), next(), value); return err }
	return get, put
}

func putRequest(key string, value []byte) driver.PutRequest {
	return driver.PutRequest{Key: key, Value: value}
}

func filled(t testing.TB, d driver.Driver) driver.Driver {
	fill(t, func(ctx context.Context, key string, value []byte) error {
		_, err := d.Put(ctx, putRequest(key, value))
		return err
	})
	return d
}

func etcdClient(t testing.TB, way way) *clientv3.Client {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{way(testenv.Etcd(t).Endpoint())}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func etcdGet(t testing.TB, way way) (raw, ours func() error) {
	client, next, ctx := etcdClient(t, way), turn(), requests(t)
	ours, _ = through(t, filled(t, etcdkv.New(client, nil)))
	return func() error { _, err := client.Get(ctx(), next()); return err }, ours
}

func etcdPut(t testing.TB, way way) (raw, ours func() error) {
	client, next, ctx := etcdClient(t, way), turn(), requests(t)
	_, ours = through(t, etcdkv.New(client, nil))
	value := string(make([]byte, kvSize))
	return func() error { _, err := client.Put(ctx(), next(), value); return err }, ours
}

func redisClient(t testing.TB, way way) rueidis.Client {
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{way(testenv.Redis(t).Addr(0))}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func rawRedisGet(t testing.TB, client rueidis.Client) func() error {
	next, ctx := turn(), requests(t)
	return func() error {
		_, err := client.Do(ctx(), client.B().Get().Key(next()).Build()).AsBytes()
		return err
	}
}

func redisGet(t testing.TB, way way) (raw, ours func() error) {
	client := redisClient(t, way)
	ours, _ = through(t, filled(t, rediskv.New(client, nil)))
	return rawRedisGet(t, client), ours
}

func redisPut(t testing.TB, way way) (raw, ours func() error) {
	client, next, ctx := redisClient(t, way), turn(), requests(t)
	_, ours = through(t, rediskv.New(client, nil))
	value := rueidis.BinaryString(make([]byte, kvSize))
	return func() error {
		return client.Do(ctx(), client.B().Set().Key(next()).Value(value).Build()).Error()
	}, ours
}

func natsBucket(t testing.TB, way way) (jetstream.JetStream, jetstream.KeyValue) {
	conn, err := nats.Connect("nats://"+way(testenv.NATS(t).Addr(0)), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := js.CreateKeyValue(context.Background(), natskv.Config("bench"))
	if err != nil {
		t.Fatal(err)
	}
	return js, bucket
}

// dotted returns keys in the form that the client of NATS takes.
func dotted() func() string {
	next := turn()
	return func() string { return "raw." + next()[len("bench/"):] }
}

func natsGet(t testing.TB, way way) (raw, ours func() error) {
	js, bucket := natsBucket(t, way)
	ours, _ = through(t, filled(t, natskv.New(js, "bench", nil)))
	next := dotted()
	for range kvItems {
		if _, err := bucket.Put(context.Background(), next(), make([]byte, kvSize)); err != nil {
			t.Fatal(err)
		}
	}
	ctx := requests(t)
	return func() error { _, err := bucket.Get(ctx(), next()); return err }, ours
}

func natsPut(t testing.TB, way way) (raw, ours func() error) {
	js, bucket := natsBucket(t, way)
	_, ours = through(t, natskv.New(js, "bench", nil))
	next, ctx, value := dotted(), requests(t), make([]byte, kvSize)
	return func() error { _, err := bucket.Put(ctx(), next(), value); return err }, ours
}

func memcachedGet(t testing.TB, way way) (raw, ours func() error) {
	client, next := memcache.New(way(testenv.Memcached(t).Addr(0))), turn()
	ours, _ = through(t, filled(t, memcachedkv.New(client, nil)))
	return func() error { _, err := client.Get(next()); return err }, ours
}

func memcachedPut(t testing.TB, way way) (raw, ours func() error) {
	client, next := memcache.New(way(testenv.Memcached(t).Addr(0))), turn()
	_, ours = through(t, memcachedkv.New(client, nil))
	value := make([]byte, kvSize)
	return func() error { return client.Set(&memcache.Item{Key: next(), Value: value}) }, ours
}
