package rediskv_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/rediskv"
)

// put writes a value, and fails the test if it cannot.
func put(t testing.TB, s driver.Driver, key, value string) {
	t.Helper()
	if _, err := s.Put(t.Context(), driver.PutRequest{Key: key, Value: []byte(value)}); err != nil {
		t.Fatal(err)
	}
}

// reads returns an error unless Get returns this value.
func reads(t testing.TB, s driver.Driver, key, value string) error {
	it, err := s.Get(t.Context(), key)
	if err == nil && string(it.Value) != value {
		err = fmt.Errorf("%q is %q, want %q", key, it.Value, value)
	}
	return err
}

// TestCacheIsUsed counts requests to the server. A hot key is read from it once.
func TestCacheIsUsed(t *testing.T) {
	t.Parallel()
	engine := testenv.Redis(t)
	s := connect(t, &rediskv.Options{CacheTTL: time.Minute}, engine.Addr(0))
	defer s.Close()
	put(t, s, "hot", "1")
	const times = 1000
	hits := 0
	for range times {
		if err := reads(t, s, "hot", "1"); err != nil {
			t.Fatal(err)
		}
		result := s.client.DoCache(t.Context(), s.client.B().Get().Key("hot").Cache(), time.Minute)
		if result.IsCacheHit() {
			hits++
		}
	}
	if hits != times {
		t.Errorf("%d of %d reads of a hot key came from the cache", hits, times)
	}
}

// TestCacheReadsItsOwnWrites repeatedly writes and reads one key. No read may return the previous write.
func TestCacheReadsItsOwnWrites(t *testing.T) {
	t.Parallel()
	engine := testenv.Redis(t)
	s := connect(t, &rediskv.Options{CacheTTL: time.Minute}, engine.Addr(0))
	defer s.Close()
	for i := range 3000 {
		value := fmt.Sprint(i)
		switch i % 3 {
		case 0:
			put(t, s, "k", value)
		case 1:
			it, err := s.Get(t.Context(), "k")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Put(t.Context(), driver.PutRequest{Key: "k", Value: []byte(value), IfVersion: it.Version}); err != nil {
				t.Fatal(err)
			}
		default:
			if err := s.Delete(t.Context(), driver.DeleteRequest{Key: "k"}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Get(t.Context(), "k"); !errors.Is(err, driver.ErrNotFound) {
				t.Fatalf("after delete %d Get says %v", i, err)
			}
			continue
		}
		if err := reads(t, s, "k", value); err != nil {
			t.Fatalf("after write %d: %v", i, err)
		}
	}
}

// TestCacheHearsOfOthers measures how long a read may return a value that another client has overwritten. It also checks the cache after
// a lost connection.
func TestCacheHearsOfOthers(t *testing.T) {
	t.Parallel()
	engine := testenv.Redis(t)
	network := testenv.Proxy(t, engine.Addr(0))
	s := connect(t, &rediskv.Options{CacheTTL: time.Hour}, network.Endpoint())
	defer s.Close()
	other := connect(t, nil, engine.Addr(0))
	defer other.Close()
	var longest time.Duration
	for i := range 200 {
		value := fmt.Sprint(i)
		put(t, other, "k", value)
		began := time.Now()
		for reads(t, s, "k", value) != nil {
			if longest = max(longest, time.Since(began)); longest > time.Second {
				t.Fatalf("write %d of another client is not seen after %s", i, longest)
			}
		}
	}
	t.Logf("what another client wrote was seen after %s at most", longest)

	network.Cut()
	put(t, other, "k", "while cut")
	network.Heal()
	testenv.Eventually(t, 10*time.Second, "a read after the cut", func() error {
		it, err := s.Get(t.Context(), "k")
		if err == nil && string(it.Value) != "while cut" {
			t.Fatalf("a read after a lost connection shows %q", it.Value)
		}
		return err
	})
}

// TestCacheInSilence silences the server while connections stay open. Cached values are served for CacheTTL at most.
func TestCacheInSilence(t *testing.T) {
	t.Parallel()
	engine := testenv.Redis(t)
	s := connect(t, &rediskv.Options{CacheTTL: time.Second}, engine.Addr(0))
	defer s.Close()
	put(t, s, "k", "1")
	if err := reads(t, s, "k", "1"); err != nil {
		t.Fatal(err)
	}
	read := time.Now()
	engine.Pause()
	defer engine.Resume()
	for {
		asked := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := s.Get(ctx, "k")
		cancel()
		if err != nil {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a read of a silent server says %v", err)
			}
			return
		}
		if age := asked.Sub(read); age > 1100*time.Millisecond {
			t.Fatalf("a read is answered from the cache %s after it was filled", age)
		}
	}
}

// TestCluster spreads items over three nodes.
func TestCluster(t *testing.T) {
	t.Parallel()
	nodes := testenv.RedisCluster(t, 3)
	s := connect(t, nil, nodes[0].Addr(0))
	defer s.Close()
	const items = 300
	var want []string
	for i := range items {
		key := fmt.Sprintf("c/%03d", i)
		want = append(want, key)
		put(t, s, key, "1")
		it, err := s.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Put(t.Context(), driver.PutRequest{Key: key, Value: []byte("2"), IfVersion: it.Version}); err != nil {
			t.Fatal(err)
		}
	}
	put(t, s, "elsewhere", "1")
	page, err := s.List(t.Context(), driver.ListRequest{Prefix: "c/", Limit: items + 1})
	if err != nil || len(page.Items) != items || page.Next != nil {
		t.Fatalf("%d items, next %v, error %v", len(page.Items), page.Next, err)
	}
	for i, it := range page.Items {
		if it.Key != want[i] || string(it.Value) != "2" {
			t.Errorf("item %d is %q: %q", i, it.Key, it.Value)
		}
	}
	results, err := s.GetMany(t.Context(), want)
	for i, r := range results {
		if r.Err != nil || r.Item.Key != want[i] {
			t.Errorf("%q: %v", want[i], r.Err)
		}
	}
	if err != nil || len(results) != items {
		t.Errorf("%d results, error %v", len(results), err)
	}
}
