package etcdkv_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/telemetry"
)

// copyOf is what a watch shows of a prefix.
type copyOf struct {
	mu      sync.Mutex
	keys    map[string]bool
	synced  bool
	resyncs int
}

// follow keeps a copy of all keys until the test ends.
func follow(t *testing.T, s *kv.Store) *copyOf {
	t.Helper()
	c := &copyOf{keys: map[string]bool{}}
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	t.Cleanup(work.Wait)
	t.Cleanup(cancel)
	work.Go(func() {
		for event, err := range s.WatchPrefix(ctx, "", kv.Current()) {
			if err != nil {
				t.Error(err)
				return
			}
			c.apply(event)
		}
	})
	return c
}

func (c *copyOf) apply(e kv.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch e.Kind {
	case kv.EventResync:
		clear(c.keys)
		c.resyncs++
		c.synced = false
	case kv.EventPut:
		c.keys[e.Item.Key] = true
	case kv.EventDelete:
		delete(c.keys, e.Item.Key)
	case kv.EventSynced:
		c.synced = true
	case kv.EventLost:
		c.synced = false
	}
}

// becomes waits until the copy is in place and holds exactly these keys. Package discovery promises 60 seconds.
func (c *copyOf) becomes(t *testing.T, want ...string) {
	t.Helper()
	testenv.Eventually(t, 60*time.Second, fmt.Sprint("the watch shows ", want), func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		var got []string
		for key := range c.keys {
			got = append(got, key)
		}
		if slices.Sort(got); !c.synced || !slices.Equal(got, want) {
			return fmt.Errorf("it shows %v, in place %v, after %d resyncs", got, c.synced, c.resyncs)
		}
		return nil
	})
}

// replacement is an etcd behind a network that can be cut, a store that is not, and one that is.
type replacement struct {
	*testing.T
	engine  *testenv.EtcdHandle
	network *testenv.ProxyHandle
	near    *kv.Store
}

func newReplacement(t *testing.T) *replacement {
	t.Helper()
	r := &replacement{T: t, engine: testenv.Etcd(t)}
	r.network = testenv.Proxy(t, r.engine.Endpoint())
	r.near = r.open(r.engine.Endpoint())
	return r
}

func (r *replacement) open(endpoint string) *kv.Store {
	s := kv.New(connect(r, endpoint), &kv.Options{Telemetry: telemetry.Off()})
	r.Cleanup(func() {
		if err := s.Close(); err != nil {
			r.Error(err)
		}
	})
	return s
}

func (r *replacement) put(keys ...string) {
	r.Helper()
	for _, key := range keys {
		testenv.Eventually(r, 20*time.Second, "a write", func() error {
			ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
			defer cancel()
			_, err := r.near.Put(ctx, key, nil)
			return err
		})
	}
}

// overtake writes one key again and again, so that the revision of a new cluster passes that of the old one.
func (r *replacement) overtake() {
	r.Helper()
	for range 30 {
		r.put("busy")
	}
}

// TestReplaced replaces etcd under a watch by a cluster without data, whose revision is lower or has passed the old one meanwhile.
func TestReplaced(t *testing.T) {
	for _, overtaken := range []bool{false, true} {
		t.Run(fmt.Sprintf("overtaken=%v", overtaken), func(t *testing.T) {
			t.Parallel()
			r := newReplacement(t)
			r.put("a", "b", "c", "d", "e")
			c := follow(t, r.open(r.network.Endpoint()))
			c.becomes(t, "a", "b", "c", "d", "e")
			r.network.Cut()
			r.engine.Replace()
			r.put("b", "new")
			want := []string{"b", "new"}
			if overtaken {
				r.overtake()
				want = []string{"b", "busy", "new"}
			}
			r.network.Heal()
			c.becomes(t, want...)
			r.put("z")
			c.becomes(t, append(want, "z")...)
		})
	}
}

// TestReplacedOnTheSamePort replaces etcd without any other fault: the watch reconnects as soon as it can.
func TestReplacedOnTheSamePort(t *testing.T) {
	t.Parallel()
	r := newReplacement(t)
	r.put("a", "b", "c", "d", "e")
	c := follow(t, r.near)
	c.becomes(t, "a", "b", "c", "d", "e")
	r.engine.Replace()
	r.put("new")
	c.becomes(t, "new")
}

// TestRestored sets etcd back to an earlier revision under a watch. The new history may pass the old one meanwhile. Its raft term is lower,
// because the old cluster has had more elections since the backup.
func TestRestored(t *testing.T) {
	for _, overtaken := range []bool{false, true} {
		t.Run(fmt.Sprintf("overtaken=%v", overtaken), func(t *testing.T) {
			t.Parallel()
			r := newReplacement(t)
			r.put("a", "b")
			restore := r.engine.Backup()
			for range 2 {
				r.engine.Restart()
			}
			r.put("c", "d", "e")
			if err := r.near.Delete(t.Context(), "a"); err != nil && !errors.Is(err, kv.ErrNotFound) {
				t.Fatal(err)
			}
			c := follow(t, r.open(r.network.Endpoint()))
			c.becomes(t, "b", "c", "d", "e")
			r.network.Cut()
			restore()
			want := []string{"a", "b"}
			if overtaken {
				r.overtake()
				want = append(want, "busy")
			}
			r.network.Heal()
			c.becomes(t, want...)
			r.put("z")
			c.becomes(t, append(want, "z")...)
		})
	}
}
