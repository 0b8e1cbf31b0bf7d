// Command discovery is the service of docs/guides/discovery.md: storefront, which registers itself and finds the service prices by name.
package main

import (
	"context"
	"errors"
	"log"
	"os"
	"os/signal"
	"syscall"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/discovery/kvdiscovery"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/etcdkv"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{"127.0.0.1:2379"}})
	if err != nil {
		log.Fatal("storefront: ", err)
	}
	store := kv.New(etcdkv.New(client, nil), nil)
	if err := errors.Join(run(ctx, store, "127.0.0.1:8080"), store.Close(), client.Close()); err != nil {
		log.Fatal("storefront: ", err)
	}
}

// run serves the storefront until ctx ends.
func run(ctx context.Context, store *kv.Store, address string) error {
	registry, err := kvdiscovery.New(store.Namespace("services"), nil)
	if err != nil {
		return err
	}
	registrar, err := discovery.NewRegistrar(registry, nil)
	if err != nil {
		return err
	}
	defer registrar.Close()
	resolver, err := discovery.NewResolver(registry, nil)
	if err != nil {
		return err
	}
	defer resolver.Close()
	client, err := newClient(resolver)
	if err != nil {
		return err
	}
	return serve(ctx, registrar, client, address)
}
