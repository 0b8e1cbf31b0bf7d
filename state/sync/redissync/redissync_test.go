package redissync_test

import (
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/go-os/go-os/internal/tooling/suite"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/sync/driver"
	"github.com/go-os/go-os/state/sync/redissync"
	"github.com/go-os/go-os/state/sync/synctest"
)

// owner closes the client with the driver. Each driver has its own client, so that leaks are detected.
type owner struct {
	*redissync.Driver
	client rueidis.Client
}

func (o *owner) Close() error {
	err := o.Driver.Close()
	o.client.Close()
	return err
}

func dial(t testing.TB, addr ...string) rueidis.Client {
	t.Helper()
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: addr, ConnWriteTimeout: 5 * time.Second, DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// ttl is that of the suite's sessions. A request has a third of it, while sixteen promises share the processors with the server.
const ttl = 3 * time.Second

// poll is long, so that scheduled polls do not hide the requests that have a cause.
const poll = 10 * time.Second

func opens(addr ...string) synctest.Open {
	return func(t testing.TB) driver.Driver {
		client := dial(t, addr...)
		return &owner{Driver: redissync.New(client, &redissync.Options{Poll: poll}), client: client}
	}
}

// byDefault returns a driver with default options, on a client with default options.
func byDefault(t testing.TB, addr string) (driver.Driver, func()) {
	t.Helper()
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}})
	if err != nil {
		t.Fatal(err)
	}
	return redissync.New(client, nil), client.Close
}

// scripts returns the number of scripts that Redis has run.
func scripts(t testing.TB, addr string) int64 {
	t.Helper()
	client := dial(t, addr)
	defer client.Close()
	said, err := client.Do(t.Context(), client.B().Info().Section("commandstats").Build()).ToString()
	if err != nil {
		t.Fatal(err)
	}
	var n int64
	for _, found := range regexp.MustCompile(`cmdstat_eval(?:sha)?:calls=(\d+)`).FindAllStringSubmatch(said, -1) {
		calls, err := strconv.ParseInt(found[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		n += calls
	}
	if n == 0 {
		t.Fatal("Redis does not say how many scripts it has run")
	}
	return n
}

func TestContract(t *testing.T) {
	clock := testenv.NewClock(t)
	engine := testenv.RedisAt(t, clock)
	network := testenv.Proxy(t, engine.Addr(0))
	tap := testenv.Tap(t, network.Endpoint())
	synctest.Run(t, synctest.Backend{
		Begin:  func(testing.TB) synctest.Open { return opens(tap.Endpoint()) },
		Beside: opens(engine.Addr(0)),
		TTL:    ttl,
		Kill:   func(testing.TB) { engine.Kill() }, Revive: func(testing.TB) { engine.Restart() },
		Pause: func(testing.TB) { engine.Pause() }, Resume: func(testing.TB) { engine.Resume() },
		Cut: func(testing.TB) { network.Cut() }, Drop: func(testing.TB) { network.Drop() }, Heal: func(testing.TB) { network.Heal() },
		Slow:     func(_ testing.TB, latency, jitter time.Duration) { network.Slow(latency, jitter) },
		Tap:      tap,
		Step:     func(_ testing.TB, offset time.Duration) { clock.Step(offset) },
		Default:  func(t testing.TB) (driver.Driver, func()) { return byDefault(t, engine.Addr(0)) },
		Requests: func() int64 { return scripts(t, engine.Addr(0)) },
		// A waiter checks when the claim before it would end without a renewal, which is after two thirds of a TTL at the earliest.
		Polls:       1.5 + 1/poll.Seconds(),
		Record:      "testdata/contract.json",
		EngineFuncs: testenv.Goroutines(),
	})
}

// TestContractCluster runs the suite against three servers that share the names.
func TestContractCluster(t *testing.T) {
	suite.Long(t)
	var addr []string
	for _, node := range testenv.RedisCluster(t, 3) {
		addr = append(addr, node.Addr(0))
	}
	synctest.Run(t, synctest.Backend{
		Begin:  func(testing.TB) synctest.Open { return opens(addr...) },
		TTL:    ttl,
		Record: "testdata/contract-cluster.json",
		// The client closes unused connections later.
		EngineFuncs: append(testenv.Goroutines(), "github.com/redis/rueidis.(*clusterClient)._refresh.func2"),
	})
}

// TestTokensOutliveTheData deletes all data of Redis. The next token is still larger.
func TestTokensOutliveTheData(t *testing.T) {
	engine := testenv.Redis(t)
	client := dial(t, engine.Addr(0))
	defer client.Close()
	d := opens(engine.Addr(0))(t)
	defer d.Close()
	var last driver.Token
	for range 3 {
		lease, err := d.Grant(t.Context(), time.Second)
		if err != nil {
			t.Fatal(err)
		}
		token, _, err := d.Acquire(t.Context(), driver.Claim{Name: "n", ID: "a", Lease: lease, Seats: 1}, false)
		if err != nil || token <= last {
			t.Fatalf("token %d came after %d, %v", token, last, err)
		}
		last = token
		if err := client.Do(t.Context(), client.B().Flushall().Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
}
