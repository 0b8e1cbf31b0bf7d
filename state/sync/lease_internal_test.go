package sync

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/state/sync/driver"
	"github.com/go-os/go-os/state/sync/memsync"
	"github.com/go-os/go-os/telemetry"
)

// slowToGrant is a driver whose engine creates a lease at once and answers later.
type slowToGrant struct {
	*memsync.Driver
	grants atomic.Int64
}

const grantTakes = 100 * time.Millisecond

func (s *slowToGrant) Grant(ctx context.Context, ttl time.Duration) (driver.LeaseID, error) {
	s.grants.Add(1)
	id, err := s.Driver.Grant(ctx, ttl)
	select {
	case <-time.After(grantTakes):
		return id, err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// TestGivenUpWhileGranting lets callers give up before the engine has answered with a lease. The session keeps the lease for the next
// caller.
func TestGivenUpWhileGranting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := memsync.NewSpace()
		d := &slowToGrant{Driver: memsync.New(&memsync.Options{Space: space})}
		s := New(d, &Options{Telemetry: telemetry.Off()})
		defer func() { _ = s.Close() }()
		for i := range 5 {
			ctx, cancel := context.WithTimeout(t.Context(), grantTakes/10)
			if _, err := s.Mutex("m").Lock(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Lock %d: %v, want the end of its context", i, err)
			}
			cancel()
		}
		g, err := s.Mutex("m").Lock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n, left := d.grants.Load(), len(space.Leases()); n != 1 || left != 1 {
			t.Errorf("%d leases were made, and %d are left: want 1", n, left)
		}
		if err := g.Release(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestClosedWhileGranting closes a session before the engine has answered with a lease.
func TestClosedWhileGranting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(&slowToGrant{Driver: memsync.New(nil)}, &Options{Telemetry: telemetry.Off()})
		locked := make(chan error, 1)
		go func() {
			_, err := s.Mutex("m").Lock(t.Context())
			locked <- err
		}()
		time.Sleep(grantTakes / 2)
		began := time.Now()
		if err := s.Close(); err != nil || time.Since(began) != 0 {
			t.Errorf("Close: %v, after %s", err, time.Since(began))
		}
		if err := <-locked; !errors.Is(err, ErrClosed) {
			t.Errorf("Lock: %v, want ErrClosed", err)
		}
	})
}

// silentGranter never answers a Grant.
type silentGranter struct{ *memsync.Driver }

func (silentGranter) Grant(ctx context.Context, _ time.Duration) (driver.LeaseID, error) {
	<-ctx.Done()
	return "", ctx.Err()
}

// TestTimeoutBehindAnotherGrant starts a call while the request of an abandoned call is unanswered. The new call waits no longer than its
// own Timeout.
func TestTimeoutBehindAnotherGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(silentGranter{memsync.New(nil)}, &Options{Telemetry: telemetry.Off()})
		defer func() { _ = s.Close() }()
		ctx, cancel := context.WithTimeout(t.Context(), DefaultTimeout/10)
		defer cancel()
		if _, err := s.Mutex("m").Lock(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Lock: %v, want the end of its context", err)
		}
		for range 3 {
			began := time.Now()
			if _, err := s.Mutex("m").Lock(t.Context()); !errors.Is(err, ErrUnavailable) {
				t.Errorf("Lock: %v, want ErrUnavailable", err)
			}
			if took := time.Since(began); took > DefaultTimeout {
				t.Errorf("Lock took %s, want %s", took, DefaultTimeout)
			}
		}
	})
}
