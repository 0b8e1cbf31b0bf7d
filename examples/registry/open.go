package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-os/go-os/control/discovery/dnsdiscovery"
	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/control/discovery/kvdiscovery"
	"github.com/go-os/go-os/examples/internal/engine"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/telemetry"
)

// registry is an open registry.
type registry struct {
	driver.Reader
	close func() error
}

// open opens the registry of a URL.
func open(ctx context.Context, where string, within time.Duration) (registry, error) {
	switch {
	case where == "":
		return registry{}, fmt.Errorf("-registry is missing: %w", errUsage)
	case strings.HasPrefix(where, "dns:"):
		return openDNS(where, within)
	case strings.HasPrefix(where, "catalog:"), strings.HasPrefix(where, "catalogs:"):
		return openCatalog(where)
	}
	e, err := engine.Open(ctx, where, engine.Options{
		Flag: "-registry", Schemes: []string{"etcd", "consul", "nats", "catalog", "dns"}, Within: within, Store: kv.Options{Telemetry: telemetry.Off()},
	})
	if errors.Is(err, engine.ErrURL) {
		return registry{}, fmt.Errorf("%w: %w", err, errUsage)
	}
	if err != nil {
		return registry{}, err
	}
	records, err := kvdiscovery.New(e.Store, nil)
	if err != nil {
		return registry{}, errors.Join(err, e.Close())
	}
	return registry{records, func() error { return errors.Join(records.Close(), e.Close()) }}, nil
}

// openCatalog opens the catalog of Consul.
func openCatalog(where string) (registry, error) {
	r, err := engine.Catalog(where, "-registry")
	if errors.Is(err, engine.ErrURL) {
		return registry{}, fmt.Errorf("%w: %w", err, errUsage)
	}
	if err != nil {
		return registry{}, err
	}
	return registry{r, r.Close}, nil
}

// openDNS opens dns://host:port/domain?protocol=port. Without a host, /etc/resolv.conf names the servers.
func openDNS(where string, within time.Duration) (registry, error) {
	u, err := url.Parse(where)
	if err != nil {
		return registry{}, fmt.Errorf("-registry: %w: %w", err, errUsage)
	}
	o := &dnsdiscovery.Options{
		Domain: strings.Trim(u.Path, "/"), Protocols: map[string]dnsdiscovery.Protocol{}, Timeout: max(within/4, time.Millisecond),
	}
	if u.Host != "" {
		if o.Servers, err = servers(u); err != nil {
			return registry{}, err
		}
	}
	for protocol, values := range u.Query() {
		port := 0
		if values[0] != "srv" {
			if port, err = strconv.Atoi(values[0]); err != nil || port < 1 {
				return registry{}, fmt.Errorf("-registry: %s=%s: give a port, or srv: %w", protocol, values[0], errUsage)
			}
		}
		o.Protocols[protocol] = dnsdiscovery.Protocol{Port: port}
	}
	if len(o.Protocols) == 0 {
		return registry{}, fmt.Errorf("-registry: no protocol: add ?grpc=9000, or ?grpc=srv for SRV records: %w", errUsage)
	}
	r, err := dnsdiscovery.New(o)
	if err != nil {
		return registry{}, fmt.Errorf("-registry: %w: %w", err, errUsage)
	}
	return registry{r, r.Close}, nil
}

// servers returns the DNS servers of a URL. The default port is 53.
func servers(u *url.URL) (all []string, err error) {
	for host := range strings.SplitSeq(u.Host, ",") {
		if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
			host = netip.AddrPortFrom(ip, 53).String()
		}
		if _, err := netip.ParseAddrPort(host); err != nil {
			return nil, fmt.Errorf("-registry: the DNS server %q is not an IP address: %w", host, errUsage)
		}
		all = append(all, host)
	}
	return all, nil
}

// services returns the named services, or all of the registry.
func (t *tool) services(ctx context.Context, named []string) ([]string, error) {
	if len(named) > 0 {
		return named, nil
	}
	lister, ok := t.Reader.(driver.Lister)
	if !ok {
		return nil, fmt.Errorf("%s cannot list its services: name them: %w", t.System(), errUsage)
	}
	return lister.Services(ctx)
}
