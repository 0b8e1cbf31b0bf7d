package discovery_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/telemetry"
)

// counted is a registry that counts renewals.
type counted struct {
	driver.Registrar
	renewals *atomic.Int64
}

func (c counted) Grant(ctx context.Context, ttl time.Duration) (driver.Lease, error) {
	l, err := c.Registrar.Grant(ctx, ttl)
	return countedLease{l, c.renewals}, err
}

type countedLease struct {
	driver.Lease
	renewals *atomic.Int64
}

func (l countedLease) Renew(ctx context.Context) error {
	l.renewals.Add(1)
	return l.Lease.Renew(ctx)
}

// TestRenewals counts the renewals of a fleet: three a TTL for each process.
func TestRenewals(t *testing.T) {
	const fleet, ttls = 20, 200
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		var renewals atomic.Int64
		for n := range fleet {
			r, err := discovery.NewRegistrar(counted{f.registry(), &renewals}, &discovery.RegistrarOptions{Telemetry: telemetry.Off()})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = r.Close() }()
			f.register(r, n)
		}
		time.Sleep(ttls * discovery.DefaultTTL)
		synctest.Wait()
		const want = 3 * fleet * ttls
		if got := renewals.Load(); got > want*1.005 || got < want*0.98 {
			t.Errorf("%d renewals, want %d", got, want)
		}
	})
}
