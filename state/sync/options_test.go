package sync_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/state/sync"
	"github.com/go-os/go-os/state/sync/driver"
	"github.com/go-os/go-os/state/sync/memsync"
	"github.com/go-os/go-os/telemetry"
)

// TestInvalidOptions creates sessions with invalid options. Every call returns an error that names the option.
func TestInvalidOptions(t *testing.T) {
	for want, opts := range map[string]sync.Options{
		"sync.Options.TTL is -1ns:":                                      {TTL: -1},
		"sync.Options.Margin is -1ns:":                                   {Margin: -1},
		"sync.Options.Timeout is -1ns:":                                  {Timeout: -1},
		"sync.Options.Backoff is -1ns:":                                  {Backoff: -1},
		"sync.Options.MaxBackoff is -1ns:":                               {MaxBackoff: -1},
		"a TTL of 999.999µs, where memory takes 1ms or more":             {TTL: time.Millisecond - 1},
		"a margin of 1s: with a TTL of 2s it must be below half of that": {TTL: 2 * time.Second, Margin: time.Second},
	} {
		opts.Telemetry = telemetry.Off()
		refuses(t, sync.New(memsync.New(nil), &opts), want)
	}
}

// faulty is a driver that was created with invalid arguments. It panics when it is called.
type faulty struct{ driver.Driver }

func (faulty) Capabilities() driver.Capabilities {
	return driver.Capabilities{System: "faulty", Safety: driver.Linearizable, MaxName: 100, MaxValue: 100}
}
func (faulty) Validate() error {
	return fmt.Errorf("%w: faultysync: New: the client is nil", sync.ErrInvalid)
}
func (faulty) Close() error { return nil }

func TestInvalidDriver(t *testing.T) {
	refuses(t, sync.New(faulty{}, &sync.Options{Telemetry: telemetry.Off()}), "faultysync: New: the client is nil")
	refuses(t, sync.New(nil, &sync.Options{Telemetry: telemetry.Off()}), "New was given no driver")
}

// refuses checks that every call of a session returns ErrInvalid with this text.
func refuses(t *testing.T, s *sync.Session, want string) {
	t.Helper()
	ctx := t.Context()
	m, e, sem := s.Mutex("m"), s.Election("e"), s.Semaphore("s", 2)
	do := func(context.Context, *sync.Grant) error { return errors.New("the function was called") }
	for name, call := range map[string]func() error{
		"Require":    func() error { return s.Require(sync.Local) },
		"Lock":       func() error { _, err := m.Lock(ctx); return err },
		"TryLock":    func() error { _, err := m.TryLock(ctx); return err },
		"Do":         func() error { return m.Do(ctx, do) },
		"Acquire":    func() error { _, err := sem.Acquire(ctx); return err },
		"TryAcquire": func() error { _, err := sem.TryAcquire(ctx); return err },
		"Campaign":   func() error { _, err := e.Campaign(ctx, nil); return err },
		"Leader":     func() error { _, err := e.Leader(ctx); return err },
		"Observe": func() (err error) {
			for _, err = range e.Observe(ctx) {
				break
			}
			return err
		},
	} {
		if err := call(); !errors.Is(err, sync.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// coarse is a driver whose TTLs are whole seconds. It records the requested TTLs.
type coarse struct {
	*memsync.Driver
	ttls chan time.Duration
}

func (c coarse) Capabilities() driver.Capabilities {
	caps := c.Driver.Capabilities()
	caps.Lease.Granularity = time.Second
	return caps
}

func (c coarse) Grant(ctx context.Context, ttl time.Duration) (driver.LeaseID, error) {
	c.ttls <- ttl
	return c.Driver.Grant(ctx, ttl)
}

// TestTTLIsRoundedUp checks the lease and the deadline of a grant. The margin is a tenth of the rounded TTL.
func TestTTLIsRoundedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for given, want := range map[time.Duration]time.Duration{
			10 * time.Second: 10 * time.Second, 9*time.Second + 1: 10 * time.Second, time.Millisecond: time.Second,
		} {
			d := coarse{memsync.New(nil), make(chan time.Duration, 1)}
			s := sync.New(d, &sync.Options{TTL: given, Telemetry: telemetry.Off()})
			g, err := s.Mutex("m").Lock(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := <-d.ttls; got != want {
				t.Errorf("a TTL of %s became %s, want %s", given, got, want)
			}
			if left := time.Until(g.Deadline()); left != want-want/10 {
				t.Errorf("with a TTL of %s a grant lasts %s, want %s", given, left, want-want/10)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		// The margin may be half of the TTL that the engine grants.
		s := sync.New(coarse{memsync.New(nil), make(chan time.Duration, 1)}, &sync.Options{
			TTL: 1500 * time.Millisecond, Margin: 900 * time.Millisecond, Telemetry: telemetry.Off(),
		})
		if err := s.Require(sync.Local); err != nil {
			t.Errorf("a margin of 900ms with a TTL of 2s: %v", err)
		}
	})
}
