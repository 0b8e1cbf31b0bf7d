package pgsync_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/sync/driver"
	"github.com/go-os/go-os/state/sync/pgsync"
	"github.com/go-os/go-os/state/sync/synctest"
)

// owner closes the pool with the driver. Each driver has its own pool, so that leaks are detected.
type owner struct {
	*pgsync.Driver
	pool *pgxpool.Pool
}

func (o *owner) Close() error {
	err := o.Driver.Close()
	o.pool.Close()
	return err
}

// counter counts queries. A batch counts as one.
type counter struct{ sent atomic.Int64 }

func (c *counter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.sent.Add(1)
	return ctx
}

func (c *counter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (c *counter) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	c.sent.Add(1)
	return ctx
}

func (c *counter) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

func (c *counter) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

func dial(t testing.TB, url string, count *counter) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig.Tracer = count
	config.MaxConns = 4
	config.ConnConfig.ConnectTimeout = 2 * time.Second
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	return pool
}

func opens(url string, count *counter) synctest.Open {
	return func(t testing.TB) driver.Driver {
		pool := dial(t, url, count)
		return &owner{Driver: pgsync.New(pool, &pgsync.Options{Poll: poll}), pool: pool}
	}
}

// byDefault returns a driver with default options, on a pool with default options.
func byDefault(t testing.TB, url string) (driver.Driver, func()) {
	t.Helper()
	pool, err := pgxpool.New(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	return pgsync.New(pool, nil), pool.Close
}

// poll is long, so that scheduled polls do not hide the requests that have a cause.
const poll = 10 * time.Second

func migrated(t testing.TB, engine *testenv.PostgresHandle) *pgxpool.Pool {
	t.Helper()
	pool := dial(t, engine.URL(), new(counter))
	t.Cleanup(pool.Close)
	if err := pgsync.Migrate(t.Context(), pool, nil); err != nil {
		t.Fatal(err)
	}
	return pool
}

func TestContract(t *testing.T) {
	clock := testenv.NewClock(t)
	engine := testenv.PostgresAt(t, clock)
	pool := migrated(t, engine)
	network := testenv.Proxy(t, engine.Addr(0))
	tap := testenv.Tap(t, network.Endpoint())
	var count counter
	synctest.Run(t, synctest.Backend{
		TTL: 3 * time.Second, // a request may take a third of it, while sixteen promises share the CPUs with the server
		Begin: func(testing.TB) synctest.Open {
			return opens(strings.Replace(engine.URL(), engine.Addr(0), tap.Endpoint(), 1), &count)
		},
		Beside: opens(engine.URL(), &count),
		Kill:   func(testing.TB) { engine.Kill() }, Revive: func(testing.TB) { engine.Restart() },
		Pause: func(testing.TB) { engine.Pause() }, Resume: func(testing.TB) { engine.Resume() },
		Cut: func(testing.TB) { network.Cut() }, Drop: func(testing.TB) { network.Drop() }, Heal: func(testing.TB) { network.Heal() },
		Slow:     func(_ testing.TB, latency, jitter time.Duration) { network.Slow(latency, jitter) },
		Tap:      tap,
		Step:     func(_ testing.TB, offset time.Duration) { clock.Step(offset) },
		Default:  func(t testing.TB) (driver.Driver, func()) { return byDefault(t, engine.URL()) },
		Requests: count.sent.Load,
		// A waiter checks when the lease before it would end without a renewal, which is after two thirds of a TTL at the earliest.
		Polls:  1.5 + 1/poll.Seconds(),
		Record: "testdata/contract.json",
		EngineFuncs: append(testenv.Goroutines(),
			"github.com/jackc/pgx/v5/pgxpool.(*Pool).backgroundHealthCheck", "github.com/jackc/pgx/v5/pgconn.(*PgConn).asyncClose.func1",
		),
	})
	var open int
	if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'").Scan(&open); err != nil || open != 0 {
		t.Errorf("%d transactions were left open, %v", open, err)
	}
}

// TestMigrateTogether lets several processes create the tables at the same time.
func TestMigrateTogether(t *testing.T) {
	t.Parallel()
	engine := testenv.Postgres(t)
	var group sync.WaitGroup
	for range 8 {
		pool := dial(t, engine.URL(), new(counter))
		t.Cleanup(pool.Close)
		group.Go(func() {
			for range 3 {
				if err := pgsync.Migrate(t.Context(), pool, &pgsync.Options{Schema: `odd "name"`}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}

// TestTablesMissing checks that the error names the remedy.
func TestTablesMissing(t *testing.T) {
	t.Parallel()
	engine := testenv.Postgres(t)
	d := opens(engine.URL(), new(counter))(t)
	defer d.Close()
	if _, err := d.Grant(t.Context(), time.Second); err == nil || !strings.Contains(err.Error(), "pgsync.Migrate") {
		t.Errorf("Grant without tables: %v", err)
	}
}
