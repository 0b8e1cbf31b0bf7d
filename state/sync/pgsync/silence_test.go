package pgsync_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/sync/driver"
	"github.com/go-os/go-os/state/sync/pgsync"
)

// dying is a network between a client and the server that fails permanently during a request, without closing a connection.
type dying struct {
	net.Listener
	server string
	left   atomic.Int64 // bytes that the client may still send; unlimited if negative
	end    context.CancelFunc
}

func newDying(t testing.TB, server string) *dying {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &dying{Listener: l, server: server}
	d.left.Store(-1)
	ctx, cancel := context.WithCancel(context.Background())
	d.end = cancel
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
	})
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go d.serve(ctx, client)
		}
	}()
	return d
}

func (d *dying) serve(ctx context.Context, client net.Conn) {
	server, err := net.Dial("tcp", d.server)
	if err != nil {
		_ = client.Close()
		return
	}
	context.AfterFunc(ctx, func() {
		_ = client.Close()
		_ = server.Close()
	})
	go func() { _, _ = io.Copy(struct{ io.Writer }{client}, server) }() // until the test ends, independently of the client
	buffer := make([]byte, 64<<10)
	for {
		n, err := client.Read(buffer)
		if err != nil {
			return // the server is not notified: the host is gone
		}
		if left := d.left.Load(); left >= 0 {
			n = min(n, int(left))
			d.left.Add(int64(-n))
		}
		if _, err := server.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// hangUp closes every connection. Without it, closing a pool waits for its connections for 15 seconds.
func (d *dying) hangUp() { d.end() }

// die lets this many bytes pass, and nothing after them.
func (d *dying) die(after int64) { d.left.Store(after) }

// claimOn returns a new claim on a name.
func claimOn(lease driver.LeaseID, name string) driver.Claim {
	return driver.Claim{Name: name, ID: rand.Text(), Lease: lease, Seats: 1}
}

// prepared returns a claim on a mutex with a new lease. Unless isNew is set, the claim is in its queue. On a slow machine the lease may
// expire first; prepared then retries.
func prepared(t *testing.T, d *pgsync.Driver, ttl time.Duration, mutex string, isNew bool) driver.Claim {
	t.Helper()
	for {
		lease, err := d.Grant(t.Context(), ttl)
		if err != nil {
			t.Fatal(err)
		}
		claim := claimOn(lease, "mutex/"+mutex)
		if isNew {
			return claim
		}
		switch _, _, err := d.Acquire(t.Context(), claim, false); {
		case err == nil:
			return claim
		case !errors.Is(err, driver.ErrLost):
			t.Fatal(err)
		}
	}
}

// TestSilentInMidRequest kills a host at each of several points in a request, a few hundred bytes apart. No row lock is left.
func TestSilentInMidRequest(t *testing.T) {
	t.Parallel()
	engine := testenv.Postgres(t)
	migrated(t, engine)
	const ttl = 500 * time.Millisecond
	other := sessionOn(t, poolOn(t, engine.URL(), nil), nil, nil)
	value := bytes.Repeat([]byte("v"), 1000)
	steps := map[string]func(context.Context, *pgsync.Driver, driver.Claim) error{
		"acquire": func(ctx context.Context, d *pgsync.Driver, c driver.Claim) error {
			c.Value = value
			_, _, err := d.Acquire(ctx, c, false)
			return err
		},
		"release": func(ctx context.Context, d *pgsync.Driver, c driver.Claim) error {
			c.Token = 1
			return d.Release(ctx, c)
		},
		"withdraw": func(ctx context.Context, d *pgsync.Driver, c driver.Claim) error { return d.Release(ctx, c) },
		"revoke":   func(ctx context.Context, d *pgsync.Driver, c driver.Claim) error { return d.Revoke(ctx, c.Lease) },
		"grant": func(ctx context.Context, d *pgsync.Driver, _ driver.Claim) error {
			_, err := d.Grant(ctx, ttl)
			return err
		},
	}
	for step, request := range steps {
		for _, after := range []int64{0, 300, 700, 1500, 2500, 4000} {
			t.Run(fmt.Sprintf("%s, silent after %d bytes", step, after), func(t *testing.T) {
				t.Parallel()
				network := newDying(t, engine.Addr(0))
				defer network.hangUp()
				pool := poolOn(t, strings.Replace(engine.URL(), engine.Addr(0), network.Addr().String(), 1), nil)
				d := pgsync.New(pool, nil)
				defer d.Close()
				claim := prepared(t, d, ttl, fmt.Sprint(step, after), step == "acquire")
				network.die(after)
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				err := request(ctx, d, claim)
				cancel()
				within, cancel := context.WithTimeout(t.Context(), 15*time.Second)
				defer cancel()
				began := time.Now()
				g, lockErr := other.Mutex(fmt.Sprint(step, after)).Lock(within)
				if lockErr != nil {
					t.Fatalf("the request failed with %v: nobody gets the lock within %s: %v", err, time.Since(began), lockErr)
				}
				if err := g.Release(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestMigrateSilentInMidRequest kills a host while it creates the tables. Another one creates them.
func TestMigrateSilentInMidRequest(t *testing.T) {
	t.Parallel()
	engine := testenv.Postgres(t)
	for i, after := range []int64{300, 1200, 1800, 2400, 3000} {
		t.Run(fmt.Sprintf("silent after %d bytes", after), func(t *testing.T) {
			t.Parallel()
			opts := &pgsync.Options{Schema: fmt.Sprint("schema", i)}
			network := newDying(t, engine.Addr(0))
			defer network.hangUp()
			pool := poolOn(t, strings.Replace(engine.URL(), engine.Addr(0), network.Addr().String(), 1), func(c *pgxpool.Config) { c.MinConns = 1 })
			if err := pool.Ping(t.Context()); err != nil {
				t.Fatal(err)
			}
			network.die(after)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if err := pgsync.Migrate(ctx, pool, opts); err == nil {
				t.Fatal("Migrate succeeds without a network")
			}
			within, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := pgsync.Migrate(within, poolOn(t, engine.URL(), nil), opts); err != nil {
				t.Errorf("Migrate after another fell silent: %v", err)
			}
		})
	}
}
