package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/rueidis"
	bolterrors "go.etcd.io/bbolt/errors"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/go-os/go-os/state/kv/boltkv"
	"github.com/go-os/go-os/state/kv/consulkv"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/etcdkv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/state/kv/natskv"
	"github.com/go-os/go-os/state/kv/rediskv"
)

// nothing is the close function of an engine without a client.
func nothing() error { return nil }

// dial returns the driver that a URL names, and a function that closes its client.
func dial(ctx context.Context, a *address, o Options) (driver.Driver, func() error, error) {
	switch a.scheme {
	case memory:
		return memkv.New(nil), nothing, nil
	case "bolt":
		return openFile(a, o.Existing)
	case "etcd":
		client, err := dialEtcd(ctx, a)
		if err != nil {
			return nil, nil, err
		}
		return etcdkv.New(client, nil), client.Close, nil
	case "consul":
		return dialConsul(a)
	case "redis":
		return dialRedis(a)
	case "nats":
		return dialNATS(ctx, a)
	default:
		return nil, nil, fmt.Errorf("%w: %s keeps no items", ErrURL, a.scheme)
	}
}

// openFile opens a bolt file.
func openFile(a *address, existing bool) (driver.Driver, func() error, error) {
	if err := a.only(true, "namespace"); err != nil {
		return nil, nil, err
	}
	if _, err := os.Stat(a.Path); existing && errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("%w: check the path", ErrNoFile)
	}
	store, err := boltkv.Open(a.Path, nil)
	if errors.Is(err, bolterrors.ErrTimeout) {
		err = fmt.Errorf("%w; stop the other process, or use an engine that has a server, such as etcd", err)
	}
	if err != nil {
		return nil, nil, err
	}
	return store, nothing, nil
}

// dialEtcd returns a client of the cluster of a URL.
func dialEtcd(ctx context.Context, a *address) (*clientv3.Client, error) {
	if err := a.only(false, "ca", "cert", "key", "namespace"); err != nil {
		return nil, err
	}
	encryption, err := a.tls()
	if err != nil {
		return nil, err
	}
	name, password := a.user()
	patience := DefaultWithin
	if deadline, ok := ctx.Deadline(); ok {
		patience = time.Until(deadline)
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: a.hosts(), Username: name, Password: password, TLS: encryption,
		DialTimeout: patience, // with a user name, New waits for the server
		Logger:      zap.NewNop(),
	})
	if errors.Is(err, context.DeadlineExceeded) {
		err = &silent{err}
	}
	return client, err
}

// dialConsul returns a driver for the agent of a URL, whose password is the token.
func dialConsul(a *address) (driver.Driver, func() error, error) {
	client, err := consulClient(a)
	if err != nil {
		return nil, nil, err
	}
	return consulkv.New(client, nil), nothing, nil
}

// consulClient returns a client of the agent of a URL.
func consulClient(a *address) (*api.Client, error) {
	if err := a.only(false, "ca", "cert", "key", "namespace"); err != nil {
		return nil, err
	}
	encryption, err := a.tls()
	if err != nil {
		return nil, err
	}
	name, token := a.user()
	if name != "" {
		return nil, fmt.Errorf("%w: Consul knows no users: write %s://:token@host:port", ErrURL, a.Scheme)
	}
	c := api.DefaultNonPooledConfig()
	c.Address, c.Token = a.Host, token
	if encryption != nil {
		c.Scheme = "https"
		c.Transport.TLSClientConfig = encryption
	}
	return api.NewClient(c)
}

// dialRedis returns a driver for the server of a URL, whose path is the number of the database.
func dialRedis(a *address) (driver.Driver, func() error, error) {
	if err := a.only(true, "ca", "cert", "key", "namespace"); err != nil {
		return nil, nil, err
	}
	encryption, err := a.tls()
	if err != nil {
		return nil, nil, err
	}
	database := 0
	if path := strings.Trim(a.Path, "/"); path != "" {
		if database, err = strconv.Atoi(path); err != nil || database < 0 {
			return nil, nil, fmt.Errorf("%w: the path must be the number of a database, such as /2", ErrURL)
		}
	}
	name, password := a.user()
	client, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: a.hosts(), Username: name, Password: password, SelectDB: database, TLSConfig: encryption,
	})
	if _, answered := rueidis.IsRedisErr(err); err != nil && !answered {
		err = &silent{err}
	}
	if err != nil {
		return nil, nil, err
	}
	return rediskv.New(client, nil), func() error { client.Close(); return nil }, nil
}

// defaultBucket is the JetStream bucket of a nats URL without a path.
const defaultBucket = "go-os"

// dialNATS returns a driver for the JetStream bucket that the path of a URL names. A missing bucket is created.
func dialNATS(ctx context.Context, a *address) (driver.Driver, func() error, error) {
	if err := a.only(true, "namespace"); err != nil {
		return nil, nil, err
	}
	options := []nats.Option{nats.ReconnectBufSize(-1), nats.MaxReconnects(-1)} // as natskv recommends
	if name, password := a.user(); name != "" {
		options = append(options, nats.UserInfo(name, password))
	}
	conn, err := nats.Connect(a.Host, options...)
	if errors.Is(err, nats.ErrNoServers) || errors.Is(err, nats.ErrTimeout) {
		err = &silent{err}
	}
	if err != nil {
		return nil, nil, err
	}
	bucket := cmp.Or(strings.Trim(a.Path, "/"), defaultBucket)
	js, err := openBucket(ctx, conn, bucket)
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return natskv.New(js, bucket, nil), func() error { conn.Close(); return nil }, nil
}

// openBucket returns the client of a bucket. It leaves the settings of an existing one alone.
func openBucket(ctx context.Context, conn *nats.Conn, bucket string) (jetstream.JetStream, error) {
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, err
	}
	_, err = js.KeyValue(ctx, bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		_, err = js.CreateKeyValue(ctx, natskv.Config(bucket))
	}
	if errors.Is(err, jetstream.ErrBucketExists) { // another process was faster
		err = nil
	}
	return js, err
}
