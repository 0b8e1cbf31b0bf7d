package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	koanfyaml "github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/rawbytes"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/viper"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/driver"
	"github.com/go-os/go-os/control/config/versions"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/etcdkv"
	"github.com/go-os/go-os/telemetry"
)

// configText is the configuration that all three read.
const configText = "service:\n  name: orders\n  retries: 3\n"

// reads is how many reads an iteration makes: a single read is too short for the clock.
const reads = 1000

// Config are the cases of a read of one number of a configuration.
var Config = []Case{
	{Name: "1,000 reads, control/config", Setup: configReads},
	{Name: "1,000 reads, koanf", Setup: koanfReads},
	{Name: "1,000 reads, viper", Setup: viperReads},
}

// check keeps the compiler from removing reads, and a case from reading another value.
func check(sum int) {
	if sum != 3*reads {
		panic("that is not what the document says")
	}
}

type serviceConfig struct {
	Service struct {
		Name    string
		Retries int
	}
}

// configDoc is a source in memory.
type configDoc struct{}

func (configDoc) Name() string { return "memory" }

func (configDoc) Read(context.Context) ([]driver.Document, error) {
	return []driver.Document{{Name: "memory", Format: config.YAML, Data: []byte(configText)}}, nil
}

func configReads() (func(), func()) {
	cfg, err := config.Load[serviceConfig](context.Background(), &config.Options{Sources: []config.Source{configDoc{}}, Telemetry: telemetry.Off()})
	if err != nil {
		panic(err)
	}
	return func() {
		n := 0
		for range reads {
			n += cfg.Get().Service.Retries
		}
		check(n)
	}, func() {}
}

func koanfReads() (func(), func()) {
	k := koanf.New(".")
	if err := k.Load(rawbytes.Provider([]byte(configText)), koanfyaml.Parser()); err != nil {
		panic(err)
	}
	return func() {
		n := 0
		for range reads {
			n += k.Int("service.retries")
		}
		check(n)
	}, func() {}
}

func viperReads() (func(), func()) {
	v := viper.New()
	v.SetConfigType("yaml")
	if err := v.ReadConfig(strings.NewReader(configText)); err != nil {
		panic(err)
	}
	return func() {
		n := 0
		for range reads {
			n += v.GetInt("service.retries")
		}
		check(n)
	}, func() {}
}

// Fleet is many instances that follow one key on etcd.
type Fleet struct {
	// Instances and Changes are their numbers. Each change is written when all instances have seen the one before.
	Instances, Changes int
	// Published makes them follow a layer of versions, instead of a plain key.
	Published bool
}

// Fleets are the measured fleets.
var Fleets = []Fleet{
	{Instances: 1000, Changes: 30},
	{Instances: 1000, Changes: 30, Published: true},
}

// Name returns the name of the row.
func (f Fleet) Name() string {
	if f.Published {
		return "versions.Published"
	}
	return "versions.Key"
}

// Seen is the result of a Fleet.
type Seen struct {
	// Changes is how many changes were seen, by all instances together.
	Changes int
	// P50, P99 and Max are the times from the start of a write until the change is in force in an instance.
	P50, P99, Max time.Duration
}

// fleetConfig is the configuration of the instances.
type fleetConfig struct{ Serial int }

// fleetClients is how many clients the instances of this process share. A thousand connections from one process would be another
// measurement.
const fleetClients = 10

// Measure runs the fleet.
func (f Fleet) Measure(t testing.TB) (Seen, error) {
	endpoint := testenv.Etcd(t).Endpoint()
	stores, err := fleetStores(t, endpoint)
	if err != nil {
		return Seen{}, err
	}
	write, source := f.target()
	if err := write(stores[0], 0); err != nil {
		return Seen{}, err
	}
	r := &roll{delays: make([]time.Duration, 0, f.Instances*f.Changes)}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	for i := range f.Instances {
		if err := r.join(ctx, &group, source(stores[i%fleetClients], fmt.Sprintf("orders-%d", i))); err != nil {
			return Seen{}, err
		}
	}
	for n := range f.Changes {
		r.begin(f.Instances)
		if err := write(stores[0], n+1); err != nil {
			return Seen{}, err
		}
		select {
		case <-r.all.Done():
		case <-time.After(30 * time.Second):
			return Seen{}, fmt.Errorf("change %d was not seen by %d instances", n+1, r.left.Load())
		}
	}
	return r.seen(), nil
}

// fleetStores returns a store for each client.
func fleetStores(t testing.TB, endpoint string) (stores []*kv.Store, err error) {
	for range fleetClients {
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
		if err != nil {
			return nil, err
		}
		store := kv.New(etcdkv.New(client, nil), &kv.Options{Telemetry: telemetry.Off()})
		t.Cleanup(func() { _, _ = store.Close(), client.Close() })
		stores = append(stores, store)
	}
	return stores, nil
}

// target returns a function that writes a change, and the source that an instance follows.
func (f Fleet) target() (write func(*kv.Store, int) error, source func(*kv.Store, string) config.Source) {
	text := func(n int) string { return fmt.Sprintf("serial: %d\n", n) }
	if !f.Published {
		write = func(s *kv.Store, n int) error {
			_, err := s.Put(context.Background(), "orders.yaml", []byte(text(n)))
			return err
		}
		return write, func(s *kv.Store, _ string) config.Source { return versions.Key(s, "orders.yaml", nil) }
	}
	const layer = "prod/application/orders"
	write = func(s *kv.Store, n int) error {
		v, err := versions.New(s, layer, &versions.Options{Telemetry: telemetry.Off()})
		if err == nil {
			_, err = v.Publish(context.Background(), versions.Draft{Document: text(n), Format: config.YAML, Author: "bench"})
		}
		return err
	}
	return write, func(s *kv.Store, instance string) config.Source {
		return versions.Published(s, &versions.PublishedOptions{Layers: []string{layer}, Instance: instance})
	}
}

// roll counts the instances that have seen a change.
type roll struct {
	left atomic.Int64
	all  context.Context // ends when all have seen the change
	done context.CancelFunc

	mu     sync.Mutex
	began  time.Time
	delays []time.Duration
}

// join adds an instance that follows its source until ctx ends.
func (r *roll) join(ctx context.Context, group *sync.WaitGroup, source config.Source) error {
	cfg, err := config.Load[fleetConfig](ctx, &config.Options{Sources: []config.Source{config.Required(source)}, Telemetry: telemetry.Off(), Timeout: 30 * time.Second})
	if err != nil {
		return err
	}
	if _, err := cfg.OnChange("serial", func(_, _ *fleetConfig) { r.saw() }); err != nil {
		return err
	}
	group.Go(func() { _ = cfg.Run(ctx) })
	return nil
}

func (r *roll) begin(instances int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all, r.done = context.WithCancel(context.Background())
	r.left.Store(int64(instances))
	r.began = time.Now()
}

func (r *roll) saw() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delays = append(r.delays, time.Since(r.began))
	if r.left.Add(-1) == 0 {
		r.done()
	}
}

func (r *roll) seen() Seen {
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.Sort(r.delays)
	n := len(r.delays)
	if n == 0 {
		return Seen{}
	}
	return Seen{Changes: n, P50: r.delays[n/2], P99: r.delays[n*99/100], Max: r.delays[n-1]}
}

var errMissed = errors.New("not every change was seen by every instance")

// Whole returns an error unless every instance has seen every change.
func (s Seen) Whole(f Fleet) error {
	if s.Changes != f.Instances*f.Changes {
		return fmt.Errorf("%w: %d of %d", errMissed, s.Changes, f.Instances*f.Changes)
	}
	return nil
}
