package engine

import (
	"fmt"

	"github.com/go-os/go-os/control/discovery/consuldiscovery"
)

// Catalog returns the registry in Consul's own catalog for a URL, catalog://:token@host:port, or catalogs:// with TLS. Errors name the flag of
// the URL. Catalog returns ErrURL as Open does. It sends no request.
func Catalog(where, flag string) (*consuldiscovery.Registry, error) {
	a, err := parse(where, flag, []string{"catalog"})
	if err != nil {
		return nil, err
	}
	if a.parameters.Has("namespace") {
		return nil, a.refuse(flag, fmt.Errorf("%w: a catalog has no namespace", ErrURL))
	}
	client, err := consulClient(a)
	if err != nil {
		return nil, a.refuse(flag, err)
	}
	return consuldiscovery.New(client, nil)
}
