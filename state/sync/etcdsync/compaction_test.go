package etcdsync_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/sync"
)

// TestCompactionUnderWaiter compacts the revision that a waiter and an observer watch from, while both are cut off. They read again and
// miss nothing.
func TestCompactionUnderWaiter(t *testing.T) {
	t.Parallel()
	engine := testenv.Etcd(t)
	network := testenv.Proxy(t, engine.Endpoint())
	near := sync.New(opens(engine.Endpoint())(t), nil)
	defer near.Close()
	far := sync.New(opens(network.Endpoint())(t), nil)
	defer far.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	held, err := near.Election("e").Campaign(ctx, []byte("near"))
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error, 1)
	go func() {
		_, err := far.Election("e").Campaign(ctx, []byte("far"))
		waiting <- err
	}()
	seen := make(chan string, 100)
	go func() {
		for leader := range far.Election("e").Observe(ctx) {
			seen <- string(leader.Value)
		}
	}()
	if got := <-seen; got != "near" {
		t.Errorf("observed %q, want near", got)
	}
	time.Sleep(300 * time.Millisecond)

	network.Cut()
	client := dial(t, engine.Endpoint())
	defer client.Close()
	var revision int64
	for i := range 50 {
		resp, err := client.Put(ctx, "other", fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		revision = resp.Header.Revision
	}
	if _, err := client.Compact(ctx, revision); err != nil {
		t.Fatal(err)
	}
	if err := held.Release(ctx); err != nil {
		t.Fatal(err)
	}
	network.Heal()
	if err := <-waiting; err != nil {
		t.Errorf("Campaign: %v", err)
	}
	for got := range seen {
		if got == "far" {
			return
		}
	}
}
