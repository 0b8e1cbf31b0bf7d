package etcdsync_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/sync"
	"github.com/go-os/go-os/state/sync/driver"
	"github.com/go-os/go-os/state/sync/etcdsync"
)

// TestNoSpace fills etcd while locks are held and waited for. Held locks are handed over in turn, and new claims are refused.
func TestNoSpace(t *testing.T) {
	t.Parallel()
	engine := testenv.EtcdWith(t, "--quota-backend-bytes=2000000")
	raw := dial(t, engine.Endpoint())
	t.Cleanup(func() { _ = raw.Close() })
	a, b := sync.New(opens(engine.Endpoint())(t), nil), sync.New(opens(engine.Endpoint())(t), nil)
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	const seats, waiters = 2, 3
	acquire := map[string]func(*sync.Session) (*sync.Grant, error){
		"mutex":     func(s *sync.Session) (*sync.Grant, error) { return s.Mutex("m").Lock(ctx) },
		"semaphore": func(s *sync.Session) (*sync.Grant, error) { return s.Semaphore("s", seats).Acquire(ctx) },
	}
	var held []*sync.Grant
	type outcome struct {
		kind string
		err  error
	}
	got := make(chan outcome, 2*waiters)
	for kind, get := range acquire {
		for range map[string]int{"mutex": 1, "semaphore": seats}[kind] {
			g, err := get(a)
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, g)
		}
		for range waiters {
			go func() {
				g, err := get(b)
				if err == nil {
					err = g.Release(ctx)
				}
				got <- outcome{kind, err}
			}()
		}
	}
	awaitClaims(t, raw, "mutex/m", waiters+1)
	awaitClaims(t, raw, "semaphore/s", waiters+seats)

	var err error
	for err == nil {
		_, err = raw.Put(ctx, "filler/"+time.Now().String(), strings.Repeat("x", 100<<10))
	}
	if !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Fatalf("Put: %v; want no space", err)
	}
	if _, err := b.Mutex("new").TryLock(ctx); !errors.Is(err, sync.ErrUnavailable) {
		t.Errorf("TryLock without space: %v; want ErrUnavailable", err)
	}
	for _, g := range held {
		if err := g.Release(ctx); err != nil {
			t.Errorf("Release: %v", err)
		}
	}
	for range 2 * waiters {
		if o := <-got; o.err != nil {
			t.Errorf("a waiter of the %s: %v", o.kind, o.err)
		}
	}
}

// awaitClaims waits until a queue has this many claims, each with its own key.
func awaitClaims(t *testing.T, client *clientv3.Client, name string, n int) {
	t.Helper()
	testenv.Eventually(t, 20*time.Second, "the claims to be there", func() error {
		if found := claims(t, client, name); found != n {
			return errors.New("not yet")
		}
		return nil
	})
}

// TestWithdrawnWithoutSpace withdraws a claim when etcd has no space for its tombstone. The claim is deleted, and the withdrawal is not
// confirmed.
func TestWithdrawnWithoutSpace(t *testing.T) {
	t.Parallel()
	engine := testenv.EtcdWith(t, "--quota-backend-bytes=2000000")
	raw := dial(t, engine.Endpoint())
	t.Cleanup(func() { _ = raw.Close() })
	d := etcdsync.New(raw, nil)
	lease, err := d.Grant(t.Context(), 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	claim := driver.Claim{Name: "mutex/m", ID: "a1", Lease: lease, Seats: 1}
	if _, _, err := d.Acquire(t.Context(), claim, false); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = raw.Put(t.Context(), "filler/"+time.Now().String(), strings.Repeat("x", 100<<10))
	}
	if err := d.Release(t.Context(), claim); !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("Release: %v; want ErrUnavailable, since a late request may come when there is space", err)
	}
	if n := claims(t, raw, claim.Name); n != 0 {
		t.Errorf("%d claims are left", n)
	}
}

// claims counts the claims of a queue.
func claims(t *testing.T, client *clientv3.Client, name string) int {
	t.Helper()
	resp, err := client.Get(t.Context(), etcdsync.DefaultPrefix+name+"\x00", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	return int(resp.Count)
}
