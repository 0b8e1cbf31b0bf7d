package main

import (
	"net"
	"testing"

	"github.com/go-os/go-os/control/discovery"
	ordersv1 "github.com/go-os/go-os/examples/shop/ordersv1"
)

// TestServices places an order by the name of the service.
func TestServices(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := named()
	ordersv1.RegisterOrdersServer(server, orders{})
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()
	registry, err := discovery.Static(discovery.Instance{
		Service: "orders", ID: "a", Weight: 100, Addresses: map[string]string{"grpc": listener.Addr().String()},
	})
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := discovery.NewResolver(registry, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resolver.Close() }()
	conn, err := discover(resolver)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	response, err := ordersv1.NewOrdersClient(conn).Place(t.Context(), &ordersv1.PlaceRequest{Product: "apple", Quantity: 2})
	if err != nil || response.GetTotal() != 500 {
		t.Errorf("%v, %v", response, err)
	}
}
