package natskv_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/go-os/go-os/internal/tooling/suite"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/kvtest"
	"github.com/go-os/go-os/state/kv/natskv"
)

// owner closes the connection with the driver. Each driver has its own connection, so that leaks are detected.
type owner struct {
	*natskv.Driver
	js jetstream.JetStream
}

func (o *owner) Close() error {
	err := o.Driver.Close()
	o.js.Conn().Close()
	return err
}

const bucket = "suite"

func defaults(testing.TB) driver.Capabilities { return natskv.New(nil, bucket, nil).Capabilities() }

func connect(t testing.TB, urls ...string) *owner {
	t.Helper()
	conn, err := nats.Connect(strings.Join(urls, ","), nats.DontRandomize(), nats.IgnoreDiscoveredServers(), nats.ReconnectBufSize(-1), nats.MaxReconnects(-1),
		nats.ReconnectWait(100*time.Millisecond), nats.PingInterval(2*time.Second), nats.MaxPingsOutstanding(2), nats.Timeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return &owner{Driver: natskv.New(js, bucket, &natskv.Options{Durable: true}), js: js}
}

// backend returns a driver behind a network that can be cut, and one that bypasses it.
func backend(t testing.TB) kvtest.Backend {
	engine := testenv.NATS(t)
	network := testenv.Proxy(t, engine.Addr(0))
	return kvtest.Backend{
		EngineFuncs: testenv.Goroutines(),
		Open: func(t testing.TB) driver.Driver {
			o := connect(t, "nats://"+network.Endpoint())
			renew(t, o.js, 1)
			return o
		},
		Restart: func(t testing.TB, old driver.Driver) driver.Driver {
			engine.Kill()
			engine.Restart()
			kvtest.Awake(t, old)
			return old
		},
		Kill:    func(testing.TB) { engine.Kill() },
		Revive:  func(testing.TB) { engine.Restart() },
		Pause:   func(testing.TB) { engine.Pause() },
		Resume:  func(testing.TB) { engine.Resume() },
		Compact: compact,
		Cut:     func(testing.TB) { network.Cut() },
		Drop:    func(testing.TB) { network.Drop() },
		Slow:    func(_ testing.TB, latency, jitter time.Duration) { network.Slow(latency, jitter) },
		Heal:    func(testing.TB) { network.Heal() },
		Beside:  func(t testing.TB) driver.Driver { return connect(t, engine.URL()) },

		Requests: engine.Requests,
		Defaults: defaults,
	}
}

// renew recreates the bucket.
func renew(t testing.TB, js jetstream.JetStream, replicas int) {
	t.Helper()
	if err := js.DeleteKeyValue(t.Context(), bucket); err != nil && !errors.Is(err, jetstream.ErrBucketNotFound) {
		t.Fatal(err)
	}
	config := natskv.Config(bucket)
	config.Replicas = replicas
	// The server answers a deletion before the bucket's files are gone. They may then block the creation of the next bucket.
	testenv.Eventually(t, 10*time.Second, "a new bucket", func() error {
		_, err := js.CreateKeyValue(t.Context(), config)
		return err
	})
}

// cluster returns a driver on three servers. Each further driver has another one of them as its first server.
func cluster(t testing.TB) kvtest.Backend {
	servers := testenv.NATSCluster(t, 3)
	urls, next := servers.URLs(), 0
	revive := func(t testing.TB) { // an election takes 4 to 9 s, and may be repeated
		servers.Restart()
		leader(t, urls)
	}
	return kvtest.Backend{
		EngineFuncs: testenv.Goroutines(),
		Open: func(t testing.TB) driver.Driver {
			o := connect(t, urls...)
			renew(t, o.js, 3)
			return o
		},
		Beside: func(t testing.TB) driver.Driver {
			next++
			at := next % len(urls)
			return connect(t, slices.Concat(urls[at:], urls[:at])...)
		},
		Restart: func(t testing.TB, old driver.Driver) driver.Driver {
			servers.Kill()
			revive(t)
			kvtest.Awake(t, old)
			return old
		},
		Kill:       func(testing.TB) { servers.Kill() },
		Revive:     revive,
		Pause:      func(testing.TB) { servers.Pause() },
		Resume:     func(testing.TB) { servers.Resume() },
		KillLeader: func(t testing.TB) { servers.Node(leader(t, urls)).Kill() },
		Compact:    compact,
		Defaults:   defaults,
	}
}

// leader returns the name of the server that is the bucket's leader.
func leader(t testing.TB, urls []string) (name string) {
	t.Helper()
	o := connect(t, urls...)
	defer o.Close()
	testenv.Eventually(t, time.Minute, "a leader of the bucket", func() error {
		stream, err := o.js.Stream(t.Context(), "KV_"+bucket)
		if err != nil {
			return err
		}
		if name = stream.CachedInfo().Cluster.Leader; name == "" {
			return errors.New("the bucket has no leader")
		}
		return nil
	})
	return name
}

// compact removes the bucket's delete markers.
func compact(t testing.TB, s driver.Driver) {
	kv, err := s.(*owner).js.KeyValue(t.Context(), bucket)
	if err == nil {
		err = kv.PurgeDeletes(t.Context(), jetstream.DeleteMarkersOlderThan(-1))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestContract(t *testing.T) {
	b := backend(t)
	b.Record = "testdata/contract.json"
	kvtest.Run(t, b)
}

// TestContractCluster runs the suite against a bucket on three servers whose leader can be killed.
func TestContractCluster(t *testing.T) {
	suite.Long(t)
	b := cluster(t)
	b.Record = "testdata/contract-three-nodes.json"
	kvtest.Run(t, b)
}

func FuzzKeys(f *testing.F) { kvtest.Fuzz(f, backend(f)) }

// TestNoBucket uses a bucket that does not exist. Every call returns an error with the remedy, and the store works once the bucket is
// created.
func TestNoBucket(t *testing.T) {
	t.Parallel()
	s := connect(t, testenv.NATS(t).URL())
	defer s.Close()
	put := func() error {
		_, err := s.Put(t.Context(), driver.PutRequest{Key: "k"})
		return err
	}
	get := func() error {
		_, err := s.Get(t.Context(), "k")
		return err
	}
	for name, call := range map[string]func() error{
		"Get": get, "Put": put,
		"Delete": func() error { return s.Delete(t.Context(), driver.DeleteRequest{Key: "k", IfVersion: 7}) },
		"List": func() error {
			_, err := s.List(t.Context(), driver.ListRequest{Limit: 1})
			return err
		},
		"Watch": func() error {
			return s.Watch(t.Context(), driver.WatchRequest{}, func(driver.Event) error { return nil })
		},
	} {
		err := call()
		if !errors.Is(err, driver.ErrUnavailable) || !strings.Contains(err.Error(), `no bucket "suite"`) || !strings.Contains(err.Error(), "create it with natskv.Config") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := s.js.CreateKeyValue(t.Context(), natskv.Config(bucket)); err != nil {
		t.Fatal(err)
	}
	if err := get(); !errors.Is(err, driver.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	if err := put(); err != nil {
		t.Error(err)
	}
}

// TestNewBucket reads and writes after the bucket was recreated under its name, with a sequence below what the store has seen.
func TestNewBucket(t *testing.T) {
	t.Parallel()
	s := connect(t, testenv.NATS(t).URL())
	defer s.Close()
	renew(t, s.js, 1)
	for range 20 {
		if _, err := s.Put(t.Context(), driver.PutRequest{Key: "k", Value: []byte("old")}); err != nil {
			t.Fatal(err)
		}
	}
	renew(t, s.js, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	synced := errors.New("synced")
	if err := s.Watch(ctx, driver.WatchRequest{}, func(driver.Event) error { return synced }); !errors.Is(err, synced) {
		t.Errorf("Watch: %v", err)
	}
	if _, err := s.Get(ctx, "k"); !errors.Is(err, driver.ErrNotFound) {
		t.Errorf("Get: %v, want ErrNotFound", err)
	}
}

// TestForeignNames lists a bucket with a name from another program. The list returns an error, and does not invent a key.
func TestForeignNames(t *testing.T) {
	t.Parallel()
	s := backend(t).Open(t).(*owner)
	defer s.Close()
	kv, err := s.js.KeyValue(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a=2", "a=zz", "=="} {
		if _, err := kv.Put(t.Context(), name, nil); err != nil {
			t.Fatal(err)
		}
		if page, err := s.List(t.Context(), driver.ListRequest{Limit: 10}); err == nil || !strings.Contains(err.Error(), "is no key of this driver") {
			t.Errorf("with %q in the bucket: %v, %v", name, page, err)
		}
		if err := kv.Purge(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
}
