package main_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/hashicorp/consul/api"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/olric-data/olric"
	"github.com/redis/rueidis"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/go-os/go-os/internal/fault"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/boltkv"
	"github.com/go-os/go-os/state/kv/consulkv"
	kvdriver "github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/etcdkv"
	"github.com/go-os/go-os/state/kv/memcachedkv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/state/kv/natskv"
	"github.com/go-os/go-os/state/kv/peerkv"
	"github.com/go-os/go-os/state/kv/rediskv"
	"github.com/go-os/go-os/state/sync"
	"github.com/go-os/go-os/state/sync/consulsync"
	syncdriver "github.com/go-os/go-os/state/sync/driver"
	"github.com/go-os/go-os/state/sync/etcdsync"
	"github.com/go-os/go-os/state/sync/pgsync"
	"github.com/go-os/go-os/state/sync/redissync"
	"github.com/go-os/go-os/telemetry"
)

// These clients are never used, because the options are invalid.
type (
	noJetStream struct{ jetstream.JetStream }
	noMap       struct{ olric.DMap }
	noRedis     struct{ rueidis.Client }
)

// invalid is a driver with invalid arguments, and the text that its errors must have. One of kv and sync is set.
type invalid struct {
	want string
	kv   kvdriver.Driver
	sync syncdriver.Driver
}

// call returns the error of a call, which must not reach the driver.
func (d invalid) call(t *testing.T) error {
	if d.kv != nil {
		s := kv.New(d.kv, &kv.Options{Telemetry: telemetry.Off()})
		_, err := s.Get(t.Context(), "k")
		return errors.Join(err, s.Close())
	}
	s := sync.New(d.sync, &sync.Options{Telemetry: telemetry.Off()})
	_, err := s.Mutex("m").Lock(t.Context())
	return errors.Join(err, s.Close())
}

func TestDriversOfInvalidArguments(t *testing.T) {
	pool, err := pgxpool.New(t.Context(), "postgres://nobody@127.0.0.1:1/none")
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	for _, d := range []invalid{
		{want: "consulkv: New: the client is nil", kv: consulkv.New(nil, nil)},
		{want: "etcdkv: New: the client is nil", kv: etcdkv.New(nil, nil)},
		{want: "memcachedkv: New: the client is nil", kv: memcachedkv.New(nil, nil)},
		{want: "natskv: New: the JetStream client is nil", kv: natskv.New(nil, "bucket", nil)},
		{want: "peerkv: New: the map is nil", kv: peerkv.New(nil, nil)},
		{want: "rediskv: New: the client is nil", kv: rediskv.New(nil, nil)},
		{want: "consulsync: New: the client is nil", sync: consulsync.New(nil, nil)},
		{want: "etcdsync: New: the client is nil", sync: etcdsync.New(nil, nil)},
		{want: "pgsync: New: the pool is nil", sync: pgsync.New(nil, nil)},
		{want: "redissync: New: the client is nil", sync: redissync.New(nil, nil)},

		{want: "consulkv.Options.MaxRequest is -1:", kv: consulkv.New(&api.Client{}, &consulkv.Options{MaxRequest: -1})},
		{want: "consulkv.Options.Wait is -1ns:", kv: consulkv.New(&api.Client{}, &consulkv.Options{Wait: -1})},
		{want: "etcdkv.Options.MaxRequest is -1:", kv: etcdkv.New(&clientv3.Client{}, &etcdkv.Options{MaxRequest: -1})},
		{want: "memcachedkv.Options.MaxItem is -1:", kv: memcachedkv.New(&memcache.Client{}, &memcachedkv.Options{MaxItem: -1})},
		{want: "memkv.Options.History is -1:", kv: memkv.New(&memkv.Options{History: -1})},
		{want: "memkv.Options.MaxKey is -1:", kv: memkv.New(&memkv.Options{MaxKey: -1})},
		{want: "memkv.Options.MaxValue is -1:", kv: memkv.New(&memkv.Options{MaxValue: -1})},
		{want: "natskv.Options.MaxPayload is -1:", kv: natskv.New(noJetStream{}, "bucket", &natskv.Options{MaxPayload: -1})},
		{want: "peerkv.Options.MaxValue is -1:", kv: peerkv.New(noMap{}, &peerkv.Options{MaxValue: -1})},
		{want: "rediskv.Options.MaxValue is -1:", kv: rediskv.New(noRedis{}, &rediskv.Options{MaxValue: -1})},
		{want: "rediskv.Options.CacheTTL is -1ns:", kv: rediskv.New(noRedis{}, &rediskv.Options{CacheTTL: -1})},
		{want: "consulsync.Options.Wait is -1ns:", sync: consulsync.New(&api.Client{}, &consulsync.Options{Wait: -1})},
		{want: "pgsync.Options.Poll is -1ns:", sync: pgsync.New(pool, &pgsync.Options{Poll: -1})},
		{want: "redissync.Options.Poll is -1ns:", sync: redissync.New(noRedis{}, &redissync.Options{Poll: -1})},
	} {
		if err := d.call(t); !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), d.want) {
			t.Errorf("error %v, want %q", err, d.want)
		}
	}
}

func TestOpenOfInvalidOptions(t *testing.T) {
	for want, opts := range map[string]boltkv.Options{
		"boltkv.Options.History is -1:":       {History: -1},
		"boltkv.Options.MaxValue is -1:":      {MaxValue: -1},
		"boltkv.Options.LockTimeout is -1ns:": {LockTimeout: -1},
	} {
		path := filepath.Join(t.TempDir(), "kv.db")
		if _, err := boltkv.Open(path, &opts); !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("Open: %v, want %q", err, want)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s: Open has made the file", want)
		}
	}
	if err := pgsync.Migrate(t.Context(), nil, nil); !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "pgsync: Migrate: the pool is nil") {
		t.Errorf("Migrate: %v", err)
	}
}
