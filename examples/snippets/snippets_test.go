// Package snippets compiles and runs the short programs of README.md; a test of internal/tooling/arch compares them.
package snippets

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/state/sync"
	"github.com/go-os/go-os/state/sync/memsync"
)

func Example_keyValue() {
	ctx := context.Background()

	store := kv.New(memkv.New(nil), nil) // or etcdkv, consulkv, natskv, rediskv, boltkv, …
	version, err := store.Put(ctx, "cart/7", []byte("two apples"), kv.TTL(time.Hour))
	if err != nil {
		log.Fatal(err)
	}
	_, err = store.Put(ctx, "cart/7", []byte("three apples"), kv.IfVersion(version)) // ErrConflict if somebody was faster

	fmt.Println(err)
	_, err = store.Put(ctx, "cart/7", []byte("no apples"), kv.IfVersion(version))
	fmt.Println(errors.Is(err, kv.ErrConflict), store.Close())
	// Output:
	// <nil>
	// true <nil>
}

func Example_lock() {
	ctx := context.Background()

	session := sync.New(memsync.New(nil), nil) // or etcdsync, consulsync, pgsync, redissync
	err := session.Mutex("settlement").Do(ctx, func(ctx context.Context, g *sync.Grant) error {
		return settle(ctx, g.Token()) // ctx ends before anybody else can have the lock
	})

	fmt.Println(err, session.Close())
	// Output: <nil> <nil>
}

func Example_configuration() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	type Shop struct{ Greeting string }

	cfg, err := config.Load[Shop](ctx, &config.Options{Sources: []config.Source{
		config.Required(config.File("shop.yaml", nil)), config.Env("SHOP_", os.Environ()), // later ones win
	}})
	if err != nil {
		log.Fatal(err) // every mistake, with its file, line and key
	}
	go cfg.Run(ctx)                 // follows the file
	fmt.Println(cfg.Get().Greeting) // what is in force: the last good version

	// Output: good morning
}

func settle(ctx context.Context, _ sync.Token) error { return ctx.Err() }
