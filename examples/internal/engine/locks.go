package engine

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/go-os/go-os/state/sync/driver"
	"github.com/go-os/go-os/state/sync/etcdsync"
	"github.com/go-os/go-os/state/sync/memsync"
	"github.com/go-os/go-os/state/sync/pgsync"
)

// Locks returns the driver of locks for a URL, and a function that closes its client. The URL is memory, etcd://user:password@host:port, or
// postgres://user:password@host:port/database with the parameters of PostgreSQL. Errors name the flag of the URL. Locks returns ErrURL as
// Open does.
func Locks(ctx context.Context, where, flag string) (driver.Driver, func() error, error) {
	a, err := parse(where, flag, []string{memory, "etcd", "postgres"})
	if err != nil {
		return nil, nil, err
	}
	d, client, err := dialLocks(ctx, a, where)
	if err != nil {
		return nil, nil, a.refuse(flag, err)
	}
	return d, client, nil
}

func dialLocks(ctx context.Context, a *address, where string) (driver.Driver, func() error, error) {
	switch a.scheme {
	case memory:
		return memsync.New(nil), nothing, nil
	case "etcd":
		prefix, err := a.namespace()
		if err != nil {
			return nil, nil, err
		}
		client, err := dialEtcd(ctx, a)
		if err != nil {
			return nil, nil, err
		}
		if prefix != "" {
			prefix += "/" + etcdsync.DefaultPrefix
		}
		return etcdsync.New(client, &etcdsync.Options{Prefix: prefix}), client.Close, nil
	default:
		pool, err := pgxpool.New(ctx, where)
		if err != nil {
			return nil, nil, err
		}
		if err := pgsync.Migrate(ctx, pool, nil); err != nil {
			pool.Close()
			return nil, nil, err
		}
		return pgsync.New(pool, nil), func() error { pool.Close(); return nil }, nil
	}
}
