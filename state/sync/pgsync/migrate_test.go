package pgsync_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/sync/pgsync"
)

// TestMigrateRights calls Migrate as a role that gains permissions step by step. Each error names what is missing.
func TestMigrateRights(t *testing.T) {
	t.Parallel()
	engine := testenv.Postgres(t)
	admin := dial(t, engine.URL(), new(counter))
	t.Cleanup(admin.Close)
	do(t, admin, "CREATE ROLE app LOGIN")
	app := poolOn(t, engine.URL(), func(c *pgxpool.Config) { c.ConnConfig.User = "app" })
	refused := func(what string, wants ...string) {
		t.Helper()
		err := pgsync.Migrate(t.Context(), app, nil)
		for _, want := range wants {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v; want %q in it", what, err, want)
			}
		}
	}
	refused("no schema", `schema "goos_sync"`, "CREATE on the database")

	if err := pgsync.Migrate(t.Context(), admin, nil); err != nil {
		t.Fatal(err)
	}
	refused("no right on the schema", `"app" lacks USAGE on schema "goos_sync"`)
	do(t, admin, "GRANT USAGE ON SCHEMA goos_sync TO app")
	refused("no right on the tables", `SELECT, INSERT, UPDATE, DELETE on table "goos_sync"."leases"`, `"goos_sync"."withdrawn"`)
	do(t, admin, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA goos_sync TO app")
	if err := pgsync.Migrate(t.Context(), app, nil); err != nil {
		t.Errorf("nothing is missing: %v", err)
	}
	s := sessionOn(t, app, nil, nil)
	take(t, s, "m")

	do(t, admin, "DROP TABLE goos_sync.withdrawn")
	refused("a table of a later version is missing", `table "goos_sync"."withdrawn" is missing`, `CREATE on schema "goos_sync"`)
	if err := s.Mutex("m").Do(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "pgsync.Migrate") {
		t.Errorf("Lock without a table: %v", err)
	}
	do(t, admin, "GRANT CREATE ON SCHEMA goos_sync TO app")
	refused("the table refers to one of another role", "REFERENCES")
	do(t, admin, "GRANT REFERENCES ON ALL TABLES IN SCHEMA goos_sync TO app")
	if err := pgsync.Migrate(t.Context(), app, nil); err != nil {
		t.Errorf("the role may create what is missing: %v", err)
	}
	take(t, s, "m")

	do(t, admin, "REVOKE INSERT ON goos_sync.names FROM app")
	refused("a right is gone", `INSERT on table "goos_sync"."names"`)

	long := &pgsync.Options{Schema: strings.Repeat("x", 64)}
	if err := pgsync.Migrate(t.Context(), admin, long); err == nil || !strings.Contains(err.Error(), "63") {
		t.Errorf("a schema's name that is too long: %v", err)
	}
}
