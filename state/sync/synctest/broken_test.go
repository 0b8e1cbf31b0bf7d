package synctest

import (
	"context"
	"errors"
	"slices"
	"strings"
	gosync "sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-os/go-os/state/sync/driver"
	"github.com/go-os/go-os/state/sync/memsync"
)

// broken is a driver whose calls can be replaced by functions.
type broken struct {
	*memsync.Driver
	acquire  func(context.Context, driver.Claim, bool) (driver.Token, bool, error)
	await    func(context.Context, driver.Claim) error
	release  func(context.Context, driver.Claim) error
	grant    func(context.Context, time.Duration) (driver.LeaseID, error)
	renew    func(context.Context, driver.LeaseID, []driver.Claim) ([]driver.Claim, error)
	revoke   func(context.Context, driver.LeaseID) error
	watch    func(context.Context, string, func(driver.Holder) error) error
	close    func() error
	requests *atomic.Int64
	faults   *faulty
	deaf     bool // waits for answers beyond the end of a context
}

func (b *broken) pass(ctx context.Context) error {
	if b.deaf {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		return b.faults.pass(late)
	}
	return b.faults.pass(ctx)
}

// faulty is the state of the faults that the hooks of a broken Backend inject.
type faulty struct {
	lag, step atomic.Int64

	mu     gosync.Mutex
	paused chan struct{} // nil unless the engine is silent; closed by resume
}

func (f *faulty) pause() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.paused = make(chan struct{})
}

func (f *faulty) resume() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.paused)
	f.paused = nil
}

