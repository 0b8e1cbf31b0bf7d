package main

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/middleware/osgrpc"
)

// discover returns a client of orders, which it finds by name.
func discover(resolver *discovery.Resolver) (*grpc.ClientConn, error) {
	options := osgrpc.DialOptions(&osgrpc.Options{})
	options = append(options, osgrpc.WithDiscovery(resolver, nil)...)
	return grpc.NewClient("os:///orders", append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
}

// named returns the server of orders.
func named() *grpc.Server {
	return grpc.NewServer(osgrpc.ServerOptions(&osgrpc.Options{Services: []string{"orders"}})...)
}
