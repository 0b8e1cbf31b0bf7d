package near_test

import (
	"context"
	"fmt"
	"time"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/state/kv/near"
)

func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	store := kv.New(memkv.New(nil), nil)
	defer store.Close()
	_, _ = store.Put(ctx, "feature/dark", []byte("on"))

	cache := near.New(store, &near.Options{Prefix: "feature/", MaxStale: time.Minute})
	ran := make(chan error)
	go func() { ran <- cache.Run(ctx) }()

	item, err := cache.Get(ctx, "feature/dark") // from memory after the first read
	fmt.Println(string(item.Value), err)
	cancel()
	fmt.Println(<-ran)
	// Output:
	// on <nil>
	// <nil>
}
