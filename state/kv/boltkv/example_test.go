package boltkv_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/boltkv"
)

func Example() {
	dir, err := os.MkdirTemp("", "boltkv")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "kv.db")

	ctx := context.Background()
	for run := range 2 { // the second run finds the item of the first
		db, err := boltkv.Open(path, nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		store := kv.New(db, nil)
		item, err := store.Get(ctx, "greeting")
		fmt.Printf("run %d: %q, %v\n", run, item.Value, err)
		_, _ = store.Put(ctx, "greeting", []byte("hello"))
		if err := store.Close(); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// run 0: "", kv: get "greeting": not found
	// run 1: "hello", <nil>
}
