package osgrpc

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/resolver"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router"
)

// Builder returns the resolver.Builder of WithDiscovery.
func Builder(r *discovery.Resolver, opts *DiscoveryOptions) resolver.Builder {
	return newDirectory(r, opts)
}

// Prober returns the router.Prober of a service, and the options of WithDiscovery.
func Prober(r *discovery.Resolver, opts *DiscoveryOptions, service string) (router.Prober, []grpc.DialOption) {
	d := newDirectory(r, opts)
	return d.service(service), d.options()
}
