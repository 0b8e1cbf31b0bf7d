package natskv_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/go-os/go-os/internal/testenv"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/kvtest"
	"github.com/go-os/go-os/state/kv/natskv"
)

// owner closes the connection with the driver: each has one of its own, so that what it leaves behind can be told.
type owner struct {
	*natskv.Store
	js jetstream.JetStream
}

func (o *owner) Close() error {
	err := o.Store.Close()
	o.js.Conn().Close()
	return err
}

const bucket = "suite"

func connect(t testing.TB, addr string) *owner {
	t.Helper()
	conn, err := nats.Connect("nats://"+addr, nats.ReconnectBufSize(-1), nats.MaxReconnects(-1),
		nats.ReconnectWait(100*time.Millisecond), nats.PingInterval(2*time.Second), nats.MaxPingsOutstanding(2), nats.Timeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return &owner{Store: natskv.New(js, bucket, &natskv.Options{Durable: true}), js: js}
}

// backend is a driver behind a network that can be cut, and one beside it.
func backend(t testing.TB) kvtest.Backend {
	engine := testenv.NATS(t)
	network := testenv.Proxy(t, engine.Addr(0))
	return kvtest.Backend{
		Open: func(t testing.TB) driver.Store {
			o := connect(t, network.Endpoint())
			if err := o.js.DeleteKeyValue(t.Context(), bucket); err != nil && !errors.Is(err, jetstream.ErrBucketNotFound) {
				t.Fatal(err)
			}
			// The server answers a deletion before the files of the bucket are gone, and may find them in its way when it makes
			// the next.
			testenv.Eventually(t, 10*time.Second, "a new bucket", func() error {
				_, err := o.js.CreateKeyValue(t.Context(), natskv.Config(bucket))
				return err
			})
			return o
		},
		Restart: func(t testing.TB, old driver.Store) driver.Store {
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
		Beside:  func(t testing.TB) driver.Store { return connect(t, engine.Addr(0)) },

		Requests: func() int64 { return messages(t, engine) },
	}
}

// compact has the bucket forget what it knows of removed keys.
func compact(t testing.TB, s driver.Store) {
	kv, err := s.(*owner).js.KeyValue(t.Context(), bucket)
	if err == nil {
		err = kv.PurgeDeletes(t.Context(), jetstream.DeleteMarkersOlderThan(-1))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// messages returns how many messages clients have sent to the server.
func messages(t testing.TB, engine *testenv.NATSHandle) int64 {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(engine.MonitorURL() + "/varz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var varz struct {
		InMsgs *int64 `json:"in_msgs"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&varz); err != nil || varz.InMsgs == nil {
		t.Fatalf("/varz has no in_msgs, error %v", err)
	}
	return *varz.InMsgs
}

func TestContract(t *testing.T) {
	b := backend(t)
	b.Record = "testdata/contract.json"
	kvtest.Run(t, b)
}

func FuzzKeys(f *testing.F) { kvtest.Fuzz(f, backend(f)) }

// TestNoBucket uses a bucket that nobody has made: the error says what to do, and the store works once it is there.
func TestNoBucket(t *testing.T) {
	s := connect(t, testenv.NATS(t).Addr(0))
	defer s.Close()
	if _, err := s.Get(t.Context(), "k"); !errors.Is(err, driver.ErrUnavailable) || !strings.Contains(err.Error(), `no bucket "suite": create it`) {
		t.Errorf("got %v", err)
	}
	if _, err := s.js.CreateKeyValue(t.Context(), natskv.Config(bucket)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "k"); !errors.Is(err, driver.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}

// TestForeignNames finds what another program has put into the bucket: a listing says so, and does not invent a key.
func TestForeignNames(t *testing.T) {
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
