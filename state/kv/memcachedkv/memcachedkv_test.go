package memcachedkv_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/kvtest"
	"github.com/go-os/go-os/state/kv/memcachedkv"
)

// owner closes the client with the driver.
type owner struct {
	*memcachedkv.Driver
	client *memcache.Client
}

func (o *owner) Close() error { return errors.Join(o.Driver.Close(), o.client.Close()) }

func connect(addr string) *owner {
	client := memcache.New(addr)
	client.MaxIdleConns = 16
	return &owner{Driver: memcachedkv.New(client, nil), client: client}
}

// backend returns a driver behind a network that can be cut.
func backend(t testing.TB) kvtest.Backend {
	engine := testenv.Memcached(t)
	network := testenv.Proxy(t, engine.Addr(0))
	return kvtest.Backend{
		Record:      "testdata/contract.json",
		EngineFuncs: testenv.Goroutines(),
		Open: func(t testing.TB) driver.Driver {
			o := connect(network.Endpoint())
			if err := o.client.FlushAll(); err != nil {
				t.Fatal(err)
			}
			return o
		},
		Kill:   func(testing.TB) { engine.Kill() },
		Revive: func(testing.TB) { engine.Restart() },
		Pause:  func(testing.TB) { engine.Pause() },
		Resume: func(testing.TB) { engine.Resume() },
		Cut:    func(testing.TB) { network.Cut() },
		Drop:   func(testing.TB) { network.Drop() },
		Slow:   func(_ testing.TB, latency, jitter time.Duration) { network.Slow(latency, jitter) },
		Heal:   func(testing.TB) { network.Heal() },
		Restart: func(t testing.TB, old driver.Driver) driver.Driver {
			engine.Kill()
			engine.Restart()
			return old
		},
	}
}

func TestContract(t *testing.T) { kvtest.Run(t, backend(t)) }

func FuzzKeys(f *testing.F) { kvtest.Fuzz(f, backend(f)) }

// TestVersionsOutliveTheServer checks conditions across a restart, after which memcached's own tokens start over. A condition from before
// the restart must not hold.
func TestVersionsOutliveTheServer(t *testing.T) {
	t.Parallel()
	engine := testenv.Memcached(t)
	s := connect(engine.Addr(0))
	defer s.Close()
	old, err := s.Put(t.Context(), driver.PutRequest{Key: "k", Value: []byte("before")})
	if err != nil {
		t.Fatal(err)
	}
	engine.Kill()
	engine.Restart()
	testenv.Eventually(t, 5*time.Second, "memcached to answer", func() error { return s.Ping(t.Context()) })
	if _, err := s.Put(t.Context(), driver.PutRequest{Key: "k", Value: []byte("after")}); err != nil {
		t.Fatal(err)
	}
	_, err = s.Put(t.Context(), driver.PutRequest{Key: "k", Value: []byte("lost update"), IfVersion: old})
	if !errors.Is(err, driver.ErrConflict) {
		t.Errorf("a condition from before the restart: %v, want ErrConflict", err)
	}
}

// TestKeysStayApart writes keys whose escaped forms could collide.
func TestKeysStayApart(t *testing.T) {
	t.Parallel()
	s := connect(testenv.Memcached(t).Addr(0))
	defer s.Close()
	keys := []string{"a b", "a%20b", "a%2520b", "%", "%%", "%:", "%3A", strings.Repeat("x", 250), strings.Repeat("x", 251), strings.Repeat(" ", 83), strings.Repeat(" ", 84)}
	for i, key := range keys {
		if _, err := s.Put(t.Context(), driver.PutRequest{Key: key, Value: fmt.Append(nil, i), IfAbsent: true}); err != nil {
			t.Errorf("%.20q: %v", key, err)
		}
	}
	for i, key := range keys {
		if it, err := s.Get(t.Context(), key); err != nil || string(it.Value) != fmt.Sprint(i) {
			t.Errorf("%.20q holds %q, error %v; want %d", key, it.Value, err, i)
		}
	}
}

// TestContextEndsACall silences the server. A call ends with its context, before the client's own timeout.
func TestContextEndsACall(t *testing.T) {
	t.Parallel()
	engine := testenv.Memcached(t)
	s := connect(engine.Addr(0))
	defer s.Close()
	s.client.Timeout = 2 * time.Second
	engine.Pause()
	defer engine.Resume()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	asked := time.Now()
	_, err := s.Get(ctx, "k")
	if took := time.Since(asked); !errors.Is(err, context.DeadlineExceeded) || took > time.Second {
		t.Errorf("Get: %v after %s", err, took)
	}
}

func TestEngineNeverThere(t *testing.T) { kvtest.NeverThere(t, connect("127.0.0.1:1")) }
