package etcdsync_test

import (
	"errors"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/go-os/go-os/internal/tooling/suite"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/sync/driver"
	"github.com/go-os/go-os/state/sync/etcdsync"
	"github.com/go-os/go-os/state/sync/synctest"
)

// owner closes the client with the driver. Each driver has its own client, so that leaks are detected.
type owner struct {
	*etcdsync.Driver
	client *clientv3.Client
}

func (o *owner) Close() error { return errors.Join(o.Driver.Close(), o.client.Close()) }

func dial(t testing.TB, endpoints ...string) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, Logger: zap.NewNop(), DialTimeout: 5 * time.Second,
		DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 2 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func opens(endpoints ...string) synctest.Open {
	return func(t testing.TB) driver.Driver {
		client := dial(t, endpoints...)
		return &owner{Driver: etcdsync.New(client, nil), client: client}
	}
}

// byDefault returns a driver with default options, on a client with default options that does not log.
func byDefault(t testing.TB, endpoint string) (driver.Driver, func()) {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	return etcdsync.New(client, nil), func() { _ = client.Close() }
}

// TestContract runs the suite against one etcd behind a network that can be cut.
func TestContract(t *testing.T) {
	engine := testenv.Etcd(t)
	network := testenv.Proxy(t, engine.Endpoint())
	tap := testenv.Tap(t, network.Endpoint())
	synctest.Run(t, synctest.Backend{
		TTL:    5 * time.Second, // a request may take a third of it, while sixteen promises share the CPUs with the server
		Begin:  func(testing.TB) synctest.Open { return opens(tap.Endpoint()) },
		Beside: opens(engine.Endpoint()),
		Kill:   func(testing.TB) { engine.Kill() }, Revive: func(testing.TB) { engine.Restart() },
		Pause: func(testing.TB) { engine.Pause() }, Resume: func(testing.TB) { engine.Resume() },
		Cut: func(testing.TB) { network.Cut() }, Drop: func(testing.TB) { network.Drop() }, Heal: func(testing.TB) { network.Heal() },
		Slow:        func(_ testing.TB, latency, jitter time.Duration) { network.Slow(latency, jitter) },
		Tap:         tap,
		Default:     func(t testing.TB) (driver.Driver, func()) { return byDefault(t, engine.Endpoint()) },
		Requests:    engine.Requests,
		Record:      "testdata/contract.json",
		EngineFuncs: testenv.Goroutines(),
	})
}

// TestContractCluster runs the suite against three etcd servers whose leader can be killed.
func TestContractCluster(t *testing.T) {
	suite.Long(t)
	cluster := testenv.EtcdCluster(t, 3)
	var taps []*testenv.TapHandle
	var endpoints []string
	for _, endpoint := range cluster.Endpoints() {
		one := testenv.Tap(t, endpoint)
		taps, endpoints = append(taps, one), append(endpoints, one.Endpoint())
	}
	slow := func(i int, latency time.Duration) { taps[i].Slow(latency) }
	synctest.Run(t, synctest.Backend{
		Begin: func(testing.TB) synctest.Open { return opens(endpoints...) },
		Kill:  func(testing.TB) { cluster.Kill() }, Revive: func(testing.TB) { cluster.Restart() },
		KillLeader: func(testing.TB) { cluster.KillLeader() },
		Pause:      func(testing.TB) { cluster.Pause() }, Resume: func(testing.TB) { cluster.Resume() },
		Endpoints: len(taps),
		Lag:       func(_ testing.TB, endpoint int, latency time.Duration) { slow(endpoint, latency) },
		Heal: func(testing.TB) {
			for i := range taps {
				slow(i, 0)
			}
		},
		Record:      "testdata/contract-three-nodes.json",
		EngineFuncs: testenv.Goroutines(),
	})
}
