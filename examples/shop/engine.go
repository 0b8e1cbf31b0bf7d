package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/redis/rueidis"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/boltkv"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/etcdkv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/state/kv/rediskv"
	"github.com/go-os/go-os/telemetry"
)

// engineWithin is how long an engine may take to answer when the shop opens.
const engineWithin = 5 * time.Second

// engine is a store and the client behind it.
type engine struct {
	*kv.Store
	client func() error // closes it
}

// openEngine opens the store that a URL names: what an application chooses in its main, and the library does not know of.
func openEngine(ctx context.Context, name, flag, where string, t telemetry.Providers) (*engine, error) {
	d, client, err := dial(flag, where)
	if err != nil {
		return nil, err
	}
	e := &engine{Store: kv.New(d, &kv.Options{Name: name, Telemetry: t}), client: client}
	ctx, cancel := context.WithTimeout(ctx, engineWithin)
	defer cancel()
	if err := e.Ping(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%s %s does not answer: is it running there? %w", flag, where, err), e.Close())
	}
	return e, nil
}

// Close ends the store, then its client.
func (e *engine) Close() error { return errors.Join(e.Store.Close(), e.client()) }

// dial returns the driver that a URL names, and what closes its client.
func dial(flag, where string) (driver.Store, func() error, error) {
	nothing := func() error { return nil }
	if where == "memory" {
		return memkv.New(nil), nothing, nil
	}
	u, err := url.Parse(where)
	switch {
	case err != nil:
	case u.Scheme == "bolt" && u.Host == "" && u.Path != "":
		store, err := boltkv.Open(u.Path, nil)
		return store, nothing, err
	case u.Scheme == "etcd" && u.Host != "":
		client, err := clientv3.New(clientv3.Config{Endpoints: strings.Split(u.Host, ","), Logger: zap.NewNop()})
		if err != nil {
			return nil, nil, err
		}
		return etcdkv.New(client, nil), client.Close, nil
	case u.Scheme == "redis" && u.Host != "":
		client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: strings.Split(u.Host, ",")})
		if err != nil {
			return nil, nil, fmt.Errorf("%s %s does not answer: is it running there? %w", flag, where, err)
		}
		return rediskv.New(client, nil), func() error { client.Close(); return nil }, nil
	}
	return nil, nil, fmt.Errorf("%s %q: must be memory, bolt:///path/of/a/file, etcd://host:port, redis://host:port: %w", flag, where, errUsage)
}
