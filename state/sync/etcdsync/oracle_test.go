package etcdsync_test

import (
	"context"
	"errors"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/sync"
	"github.com/go-os/go-os/state/sync/etcdsync"
)

// TestOraclePhantomLeader runs the same scenario with etcd's own Election and with ours: a candidate waits, its lease is revoked, and the
// leader resigns. etcd's candidate becomes leader although it has no key in etcd, so another process may lead as well (etcd#19597). If
// this test fails on etcd's Election, the bug was fixed: update docs/design.md.
func TestOraclePhantomLeader(t *testing.T) {
	t.Parallel()
	client := dial(t, testenv.Etcd(t).Endpoint())
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var sessions [3]*concurrency.Session
	var elections [3]*concurrency.Election
	for i := range sessions {
		s := etcdSession(t, client, 10*time.Second)
		defer s.Close()
		sessions[i], elections[i] = s, concurrency.NewElection(s, "oracle")
	}
	if err := elections[0].Campaign(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error, 1)
	go func() { waiting <- elections[1].Campaign(ctx, "b") }()
	time.Sleep(300 * time.Millisecond)
	if _, err := client.Revoke(ctx, sessions[1].Lease()); err != nil {
		t.Fatal(err)
	}
	if err := elections[0].Resign(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; err != nil {
		t.Errorf("etcd's candidate is told that its lease is gone: %v", err)
	}
	if _, err := elections[2].Leader(ctx); !errors.Is(err, concurrency.ErrElectionNoLeader) {
		t.Errorf("Leader: %v; want ErrElectionNoLeader, though one believes that it leads", err)
	}
	if err := elections[2].Campaign(ctx, "c"); err != nil {
		t.Errorf("a third candidate, beside the one that believes that it leads: %v", err)
	}
	// The promise "lease/revoked under a waiter" runs the same scenario with ours.
}

func etcdSession(t *testing.T, client *clientv3.Client, ttl time.Duration) *concurrency.Session {
	t.Helper()
	s, err := concurrency.NewSession(client, concurrency.WithTTL(int(ttl/time.Second)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestOracleSilentNetwork cuts off a holder, and checks whether it knows of its loss when another process gets the lock. etcd's Session
// counts from the arrival of the last renewal's answer and checks every half second. Ours counts from the sending of the renewal, less a
// margin.
func TestOracleSilentNetwork(t *testing.T) {
	t.Parallel()
	const ttl = 2 * time.Second
	engine := testenv.Etcd(t)
	network := testenv.Proxy(t, engine.Endpoint())
	far, near := dial(t, network.Endpoint()), dial(t, engine.Endpoint())
	defer far.Close()
	defer near.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()

	holder, waiter := etcdSession(t, far, ttl), etcdSession(t, near, ttl)
	defer waiter.Close()
	if err := concurrency.NewMutex(holder, "oracle").Lock(ctx); err != nil {
		t.Fatal(err)
	}
	mine := sync.New(etcdsync.New(far, nil), &sync.Options{TTL: ttl})
	defer mine.Close()
	other := sync.New(etcdsync.New(near, nil), &sync.Options{TTL: ttl})
	defer other.Close()
	g, err := mine.Mutex("m").Lock(ctx)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(ttl) // several renewals
	network.Drop()
	defer network.Heal()

	etcds := make(chan time.Time, 1)
	go func() {
		if err := concurrency.NewMutex(waiter, "oracle").Lock(ctx); err != nil {
			t.Error(err)
		}
		etcds <- time.Now()
	}()
	ours := make(chan time.Time, 1)
	go func() {
		if _, err := other.Mutex("m").Lock(ctx); err != nil {
			t.Error(err)
		}
		ours <- time.Now()
	}()
	told := make(chan time.Time, 1)
	go func() {
		<-holder.Done()
		told <- time.Now()
	}()
	<-g.Context().Done()
	ended := time.Now()
	ahead := (<-ours).Sub(ended)
	t.Logf("ours knows %s before the next holder has the lock", ahead.Round(time.Millisecond))
	if ahead <= 0 {
		t.Errorf("ours is told %s after the next holder has the lock", -ahead)
	}
	t.Logf("etcd's Session ends %s before the next holder has its Mutex", (<-etcds).Sub(<-told).Round(time.Millisecond))
}
