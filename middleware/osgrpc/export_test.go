package osgrpc

import (
	"google.golang.org/grpc/resolver"

	"github.com/go-os/go-os/control/discovery"
)

// Builder returns the resolver.Builder of WithDiscovery.
func Builder(r *discovery.Resolver, opts *DiscoveryOptions) resolver.Builder {
	return newDirectory(r, opts)
}
