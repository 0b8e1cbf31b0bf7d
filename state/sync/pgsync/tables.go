package pgsync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/go-os/go-os/internal/defaults"
)

// object is a schema or a table that the driver needs.
type object struct {
	name   string // of a table; empty for the schema
	create string
	rights []string // that the driver needs
}

// objects returns the objects in the order in which they can be created.
func objects() []object {
	return []object{
		{create: `CREATE SCHEMA IF NOT EXISTS @;`, rights: []string{"USAGE"}},
		{name: "leases", rights: []string{"SELECT", "INSERT", "UPDATE", "DELETE"}, create: `
			CREATE TABLE IF NOT EXISTS @.leases (
				id text PRIMARY KEY,
				ttl bigint NOT NULL, -- in microseconds
				expires timestamptz NOT NULL
			);
			CREATE INDEX IF NOT EXISTS leases_expires ON @.leases (expires);`},
		{name: "names", rights: []string{"SELECT", "INSERT", "UPDATE"}, create: `
			CREATE TABLE IF NOT EXISTS @.names (
				name text COLLATE "C" PRIMARY KEY,
				epoch bigint NOT NULL -- the last token; a row is never deleted, or tokens would start again
			);`},
		{name: "claims", rights: []string{"SELECT", "INSERT", "DELETE"}, create: `
			CREATE TABLE IF NOT EXISTS @.claims (
				name text COLLATE "C" NOT NULL,
				token bigint NOT NULL,
				id text NOT NULL,
				lease text NOT NULL REFERENCES @.leases ON DELETE CASCADE,
				value bytea NOT NULL,
				PRIMARY KEY (name, token)
			);
			CREATE INDEX IF NOT EXISTS claims_lease ON @.claims (lease);`},
		{name: "withdrawn", rights: []string{"SELECT", "INSERT"}, create: `
			CREATE TABLE IF NOT EXISTS @.withdrawn ( -- claims that a late acquisition must not create
				name text COLLATE "C" NOT NULL,
				id text NOT NULL,
				lease text NOT NULL REFERENCES @.leases ON DELETE CASCADE,
				PRIMARY KEY (name, id)
			);
			CREATE INDEX IF NOT EXISTS withdrawn_lease ON @.withdrawn (lease);`},
	}
}

// Migrate creates missing schema and tables. Any number of processes may call it at the same time.
//
// The role of the pool needs CREATE on the database if the schema is missing, and CREATE on the schema if a table is. If nothing is
// missing it needs USAGE on the schema, and SELECT, INSERT, UPDATE and DELETE on the tables. The error names the missing objects, and the
// permission that the role lacks.
func Migrate(ctx context.Context, pool *pgxpool.Pool, opts *Options) error {
	o, err := opts.withDefaults()
	if err = cmp.Or(defaults.Given("pgsync: Migrate", "pool", pool), err); err != nil {
		return err
	}
	if err := migrate(ctx, pool, o.Schema); err != nil {
		return fmt.Errorf("pgsync: Migrate: %w", err)
	}
	return nil
}

// maxIdentifier is the length of PostgreSQL's longest identifier, in bytes. PostgreSQL truncates longer ones, but refuses them as
// channels.
const maxIdentifier = 63

func migrate(ctx context.Context, pool *pgxpool.Pool, schema string) error {
	if len(schema) > maxIdentifier {
		return fmt.Errorf("the schema's name %q has %d bytes: PostgreSQL takes %d", schema, len(schema), maxIdentifier)
	}
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	db := conn.Conn().PgConn()
	absent, lacking, err := survey(ctx, db, schema)
	if err != nil || len(absent) == 0 && lacking == nil {
		return err
	}
	if len(absent) > 0 {
		if err := create(ctx, db, schema, absent); err != nil {
			return explain(err, schema, absent)
		}
		if _, lacking, err = survey(ctx, db, schema); err != nil {
			return err
		}
	}
	return lacking
}

// survey returns the absent objects, and an error that names the permissions that the role lacks on the others.
func survey(ctx context.Context, db *pgconn.PgConn, schema string) (absent []object, lacking, err error) {
	var queries []string
	for _, o := range objects() {
		queries = append(queries, o.query())
	}
	result, err := send(ctx, db, render(schema, preamble+strings.Join(queries, " UNION ALL "), schema))
	if err != nil {
		return nil, nil, err
	}
	var role string
	var missing []string
	for i, found := range result.Rows {
		role = string(found[2])
		switch rights := string(found[1]); {
		case string(found[0]) == "f":
			absent = append(absent, objects()[i])
		case rights != "":
			missing = append(missing, rights+" on "+objects()[i].describe(schema))
		}
	}
	if len(missing) > 0 {
		lacking = fmt.Errorf("the role %q lacks %s: grant it", role, strings.Join(missing, ", "))
	}
	return absent, lacking, nil
}

// query returns a query for one row: whether the object exists, the permissions on it that the role lacks, and the role. $1 is the
// schema.
func (o object) query() string {
	const schemaID, tableID = `(SELECT oid FROM pg_namespace WHERE nspname = $1)`,
		`(SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = '%s')`
	id, function := schemaID, "has_schema_privilege"
	if o.name != "" {
		id, function = fmt.Sprintf(tableID, o.name), "has_table_privilege"
	}
	return fmt.Sprintf(`(SELECT o.id IS NOT NULL,
		(SELECT string_agg(r, ', ') FROM unnest(ARRAY['%s']) r WHERE NOT %s(o.id, r)), current_user FROM (SELECT %s AS id) o)`,
		strings.Join(o.rights, "','"), function, id)
}

// describe names the object in a message.
func (o object) describe(schema string) string {
	if o.name == "" {
		return "schema " + pgx.Identifier{schema}.Sanitize()
	}
	return "table " + pgx.Identifier{schema, o.name}.Sanitize()
}

// create creates the absent objects, in one message: a client that stops leaves no lock. It takes an advisory lock first, because IF NOT EXISTS
// fails if another process creates the same object concurrently.
func create(ctx context.Context, db *pgconn.PgConn, schema string, absent []object) error {
	statements := preamble + `SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = '60s';
		SELECT pg_advisory_xact_lock(hashtextextended('pgsync.Migrate ' || $1, 0));`
	for _, o := range absent {
		statements += o.create
	}
	_, err := send(ctx, db, render(schema, statements, schema))
	return err
}

// explain adds the required permissions to an error of create.
func explain(err error, schema string, absent []object) error {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != insufficientPrivilege {
		return err
	}
	names := make([]string, len(absent))
	for i, o := range absent {
		names[i] = o.describe(schema)
	}
	needs := "CREATE on " + objects()[0].describe(schema) + ", and REFERENCES on its tables unless it owns them"
	if absent[0].name == "" {
		needs = "CREATE on the database"
	}
	return fmt.Errorf("%s is missing, and the role may not create it: grant it %s, or call Migrate as another role: %w",
		strings.Join(names, ", "), needs, err)
}