// pass waits while the engine is silent.
func (f *faulty) pass(ctx context.Context) error {
	f.mu.Lock()
	paused := f.paused
	f.mu.Unlock()
	if paused == nil {
		return nil
	}
	select {
	case <-paused:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *broken) Acquire(ctx context.Context, c driver.Claim, try bool) (driver.Token, bool, error) {
	if err := b.pass(ctx); err != nil {
		return 0, false, err
	}
	b.requests.Add(1)
	if b.acquire != nil {
		return b.acquire(ctx, c, try)
	}
	return b.Driver.Acquire(ctx, c, try)
}

func (b *broken) Await(ctx context.Context, c driver.Claim) error {
	if b.await != nil {
		return b.await(ctx, c)
	}
	return b.Driver.Await(ctx, c)
}

func (b *broken) Release(ctx context.Context, c driver.Claim) error {
	if err := b.pass(ctx); err != nil {
		return err
	}
	b.requests.Add(1)
	if b.release != nil {
		return b.release(ctx, c)
	}
	return b.Driver.Release(ctx, c)
}

func (b *broken) Grant(ctx context.Context, ttl time.Duration) (driver.LeaseID, error) {
	if err := b.pass(ctx); err != nil {
		return "", err
	}
	b.requests.Add(1)
	if b.grant != nil {
		return b.grant(ctx, ttl)
	}
	return b.Driver.Grant(ctx, ttl)
}

func (b *broken) Renew(ctx context.Context, id driver.LeaseID, claims []driver.Claim) ([]driver.Claim, error) {
	if err := b.pass(ctx); err != nil {
		return nil, err
	}
	b.requests.Add(1)
	if b.renew != nil {
		return b.renew(ctx, id, claims)
	}
	return b.Driver.Renew(ctx, id, claims)
}

func (b *broken) Revoke(ctx context.Context, id driver.LeaseID) error {
	if err := b.pass(ctx); err != nil {
		return err
	}
	if b.revoke != nil {
		return b.revoke(ctx, id)
	}
	return b.Driver.Revoke(ctx, id)
}

func (b *broken) Watch(ctx context.Context, name string, emit func(driver.Holder) error) error {
	if err := b.pass(ctx); err != nil {
		return err
	}
	if b.watch != nil {
		return b.watch(ctx, name, emit)
	}
	return b.Driver.Watch(ctx, name, emit)
}

func (b *broken) Close() error {
	if b.close != nil {
		return b.close()
	}
	return b.Driver.Close()
}

// breakage is a driver that breaks promises.
type breakage struct {
	spoil   func(*broken)
	noticed []string // the promises that must fail
}

func breakages() map[string]breakage {
	return map[string]breakage{
		"grants what is held": {func(b *broken) {
			b.acquire = func(ctx context.Context, c driver.Claim, try bool) (driver.Token, bool, error) {
				t, _, err := b.Driver.Acquire(ctx, c, false)
				return t, true, err
			}
		}, []string{"mutex/one holder at a time", "mutex/try", "semaphore/so many at a time", "queue/a claim goes with its lease", stormName}},
		"grants what is gone": {func(b *broken) {
			b.await = func(ctx context.Context, c driver.Claim) error {
				if err := b.Driver.Await(ctx, c); !errors.Is(err, driver.ErrLost) {
					return err
				}
				return nil
			}
		}, []string{"queue/unknown claims and leases are lost", "lease/revoked under a waiter"}},
		"counts tokens down": {func(b *broken) {
			b.acquire = func(ctx context.Context, c driver.Claim, try bool) (driver.Token, bool, error) {
				t, granted, err := b.Driver.Acquire(ctx, c, try)
				return 1<<32 - t, granted, err
			}
		}, []string{"queue/tokens outlive the queue", "mutex/one holder at a time", "mutex/waiters in order"}},
		"leaves a claim behind that has only tried": {func(b *broken) {
			b.acquire = func(ctx context.Context, c driver.Claim, try bool) (driver.Token, bool, error) {
				t, granted, err := b.Driver.Acquire(ctx, c, false)
				if try && !granted && err == nil {
					return 0, false, driver.ErrHeld
				}
				return t, granted, err
			}
		}, []string{"queue/try leaves no claim", "mutex/try"}},
		"calls held by another name": {func(b *broken) {
			b.acquire = func(ctx context.Context, c driver.Claim, try bool) (driver.Token, bool, error) {
				t, granted, err := b.Driver.Acquire(ctx, c, try)
				if errors.Is(err, driver.ErrHeld) {
					err = errors.New("busy")
				}
				return t, granted, err
			}
		}, []string{"queue/try leaves no claim", "mutex/try", "telemetry/spans and metrics"}},
		"releases nothing": {func(b *broken) {
			b.release = func(context.Context, driver.Claim) error { return nil }
		}, []string{"queue/unknown claims and leases are lost", "mutex/try", "election/one leads"}},
		"leaves those who give up in the queue": {func(b *broken) {
			var seated gosync.Map // IDs
			b.acquire = func(ctx context.Context, c driver.Claim, try bool) (driver.Token, bool, error) {
				t, granted, err := b.Driver.Acquire(ctx, c, try)
				if granted {
					seated.Store(c.ID, nil)
				}
				return t, granted, err
			}
			b.await = func(ctx context.Context, c driver.Claim) error {
				err := b.Driver.Await(ctx, c)
				if err == nil {
					seated.Store(c.ID, nil)
				}
				return err
			}
			b.release = func(ctx context.Context, c driver.Claim) error {
				if _, ok := seated.Load(c.ID); !ok {
					return nil
				}
				return b.Driver.Release(ctx, c)
			}
		}, []string{"mutex/a waiter that gives up leaves", "semaphore/a waiter at the head that gives up"}},
		"renews nothing": {func(b *broken) {
			b.renew = func(context.Context, driver.LeaseID, []driver.Claim) ([]driver.Claim, error) { return nil, nil }
		}, []string{"lease/held for long", "queue/unknown claims and leases are lost", "lease/revoked under a holder"}},
		"grants leases that end early": {func(b *broken) {
			b.grant = func(ctx context.Context, ttl time.Duration) (driver.LeaseID, error) {
				return b.Driver.Grant(ctx, ttl/2)
			}
		}, []string{"lease/a dead holder is replaced in time"}},
		"grants leases that end late": {func(b *broken) {
			b.grant = func(ctx context.Context, ttl time.Duration) (driver.LeaseID, error) {
				return b.Driver.Grant(ctx, 3*ttl)
			}
		}, []string{"lease/a dead holder is replaced in time"}},
		"revokes nothing": {func(b *broken) {
			b.revoke = func(context.Context, driver.LeaseID) error { return nil }
		}, []string{"queue/a claim goes with its lease", "queue/unknown claims and leases are lost", "lease/revoked under a holder", "close/hands seats on"}},
		"does not end a wait": {func(b *broken) {
			b.await = func(ctx context.Context, c driver.Claim) error {
				if err := b.Driver.Await(ctx, c); ctx.Err() == nil {
					return err
				}
				time.Sleep(5 * time.Second)
				return ctx.Err()
			}
		}, []string{"queue/waiting ends with its context", "mutex/a waiter that gives up leaves"}},
		"takes names for one another": {func(b *broken) {
			b.acquire = func(ctx context.Context, c driver.Claim, try bool) (driver.Token, bool, error) {
				c.Name = strings.ToLower(c.Name)
				return b.Driver.Acquire(ctx, c, try)
			}
		}, []string{"queue/names do not meet"}},
		"shows the first holder alone": {func(b *broken) {
			b.watch = func(ctx context.Context, name string, emit func(driver.Holder) error) error {
				done := false
				return b.Driver.Watch(ctx, name, func(h driver.Holder) error {
					if done {
						return nil
					}
					done = true
					return emit(h)
				})
			}
		}, []string{"queue/watch shows the holder", "election/observed"}},
		"shows no values": {func(b *broken) {
			b.watch = func(ctx context.Context, name string, emit func(driver.Holder) error) error {
				return b.Driver.Watch(ctx, name, func(h driver.Holder) error { return emit(driver.Holder{Token: h.Token}) })
			}
		}, []string{"queue/watch shows the holder", "election/one leads", "election/do"}},
		"polls": {func(b *broken) {
			b.await = func(ctx context.Context, c driver.Claim) error {
				for {
					b.requests.Add(1)
					short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
					err := b.Driver.Await(short, c)
					cancel()
					if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
						return err
					}
				}
			}
		}, []string{"idle/renewals alone"}},
		"has all who wait ask when one leaves": {func(b *broken) {
			b.await = func(ctx context.Context, c driver.Claim) error {
				err := b.Driver.Watch(ctx, c.Name, func(h driver.Holder) error {
					b.requests.Add(1)
					if h.Token == c.Token {
						return errSeen
					}
					return nil
				})
				if errors.Is(err, errSeen) {
					return nil
				}
				return err
			}
		}, []string{"idle/many waiters do not stampede"}},
		"makes claims that were withdrawn": {func(b *broken) {
			var tokens gosync.Map // by ID
			b.acquire = func(ctx context.Context, c driver.Claim, try bool) (driver.Token, bool, error) {
				t, granted, err := b.Driver.Acquire(ctx, c, try)
				tokens.Store(c.ID, t)
				return t, granted, err
			}
			b.release = func(ctx context.Context, c driver.Claim) error {
				if c.Token == 0 {
					t, ok := tokens.Load(c.ID)
					if !ok {
						return driver.ErrLost
					}
					c.Token = t.(driver.Token)
				}
				return b.Driver.Release(ctx, c)
			}
		}, []string{"queue/a withdrawn claim does not come back", lateName}},
		"takes a claim for another with its ID": {func(b *broken) {
			var tokens gosync.Map // by name and ID
			b.acquire = func(ctx context.Context, c driver.Claim, try bool) (driver.Token, bool, error) {
				t, granted, err := b.Driver.Acquire(ctx, c, try)
				tokens.Store(c.Name+" "+c.ID, t)
				return t, granted, err
			}
			b.await = func(ctx context.Context, c driver.Claim) error {
				if t, ok := tokens.Load(c.Name + " " + c.ID); ok {
					c.Token = t.(driver.Token)
				}
				return b.Driver.Await(ctx, c)
			}
		}, []string{"queue/renewals report claims that are gone"}},
		"does not report claims that are gone": {func(b *broken) {
			b.renew = func(ctx context.Context, id driver.LeaseID, claims []driver.Claim) ([]driver.Claim, error) {
				_, err := b.Driver.Renew(ctx, id, claims)
				return nil, err
			}
		}, []string{"queue/renewals report claims that are gone", "lease/a claim removed by hand"}},
		"takes a claim that is gone for a lease that is over": {func(b *broken) {
			b.renew = func(ctx context.Context, id driver.LeaseID, claims []driver.Claim) ([]driver.Claim, error) {
				time.Sleep(2 * time.Millisecond) // network latency
				gone, err := b.Driver.Renew(ctx, id, claims)
				if len(gone) > 0 {
					return nil, driver.ErrLost
				}
				return nil, err
			}
		}, []string{"queue/renewals report claims that are gone", "lease/a claim removed by hand", "lease/short locks beside a long one"}},
		"takes claims of one ID for one another": {func(b *broken) {
			b.renew = func(ctx context.Context, id driver.LeaseID, claims []driver.Claim) ([]driver.Claim, error) {
				claims = slices.Clone(claims)
				for i := range claims {
					claims[i].Token = 0
				}
				return b.Driver.Renew(ctx, id, claims)
			}
		}, []string{"queue/renewals report claims that are gone"}},
		"ends a claim after a TTL whatever is renewed": {func(b *broken) {
			b.acquire = func(ctx context.Context, c driver.Claim, try bool) (driver.Token, bool, error) {
				t, granted, err := b.Driver.Acquire(ctx, c, try)
				c.Token = t
				if err == nil {
					time.AfterFunc(time.Second, func() { _ = b.Driver.Release(context.Background(), c) })
				}
				return t, granted, err
			}
		}, []string{"lease/held for long", "lease/short locks beside a long one"}},
		"waits for a silent engine when it is closed": {func(b *broken) {
			b.close = func() error {
				time.Sleep(2 * time.Second)
				return b.Driver.Close()
			}
		}, []string{"faults/closed while the engine is paused"}},
		"heeds no context while it waits for an answer": {func(b *broken) { b.deaf = true }, []string{"faults/context ended while the engine is paused"}},
		"asks one endpoint, however slow it is": {func(b *broken) {
			b.renew = func(ctx context.Context, id driver.LeaseID, claims []driver.Claim) ([]driver.Claim, error) {
				select {
				case <-time.After(time.Duration(b.faults.lag.Load())):
					return b.Driver.Renew(ctx, id, claims)
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
		}, []string{"faults/one endpoint slow"}},
		"takes its tokens from a clock that can be set": {func(b *broken) {
			b.acquire = func(ctx context.Context, c driver.Claim, try bool) (driver.Token, bool, error) {
				t, granted, err := b.Driver.Acquire(ctx, c, try)
				return t + driver.Token(1<<40+b.faults.step.Load()/int64(time.Millisecond)), granted, err
			}
			b.await = func(ctx context.Context, c driver.Claim) error { return b.Driver.Await(ctx, untold(c)) }
			b.release = func(ctx context.Context, c driver.Claim) error { return b.Driver.Release(ctx, untold(c)) }
			b.renew = func(ctx context.Context, id driver.LeaseID, claims []driver.Claim) ([]driver.Claim, error) {
				_, err := b.Driver.Renew(ctx, id, nil)
				return nil, err
			}
		}, []string{"faults/clock set forward", "faults/clock set back"}},
	}
}

// untold returns the claim without a token, which the driver below does not have.
func untold(c driver.Claim) driver.Claim {
	c.Token = 0
	return c
}

const lateName = "unknown/a claim that comes late to a lease that lives is gone"

const stormName = "storm/one holder at a time, and none who does not know it"

// brokenBackend returns a memory Backend whose drivers are modified by spoil.
func brokenBackend(spoil func(*broken)) Backend {
	var requests atomic.Int64
	var faults faulty
	open := func(space *memsync.Space) driver.Driver {
		b := &broken{Driver: memsync.New(&memsync.Options{Space: space}), requests: &requests, faults: &faults}
		spoil(b)
		return b
	}
	return Backend{
		FakeClock: true,
		patience:  8 * time.Second,
		Requests:  requests.Load,
		Begin: func(testing.TB) Open {
			space := memsync.NewSpace()
			return func(testing.TB) driver.Driver { return open(space) }
		},
		Default: func(testing.TB) (driver.Driver, func()) { return open(memsync.NewSpace()), func() {} },
		Pause:   func(testing.TB) { faults.pause() }, Resume: func(testing.TB) { faults.resume() },
		Step:      func(_ testing.TB, offset time.Duration) { faults.step.Store(int64(offset)) },
		Endpoints: 2,
		Lag:       func(_ testing.TB, _ int, latency time.Duration) { faults.lag.Store(int64(latency)) },
		Heal:      func(testing.TB) { faults.lag.Store(0) },
	}
}

// TestSound checks that the drivers pass without a breakage.
func TestSound(t *testing.T) {
	c := contract(brokenBackend(func(*broken) {}), new(Record))
	for _, p := range c.Promises {
		if p.Name == stormName { // the drivers' own tests cover it
			continue
		}
		if said := c.Failures(t, p.Name); len(said) > 0 {
			t.Errorf("a driver that breaks nothing fails %q: %q", p.Name, said)
		}
	}
}

// TestBroken shows that the suite can fail. The promises that a driver breaks must fail.
func TestBroken(t *testing.T) {
	for name, c := range breakages() {
		t.Run(name, func(t *testing.T) {
			for _, promised := range c.noticed {
				if len(contract(brokenBackend(c.spoil), new(Record)).Failures(t, promised)) == 0 {
					t.Errorf("a driver that %s passes %q", name, promised)
				}
			}
		})
	}
}
