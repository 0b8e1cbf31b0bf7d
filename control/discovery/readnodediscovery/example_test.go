package readnodediscovery_test

import (
	"context"
	"fmt"
	"log"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/discovery/readnode"
	"github.com/go-os/go-os/control/discovery/readnodediscovery"
)

// A read node follows the registry, and a client reads through it. A real node has a process of its own: see examples/readnode.
func Example() {
	registry, err := discovery.Static(
		discovery.Instance{Service: "orders", ID: "orders-1", Weight: 100, Addresses: map[string]string{"grpc": "10.0.0.7:9000"}},
		discovery.Instance{Service: "orders", ID: "orders-2", Weight: 100, Addresses: map[string]string{"grpc": "10.0.0.8:9000"}},
	)
	if err != nil {
		log.Fatal(err)
	}
	node, err := readnode.New(registry, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer node.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	defer server.Stop()
	node.Register(server)
	go server.Serve(listener)

	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	reader, err := readnodediscovery.New([]grpc.ClientConnInterface{conn}, &readnodediscovery.Options{Engine: registry})
	if err != nil {
		log.Fatal(err)
	}
	resolver, err := discovery.NewResolver(reader, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer resolver.Close()
	orders, err := resolver.Lookup(context.Background(), "orders")
	if err != nil {
		log.Fatal(err)
	}
	for _, instance := range orders.Instances {
		fmt.Println(instance.ID, instance.Addresses["grpc"])
	}
	fmt.Println(node.Clients(), "client")
	// Output:
	// orders-1 10.0.0.7:9000
	// orders-2 10.0.0.8:9000
	// 1 client
}
