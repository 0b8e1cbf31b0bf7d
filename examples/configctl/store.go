package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/boltkv"
	"github.com/go-os/go-os/state/kv/consulkv"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/etcdkv"
	"github.com/go-os/go-os/telemetry"
)

// quiet is what the command observes itself with: its output is for people.
var quiet = telemetry.Off()

// open opens the store that a URL names, and has it answer once.
func open(ctx context.Context, where string, within time.Duration) (*kv.Store, func() error, error) {
	d, client, err := dial(where)
	if err != nil {
		return nil, nil, err
	}
	store := kv.New(d, &kv.Options{Telemetry: quiet})
	closeAll := func() error { return errors.Join(store.Close(), client()) }
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if err := store.Ping(ctx); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("-store %s does not answer: is it running there? %w", where, err), closeAll())
	}
	return store, closeAll, nil
}

// dial returns the driver that a URL names, and what closes its client.
func dial(where string) (driver.Store, func() error, error) {
	nothing := func() error { return nil }
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
	case u.Scheme == "consul" && u.Host != "":
		c := api.DefaultNonPooledConfig()
		c.Address = u.Host
		client, err := api.NewClient(c)
		if err != nil {
			return nil, nil, err
		}
		return consulkv.New(client, nil), nothing, nil
	}
	return nil, nil, fmt.Errorf("-store %q: must be etcd://host:port, consul://host:port or bolt:///path/of/a/file: %w", where, errUsage)
}
