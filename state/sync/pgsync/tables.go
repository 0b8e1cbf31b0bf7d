package pgsync

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Migrate makes the tables, unless they are there. Any number of processes may call it at the same time.
func Migrate(ctx context.Context, pool *pgxpool.Pool, opts *Options) error {
	o := opts.complete()
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		// "IF NOT EXISTS" is no protection against somebody who does the same at the same moment.
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", "pgsync.Migrate "+o.Schema); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, named(o.Schema, tables))
		return err
	})
	if err != nil {
		return fmt.Errorf("pgsync: Migrate: %w", err)
	}
	return nil
}

// named puts the schema into statements.
func named(schema, statement string) string {
	return strings.ReplaceAll(statement, "@", pgx.Identifier{schema}.Sanitize())
}

const tables = `
CREATE SCHEMA IF NOT EXISTS @;
CREATE TABLE IF NOT EXISTS @.leases (
	id text PRIMARY KEY,
	ttl bigint NOT NULL, -- in microseconds
	expires timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS leases_expires ON @.leases (expires);
CREATE TABLE IF NOT EXISTS @.names (
	name text COLLATE "C" PRIMARY KEY,
	epoch bigint NOT NULL -- the last token; a row is never deleted, or tokens would begin anew
);
CREATE TABLE IF NOT EXISTS @.claims (
	name text COLLATE "C" NOT NULL,
	token bigint NOT NULL,
	id text NOT NULL,
	lease text NOT NULL REFERENCES @.leases ON DELETE CASCADE,
	value bytea NOT NULL,
	PRIMARY KEY (name, token)
);
CREATE INDEX IF NOT EXISTS claims_lease ON @.claims (lease);
`

// statements are those of a driver, with its schema.
type statements struct {
	grant, renew, revoke, sweep         string
	number, purge, join, standing, tell string
	look, release, holder               string
}

func statementsFor(schema string) statements {
	s := statements{
		grant: `INSERT INTO @.leases VALUES ($1::text, $2::bigint, clock_timestamp() + $2::bigint * interval '1 microsecond')`,

		// Whether a lease is renewed or removed is decided by who has its row first; the other then sees what has become of it.
		renew: `UPDATE @.leases SET expires = clock_timestamp() + ttl * interval '1 microsecond' WHERE id = $1::text AND expires > clock_timestamp()
			RETURNING ARRAY(SELECT place FROM unnest($2::text[], $3::bigint[]) WITH ORDINALITY AS named (name, token, place)
			WHERE NOT EXISTS (SELECT FROM @.claims c WHERE c.name = named.name AND c.token = named.token))`,
		sweep: `DELETE FROM @.leases WHERE id IN
			(SELECT id FROM @.leases WHERE expires < clock_timestamp() - interval '1 minute' FOR UPDATE SKIP LOCKED)`,
		revoke: `WITH gone AS (SELECT name, token FROM @.claims WHERE lease = $1::text),
			revoked AS (DELETE FROM @.leases WHERE id = $1::text)
			SELECT pg_notify($2::text, token || ' ' || name) FROM gone`,

		// The row of the name is locked until the end of the transaction, which orders claims, and with them tokens.
		number: `INSERT INTO @.names VALUES ($1::text, 1) ON CONFLICT (name) DO UPDATE SET epoch = names.epoch + 1`,
		// What somebody else is just renewing or removing is left to them: waiting could be in vain, or for each other.
		purge: `DELETE FROM @.leases WHERE id IN (SELECT l.id FROM @.leases l JOIN @.claims c ON c.lease = l.id
			WHERE c.name = $1::text AND l.expires <= clock_timestamp() FOR UPDATE OF l SKIP LOCKED)`,
		join: `INSERT INTO @.claims SELECT n.name, n.epoch, $2::text, l.id, $4::bytea FROM @.names n, @.leases l
			WHERE n.name = $1::text AND l.id = $3::text AND l.expires > clock_timestamp()
			AND (SELECT count(*) FROM @.claims c WHERE c.name = $1::text) < $5::bigint FOR KEY SHARE OF l`,
		standing: `SELECT coalesce((SELECT token FROM @.claims WHERE name = $1::text AND id = $2::text), 0),
			(SELECT count(*) FROM @.claims WHERE name = $1::text AND id <> $2::text),
			EXISTS (SELECT FROM @.leases WHERE id = $3::text AND expires > clock_timestamp())`,
		tell: `SELECT pg_notify($3::text, '0 ' || $1::text) WHERE (SELECT min(id) FROM @.claims WHERE name = $1::text HAVING count(*) = 1) = $2::text`,

		look: `SELECT EXISTS (SELECT FROM @.claims c JOIN @.leases l ON l.id = c.lease
				WHERE c.name = $1::text AND c.token = $2::bigint AND c.id = $3::text AND l.expires > clock_timestamp()),
			(SELECT count(*) FROM @.claims WHERE name = $1::text AND token < $2::bigint),
			coalesce(max(c.token), 0),
			coalesce((extract(epoch FROM CASE WHEN $4::boolean THEN max(l.expires) ELSE min(l.expires) END - clock_timestamp()) * 1000000)::bigint, 0)
			FROM @.claims c JOIN @.leases l ON l.id = c.lease
			WHERE c.name = $1::text AND c.token < $2::bigint
			AND (NOT $4::boolean OR c.token = (SELECT max(token) FROM @.claims WHERE name = $1::text AND token < $2::bigint))`,
		release: `WITH gone AS (DELETE FROM @.claims WHERE name = $1::text AND id = $2::text RETURNING token)
			SELECT pg_notify($3::text, token || ' ' || $1::text) FROM gone`,
		holder: `SELECT c.token, c.value, (extract(epoch FROM l.expires - clock_timestamp()) * 1000000)::bigint
			FROM @.claims c JOIN @.leases l ON l.id = c.lease
			WHERE c.name = $1::text AND l.expires > clock_timestamp() ORDER BY c.token LIMIT 1`,
	}
	for _, one := range []*string{
		&s.grant, &s.renew, &s.revoke, &s.sweep, &s.number, &s.purge, &s.join, &s.standing, &s.tell, &s.look, &s.release, &s.holder,
	} {
		*one = named(schema, *one)
	}
	return s
}
