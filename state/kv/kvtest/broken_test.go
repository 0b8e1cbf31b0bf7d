package kvtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/go-os/go-os/internal/tooling/suite"
	"github.com/go-os/go-os/state/kv/boltkv"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/memkv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// broken is memkv with one broken promise. A field that is set replaces the method.
type broken struct {
	*memkv.Driver
	caps   func(driver.Capabilities) driver.Capabilities
	get    func(context.Context, string) (driver.Item, error)
	put    func(context.Context, driver.PutRequest) (driver.Version, error)
	delete func(context.Context, driver.DeleteRequest) error
	list   func(context.Context, driver.ListRequest) (driver.Page, error)
	watch  func(context.Context, driver.WatchRequest, func(driver.Event) error) error
	renew  func(context.Context, driver.LeaseID) error
	revoke func(context.Context, driver.LeaseID) error
	many   func(context.Context, []string) ([]driver.Result, error)
	close  func() error
}

func (b *broken) Capabilities() driver.Capabilities {
	if b.caps != nil {
		return b.caps(b.Driver.Capabilities())
	}
	return b.Driver.Capabilities()
}

func (b *broken) Get(ctx context.Context, key string) (driver.Item, error) {
	if b.get != nil {
		return b.get(ctx, key)
	}
	return b.Driver.Get(ctx, key)
}

func (b *broken) Put(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
	if b.put != nil {
		return b.put(ctx, req)
	}
	return b.Driver.Put(ctx, req)
}

func (b *broken) Delete(ctx context.Context, req driver.DeleteRequest) error {
	if b.delete != nil {
		return b.delete(ctx, req)
	}
	return b.Driver.Delete(ctx, req)
}

func (b *broken) List(ctx context.Context, req driver.ListRequest) (driver.Page, error) {
	if b.list != nil {
		return b.list(ctx, req)
	}
	return b.Driver.List(ctx, req)
}

func (b *broken) Watch(ctx context.Context, req driver.WatchRequest, emit func(driver.Event) error) error {
	if b.watch != nil {
		return b.watch(ctx, req, emit)
	}
	return b.Driver.Watch(ctx, req, emit)
}

func (b *broken) Renew(ctx context.Context, id driver.LeaseID) error {
	if b.renew != nil {
		return b.renew(ctx, id)
	}
	return b.Driver.Renew(ctx, id)
}

func (b *broken) Revoke(ctx context.Context, id driver.LeaseID) error {
	if b.revoke != nil {
		return b.revoke(ctx, id)
	}
	return b.Driver.Revoke(ctx, id)
}

func (b *broken) GetMany(ctx context.Context, keys []string) ([]driver.Result, error) {
	if b.many != nil {
		return b.many(ctx, keys)
	}
	return b.Driver.GetMany(ctx, keys)
}

func (b *broken) Close() error {
	if b.close != nil {
		return errors.Join(b.Driver.Close(), b.close())
	}
	return b.Driver.Close()
}

// filtered is a watch whose events pass through filter, which returns the events to emit instead.
func filtered(b *broken, filter func(driver.Event) []driver.Event) func(context.Context, driver.WatchRequest, func(driver.Event) error) error {
	return func(ctx context.Context, req driver.WatchRequest, emit func(driver.Event) error) error {
		return b.Driver.Watch(ctx, req, func(ev driver.Event) error {
			for _, ev := range filter(ev) {
				if err := emit(ev); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// notices reports whether a promise fails on a Backend.
func notices(t *testing.T, b Backend, promise string) bool {
	return len(contract(suite.Guarded(b), new(Record)).Failures(t, promise)) > 0
}

// TestBroken shows that the suite can fail. The promises that a driver breaks must fail.
func TestBroken(t *testing.T) {
	for name, c := range breakages() {
		t.Run(name, func(t *testing.T) {
			b := Backend{
				FakeClock: true,
				patience:  2 * time.Second,
				Compact:   func(_ testing.TB, s driver.Driver) { s.(*broken).Compact() },
				Open: func(testing.TB) driver.Driver {
					b := &broken{Driver: memkv.New(nil)}
					c.spoil(b)
					return b
				},
			}
			for promised := range strings.SplitSeq(c.noticed, ", ") {
				if promised == "none lost" || promised == "none doubled" {
					continue // the rest of a name with commas
				}
				if promised == "watch/in order" {
					promised = "watch/in order, none lost, none doubled"
				}
				if !notices(t, b, promised) {
					t.Errorf("a driver that %s passes %q", name, promised)
				}
			}
		})
	}
}

// TestForgetful loses the latest acknowledged writes, as an engine that does not sync them.
func TestForgetful(t *testing.T) {
	var early []byte
	b := Backend{
		Open: func(t testing.TB) driver.Driver {
			s, err := boltkv.Open(filepath.Join(t.TempDir(), "kv.db"), nil)
			if err != nil {
				t.Fatal(err)
			}
			if early, err = os.ReadFile(s.Path()); err != nil {
				t.Fatal(err)
			}
			return s
		},
		Restart: func(t testing.TB, old driver.Driver) driver.Driver {
			path := filepath.Join(t.TempDir(), "left.db")
			if err := errors.Join(old.Close(), os.WriteFile(path, early, 0o600)); err != nil {
				t.Fatal(err)
			}
			s, err := boltkv.Open(path, nil)
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
	}
	for _, p := range promises() {
		if p.Hook == "Restart" && !notices(t, b, p.Name) {
			t.Errorf("a driver that loses its writes passes %q", p.Name)
		}
	}
}

// TestChatty runs a driver that polls. The idle budget must catch it.
func TestChatty(t *testing.T) {
	b := remoteBackend()
	open := b.Open
	b.Open = func(t testing.TB) driver.Driver {
		r := open(t).(*remote)
		return &broken{Driver: r.Driver, watch: func(ctx context.Context, req driver.WatchRequest, emit func(driver.Event) error) error {
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			go func() {
				for {
					select {
					case <-tick.C:
						_, _ = r.Get(ctx, "poll")
					case <-ctx.Done():
						return
					}
				}
			}()
			return r.Watch(ctx, req, emit)
		}}
	}
	if !notices(t, b, "lifecycle/idle") {
		t.Error("a driver that polls passes")
	}
}

// TestDeaf runs drivers that do not notice that their engine is gone, or that hang with it.
func TestDeaf(t *testing.T) {
	for name, spoil := range map[string]func(*remote, *broken){
		"faults/engine down":       func(*remote, *broken) {},
		"faults/watch comes back":  func(*remote, *broken) {},
		"faults/mirror comes back": func(*remote, *broken) {},
		"faults/engine silent": func(r *remote, b *broken) {
			b.get = func(_ context.Context, key string) (driver.Item, error) {
				ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
				defer cancel()
				return r.Get(ctx, key)
			}
		},
	} {
		b := remoteBackend()
		open := b.Open
		b.Open = func(t testing.TB) driver.Driver {
			r := open(t).(*remote)
			spoiled := &broken{Driver: r.Driver}
			spoil(r, spoiled)
			return spoiled
		}
		if !notices(t, b, name) {
			t.Errorf("a driver that does not see its engine go passes %q", name)
		}
	}
}
