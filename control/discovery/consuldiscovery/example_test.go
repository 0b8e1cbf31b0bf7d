package consuldiscovery_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/hashicorp/consul/api"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/discovery/consuldiscovery"
)

// Register an instance in Consul's catalog. Here no agent answers at the address: the registration waits for one, and its check reports
// that.
func Example() {
	ctx := context.Background()
	config := api.DefaultConfig() // CONSUL_HTTP_ADDR, CONSUL_HTTP_TOKEN and so on
	config.Address = "127.0.0.1:1"
	client, err := api.NewClient(config)
	if err != nil {
		log.Fatal(err)
	}
	registry, err := consuldiscovery.New(client, nil)
	if err != nil {
		log.Fatal(err)
	}
	registrar, err := discovery.NewRegistrar(registry, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer registrar.Close()

	registration, err := registrar.Register(ctx, discovery.Instance{
		Service: "orders", ID: "orders-1", Weight: 100, Addresses: map[string]string{"grpc": "10.0.0.7:9000", "http": "10.0.0.7:8080"},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := registration.Check(ctx); errors.Is(err, discovery.ErrUnavailable) {
		fmt.Println("not ready: the registry is away")
	}

	// Output:
	// not ready: the registry is away
}
