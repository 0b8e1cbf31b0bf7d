package pgsync_test

import (
	"context"
	"fmt"
	"strings"
	gosync "sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/sync"
	"github.com/go-os/go-os/state/sync/pgsync"
)

// poolOn returns a pool whose configuration edit may change.
func poolOn(t testing.TB, url string, edit func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 4
	if edit != nil {
		edit(config)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// sessionOn returns a session on a pool.
func sessionOn(t testing.TB, pool *pgxpool.Pool, opts *sync.Options, driver *pgsync.Options) *sync.Session {
	t.Helper()
	s := sync.New(pgsync.New(pool, driver), opts)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// contend lets sessions take the locks of a name in turn, and checks mutual exclusion.
func contend(t *testing.T, name string, rounds int, sessions ...*sync.Session) {
	t.Helper()
	var group gosync.WaitGroup
	holders := make(chan struct{}, 1)
	for _, s := range sessions {
		for range 2 {
			group.Go(func() {
				for range rounds {
					err := s.Mutex(name).Do(t.Context(), func(context.Context, *sync.Grant) error {
						select {
						case holders <- struct{}{}:
							<-holders
						default:
							t.Error("two holders")
						}
						return nil
					})
					if err != nil {
						t.Errorf("Do: %v", err)
						return
					}
				}
			})
		}
	}
	group.Wait()
}

// TestSessionDefaults sets defaults for the pool's role that the driver's transactions must override.
func TestSessionDefaults(t *testing.T) {
	t.Parallel()
	engine := testenv.Postgres(t)
	admin := migrated(t, engine)
	do(t, admin, `CREATE SCHEMA shadow`)
	do(t, admin, `CREATE FUNCTION shadow.pg_notify(text, text) RETURNS void LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''shadowed''; END'`)
	do(t, admin, `GRANT ALL ON SCHEMA shadow, goos_sync TO public`)
	do(t, admin, `GRANT ALL ON ALL TABLES IN SCHEMA goos_sync TO public`)
	for i, setting := range []string{
		"default_transaction_isolation = 'serializable'",
		"default_transaction_isolation = 'repeatable read'",
		"default_transaction_read_only = 'on'",
		"statement_timeout = '100ms'",
		"lock_timeout = '100ms'",
		"idle_in_transaction_session_timeout = '1ms'",
		"search_path = shadow, pg_catalog",
		"search_path = ''",
		"standard_conforming_strings = 'off'",
		"client_encoding = 'LATIN1'",
		"bytea_output = 'escape'",
		"IntervalStyle = 'sql_standard'",
	} {
		t.Run(setting, func(t *testing.T) {
			role := fmt.Sprintf("app%d", i)
			do(t, admin, "CREATE ROLE "+role+" LOGIN")
			do(t, admin, "ALTER ROLE "+role+" SET "+setting)
			as := func(c *pgxpool.Config) { c.ConnConfig.User = role }
			a := sessionOn(t, poolOn(t, engine.URL(), as), nil, nil)
			b := sessionOn(t, poolOn(t, engine.URL(), as), nil, nil)
			name := `日本 \' "x" ` + role
			blocked(t, admin, a, name)
			contend(t, name, 5, a, b)
			leads(t, b, name)
			if err := pgsync.Migrate(t.Context(), poolOn(t, engine.URL(), as), nil); err != nil {
				t.Errorf("Migrate of what is there: %v", err)
			}
		})
	}
}

// blocked takes a lock while the row of its name is locked for longer than the role's timeouts.
func blocked(t *testing.T, admin *pgxpool.Pool, s *sync.Session, name string) {
	t.Helper()
	take(t, s, name)
	tx, err := admin.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	row := tx.QueryRow(t.Context(), `SELECT 1 FROM goos_sync.names WHERE name = $1 FOR UPDATE`, "mutex/"+name)
	if err := row.Scan(new(int)); err != nil {
		_ = tx.Rollback(t.Context())
		t.Fatal(err)
	}
	unlocked := make(chan struct{})
	time.AfterFunc(300*time.Millisecond, func() {
		defer close(unlocked)
		_ = tx.Rollback(context.Background())
	})
	take(t, s, name)
	<-unlocked
}

// take acquires and releases a lock.
func take(t *testing.T, s *sync.Session, name string) {
	t.Helper()
	if err := s.Mutex(name).Do(t.Context(), func(context.Context, *sync.Grant) error { return nil }); err != nil {
		t.Errorf("Do: %v", err)
	}
}

// leads wins an election and checks that the observed leader is this one.
func leads(t *testing.T, s *sync.Session, name string) {
	t.Helper()
	value := []byte("\x00\xff value '")
	g, err := s.Election(name).Campaign(t.Context(), value)
	if err != nil {
		t.Fatalf("Campaign: %v", err)
	}
	leader, err := s.Election(name).Leader(t.Context())
	if err != nil || string(leader.Value) != string(value) {
		t.Errorf("Leader: %q, %v; want %q", leader.Value, err, value)
	}
	if err := g.Release(t.Context()); err != nil {
		t.Errorf("Release: %v", err)
	}
}

func do(t testing.TB, pool *pgxpool.Pool, statement string) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// TestCommitsAreDurable records in a trigger the synchronous_commit under which each claim is written, for a role that has it off.
func TestCommitsAreDurable(t *testing.T) {
	t.Parallel()
	engine := testenv.Postgres(t)
	admin := migrated(t, engine)
	do(t, admin, `CREATE TABLE public.seen (mode text)`)
	do(t, admin, `CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN INSERT INTO public.seen VALUES (current_setting(''synchronous_commit'')); RETURN NULL; END'`)
	do(t, admin, `CREATE TRIGGER note AFTER INSERT ON goos_sync.claims FOR EACH ROW EXECUTE FUNCTION public.note()`)
	for mode, want := range map[string]string{"off": "on", "local": "local"} {
		s := sessionOn(t, poolOn(t, engine.URL(), func(c *pgxpool.Config) {
			c.ConnConfig.RuntimeParams["synchronous_commit"] = mode
		}), nil, nil)
		take(t, s, "m")
		var got string
		if err := admin.QueryRow(t.Context(), `DELETE FROM public.seen RETURNING mode`).Scan(&got); err != nil || got != want {
			t.Errorf("a session with %s commits with %q, %v; want %q", mode, got, err, want)
		}
	}
}

// TestPgBouncer uses a pooler that shares two server connections among four clients, in every mode of the pool and of pgx.
func TestPgBouncer(t *testing.T) {
	t.Parallel()
	engine := testenv.Postgres(t)
	admin := migrated(t, engine)
	for _, mode := range []string{"transaction", "session"} {
		pooler := testenv.PgBouncer(t, engine, mode, map[string]int{"transaction": 2, "session": 20}[mode])
		for _, exec := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeSimpleProtocol} {
			t.Run(mode+", "+exec.String(), func(t *testing.T) {
				through := func() *sync.Session {
					pool := poolOn(t, pooler.URL(), func(c *pgxpool.Config) { c.ConnConfig.DefaultQueryExecMode = exec })
					return sessionOn(t, pool, nil, &pgsync.Options{Poll: 300 * time.Millisecond})
				}
				a, b := through(), through()
				contend(t, "m"+t.Name(), 5, a, b)
				leads(t, b, "e"+t.Name())
			})
		}
	}
	if err := pgsync.Migrate(t.Context(), poolOn(t, testenv.PgBouncer(t, engine, "transaction", 1).URL(), nil), &pgsync.Options{Schema: "other"}); err != nil {
		t.Errorf("Migrate through a pooler: %v", err)
	}
	var listening int
	const left = `SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%LISTEN%' AND pid <> pg_backend_pid()`
	if err := admin.QueryRow(t.Context(), left).Scan(&listening); err != nil || listening != 0 {
		t.Errorf("%d server connections of the poolers listen, %v", listening, err)
	}
}

// TestListenBesidePgBouncer receives notifications on a direct connection, long before a poll.
func TestListenBesidePgBouncer(t *testing.T) {
	t.Parallel()
	engine := testenv.Postgres(t)
	migrated(t, engine)
	pooler := testenv.PgBouncer(t, engine, "transaction", 4)
	direct, err := pgx.ParseConfig(engine.URL())
	if err != nil {
		t.Fatal(err)
	}
	opts := &pgsync.Options{Poll: time.Minute, Listen: direct}
	a := sessionOn(t, poolOn(t, pooler.URL(), nil), nil, opts)
	b := sessionOn(t, poolOn(t, pooler.URL(), nil), nil, opts)
	held, err := a.Mutex("m").Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	time.AfterFunc(time.Second, func() { _ = held.Release(context.Background()) })
	g, err := b.Mutex("m").Lock(ctx)
	if err != nil {
		t.Fatalf("Lock: %v", err)
	}
	if err := g.Release(ctx); err != nil {
		t.Error(err)
	}
}

// TestClockStepsBack moves the end of a dead process's lease an hour ahead. The rows then look as if the server's clock had been set back
// by an hour.
func TestClockStepsBack(t *testing.T) {
	t.Parallel()
	engine := testenv.Postgres(t)
	admin := migrated(t, engine)
	const ttl = 2 * time.Second
	dead := pgsync.New(admin, nil)
	defer dead.Close()
	s := sessionOn(t, poolOn(t, engine.URL(), nil), &sync.Options{TTL: ttl}, nil)
	for _, try := range []bool{false, true} {
		lease, err := dead.Grant(t.Context(), ttl)
		if err != nil {
			t.Fatal(err)
		}
		claim := claimOn(lease, fmt.Sprint("mutex/m", try))
		if _, granted, err := dead.Acquire(t.Context(), claim, false); err != nil || !granted {
			t.Fatalf("Acquire: %v, %v", granted, err)
		}
		do(t, admin, `UPDATE goos_sync.leases SET expires = expires + interval '1 hour' WHERE id = '`+string(lease)+`'`)
		began := time.Now()
		for {
			acquire := s.Mutex(strings.TrimPrefix(claim.Name, "mutex/")).Lock
			if try {
				acquire = s.Mutex(strings.TrimPrefix(claim.Name, "mutex/")).TryLock
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			g, err := acquire(ctx)
			cancel()
			if err == nil {
				t.Logf("try %v: free after %s", try, time.Since(began))
				if err := g.Release(t.Context()); err != nil {
					t.Error(err)
				}
				break
			}
			if !try || time.Since(began) > 20*time.Second {
				t.Fatalf("after %s: %v", time.Since(began), err)
			}
			time.Sleep(50 * time.Millisecond)
		}
		if took := time.Since(began); took < ttl-100*time.Millisecond {
			t.Errorf("free after %s, which is less than the TTL of a lease that may have been renewed just now", took)
		}
	}
}
