package rediskv_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/go-os/go-os/internal/tooling/suite"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/kvtest"
	"github.com/go-os/go-os/state/kv/rediskv"
)

// owner closes the client with the driver. Each driver has its own client, so that leaks are detected.
type owner struct {
	*rediskv.Driver
	client rueidis.Client
}

func (o *owner) Close() error {
	err := o.Driver.Close()
	o.client.Close()
	return err
}

func connect(t testing.TB, opts *rediskv.Options, addr ...string) *owner {
	t.Helper()
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: addr, ConnWriteTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return &owner{Driver: rediskv.New(client, opts), client: client}
}

// backend returns a driver behind a network that can be cut, and one that bypasses it.
func backend(t testing.TB, opts *rediskv.Options) kvtest.Backend {
	engine := testenv.Redis(t)
	network := testenv.Proxy(t, engine.Addr(0))
	opts.MaxValue, opts.Durable = 1<<20, true
	return kvtest.Backend{
		EngineFuncs: testenv.Goroutines(),
		Open: func(t testing.TB) driver.Driver {
			o := connect(t, opts, network.Endpoint())
			if err := o.client.Do(t.Context(), o.client.B().Flushall().Build()).Error(); err != nil {
				t.Fatal(err)
			}
			return o
		},
		Restart: func(t testing.TB, old driver.Driver) driver.Driver {
			engine.Kill()
			engine.Restart()
			awake(t, old)
			return old
		},
		Kill:   func(testing.TB) { engine.Kill() },
		Revive: func(testing.TB) { engine.Restart() },
		Pause:  func(testing.TB) { engine.Pause() },
		Resume: func(testing.TB) { engine.Resume() },
		Cut:    func(testing.TB) { network.Cut() },
		Drop:   func(testing.TB) { network.Drop() },
		Slow:   func(_ testing.TB, latency, jitter time.Duration) { network.Slow(latency, jitter) },
		Heal:   func(testing.TB) { network.Heal() },
		Beside: func(t testing.TB) driver.Driver { return connect(t, nil, engine.Addr(0)) },

		Defaults: func(testing.TB) driver.Capabilities { return rediskv.New(nil, nil).Capabilities() },
	}
}

// awake waits until all connections of the client reach the engine again. The client picks one at random.
func awake(t testing.TB, s driver.Driver) {
	t.Helper()
	const often = 64
	testenv.Eventually(t, 20*time.Second, "Redis to answer", func() error {
		for range often {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			err := s.Delete(ctx, driver.DeleteRequest{Key: "awake"})
			cancel()
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func TestContract(t *testing.T) {
	b := backend(t, &rediskv.Options{})
	b.Record = "testdata/contract.json"
	kvtest.Run(t, b)
}

// TestContractCached runs the suite with client-side caching.
func TestContractCached(t *testing.T) {
	suite.Long(t)
	kvtest.Run(t, backend(t, &rediskv.Options{CacheTTL: time.Minute}))
}

func FuzzKeys(f *testing.F) { kvtest.Fuzz(f, backend(f, &rediskv.Options{})) }

// TestForeignKey lists a database with a key from another program. The error names the key.
func TestForeignKey(t *testing.T) {
	t.Parallel()
	s := connect(t, nil, testenv.Redis(t).Addr(0))
	defer s.Close()
	for key, value := range map[string]string{"app/ours?": "short", "other": "a value of another program"} {
		if err := s.client.Do(t.Context(), s.client.B().Set().Key(key).Value(value).Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.List(t.Context(), driver.ListRequest{Prefix: "app/", Limit: 10})
	if err == nil || !strings.Contains(err.Error(), `"app/ours?"`) || !strings.Contains(err.Error(), "not written by this driver") {
		t.Errorf("got %v, want an error that names the key", err)
	}
}
