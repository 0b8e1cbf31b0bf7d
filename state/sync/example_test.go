package sync_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/state/sync"
	"github.com/go-os/go-os/state/sync/memsync"
)

// Do runs a function under a lock. The function's context ends with the lock.
func ExampleMutex_Do() {
	session := sync.New(memsync.New(nil), &sync.Options{TTL: 15 * time.Second})
	defer func() { _ = session.Close() }()

	err := session.Mutex("settlement").Do(context.Background(), func(ctx context.Context, g *sync.Grant) error {
		fmt.Println("settling under token", g.Token())
		return ctx.Err()
	})
	fmt.Println(err)
	// Output:
	// settling under token 1
	// <nil>
}

// Lock and Release take and return a lock explicitly.
func ExampleMutex_Lock() {
	session := sync.New(memsync.New(nil), nil)
	defer func() { _ = session.Close() }()
	mutex := session.Mutex("invoice/7")

	grant, err := mutex.Lock(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	_, err = mutex.TryLock(context.Background())
	fmt.Println("while it is held:", err)
	fmt.Println(grant.Release(context.Background()))
	fmt.Println(grant.Release(context.Background()))
	// Output:
	// while it is held: sync: try_acquire "invoice/7": held
	// <nil>
	// sync: release "invoice/7": not held: already released
}

// Only one process at a time runs the function, for as long as it leads.
func ExampleElection_Do() {
	session := sync.New(memsync.New(nil), nil)
	defer func() { _ = session.Close() }()

	err := session.Election("nightly").Do(context.Background(), []byte("host-a"), func(ctx context.Context, g *sync.Grant) error {
		leader, err := session.Election("nightly").Leader(ctx)
		fmt.Printf("%s leads\n", leader.Value)
		return err
	})
	fmt.Println(err)
	// Output:
	// host-a leads
	// <nil>
}

// Observe reports the current leader and every change of leader.
func ExampleElection_Observe() {
	session := sync.New(memsync.New(nil), nil)
	defer func() { _ = session.Close() }()
	candidate := session.Election("nightly")
	if _, err := candidate.Campaign(context.Background(), []byte("host-a")); err != nil {
		log.Fatal(err)
	}

	for leader, err := range session.Election("nightly").Observe(context.Background()) {
		switch {
		case err != nil:
			log.Fatal(err)
		case leader.Token == 0:
			fmt.Println("nobody leads")
			return
		}
		fmt.Printf("%s leads\n", leader.Value)
		if err := candidate.Resign(context.Background()); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// host-a leads
	// nobody leads
}

// A semaphore limits the number of concurrent holders across all processes.
func ExampleSemaphore() {
	session := sync.New(memsync.New(nil), nil)
	defer func() { _ = session.Close() }()
	exports := session.Semaphore("exports", 2)

	for range 3 {
		_, err := exports.TryAcquire(context.Background())
		fmt.Println(err)
	}
	// Output:
	// <nil>
	// <nil>
	// sync: try_acquire "exports": held
}

// A holder that was paused past its TTL, without noticing, can no longer write.
func ExampleFence() {
	session := sync.New(memsync.New(nil), nil)
	defer func() { _ = session.Close() }()
	store := kv.New(memkv.New(nil), nil)
	defer func() { _ = store.Close() }()
	ledger := sync.NewFence(store, nil)
	ctx := context.Background()

	var old sync.Token
	_ = session.Mutex("ledger").Do(ctx, func(ctx context.Context, g *sync.Grant) error {
		old = g.Token()
		return ledger.Put(ctx, g.Token(), "balance", []byte("100"))
	})
	_ = session.Mutex("ledger").Do(ctx, func(ctx context.Context, g *sync.Grant) error {
		return ledger.Put(ctx, g.Token(), "balance", []byte("80"))
	})
	err := ledger.Put(ctx, old, "balance", []byte("90"))
	fmt.Println(err)
	fmt.Println(errors.Is(err, sync.ErrFenced))
	// Output:
	// sync: fence "balance": fenced off: token 1 came after 2 had written
	// true
}

// A context derived from a grant's context does not check the clock. Lost does.
func ExampleLost() {
	session := sync.New(memsync.New(nil), nil)
	defer func() { _ = session.Close() }()
	ctx := context.Background()

	_ = session.Mutex("report").Do(ctx, func(ctx context.Context, _ *sync.Grant) error {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		fmt.Println(sync.Lost(ctx))
		return nil
	})
	fmt.Println(sync.Lost(ctx))
	// Output:
	// <nil>
	// sync: lost: not held: the context belongs to no grant
}
