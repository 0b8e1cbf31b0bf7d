package versions_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/versions"
	"github.com/go-os/go-os/internal/tooling/configtesting"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/consulkv"
	"github.com/go-os/go-os/state/kv/etcdkv"
	"github.com/go-os/go-os/telemetry"
)

// backend is a real engine with two connections: one through a network that can be cut, and a direct one.
type backend struct {
	near, beside *kv.Store
	engine       *testenv.Process
	network      *testenv.ProxyHandle
	compact      func()
}

func etcdBackend(t *testing.T) backend {
	engine := testenv.Etcd(t)
	network := testenv.Proxy(t, engine.Endpoint())
	connect := func(addr string) (*kv.Store, *clientv3.Client) {
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{addr}, Logger: zap.NewNop(), DialKeepAliveTime: 2 * time.Second, DialKeepAliveTimeout: time.Second})
		must(t, err)
		t.Cleanup(func() { _ = client.Close() })
		return newStore(t, etcdkv.New(client, nil)), client
	}
	near, _ := connect(network.Endpoint())
	beside, client := connect(engine.Endpoint())
	return backend{near, beside, engine.Process, network, func() {
		now, err := client.Get(t.Context(), "revision")
		must(t, err)
		_, err = client.Compact(t.Context(), now.Header.Revision)
		must(t, err)
	}}
}

func consulBackend(t *testing.T) backend {
	engine := testenv.Consul(t)
	network := testenv.Proxy(t, engine.Addr(0))
	connect := func(addr string) *kv.Store {
		c := api.DefaultNonPooledConfig()
		c.Address = addr
		client, err := api.NewClient(c)
		must(t, err)
		return newStore(t, consulkv.New(client, &consulkv.Options{Wait: 2 * time.Second}))
	}
	return backend{connect(network.Endpoint()), connect(engine.Addr(0)), engine.Process, network, func() {}}
}

// ready waits until the engine answers.
func (b backend) ready(t *testing.T) {
	configtesting.Eventually(t, "the engine answers", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return b.beside.Ping(ctx) == nil
	})
}

// TestEngines follows versions and a key on etcd and Consul through restarts, compaction, and faults of the network.
func TestEngines(t *testing.T) {
	for name, open := range map[string]func(*testing.T) backend{"etcd": etcdBackend, "consul": consulBackend} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t)
			s := &scenario{backend: b, layer: versionsIn(t, b.beside, nil)}
			s.begin(t)
			s.restart(t)
			s.compactUnseen(t)
			s.cut(t)
			s.silence(t)
			s.pause(t)
			s.startWithout(t)
			if got := history(t, s.layer); strings.Count(got, "<") < s.n || !strings.HasSuffix(got, "2<1 1<0") {
				t.Errorf("the history is not whole after %d versions: %s", s.n, got)
			}
		})
	}
}

// scenario is a configuration and the faults of its engine.
type scenario struct {
	backend
	layer *versions.Layer
	cfg   *config.Config[service]
	n     int // the last version
}

func (s *scenario) options(t *testing.T) *config.Options {
	return &config.Options{
		Telemetry: telemetry.Off(), Timeout: time.Second, Backoff: 50 * time.Millisecond, MaxBackoff: 500 * time.Millisecond, LastGood: t.TempDir() + "/last-good.json",
		Sources: []config.Source{
			versions.Published(s.near, &versions.PublishedOptions{Layers: []string{"prod/base", layer}, Instance: "orders-7"}),
			versions.Key(s.near, "switches.yaml", nil),
		},
	}
}

// next publishes a version and sets the key, over the direct connection.
func (s *scenario) next(t *testing.T) {
	t.Helper()
	s.n++
	configtesting.Eventually(t, "published", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.layer.Publish(ctx, draft(fmt.Sprintf("tags: [v%d]\n", s.n)))
		if err == nil {
			_, err = s.beside.Put(ctx, "switches.yaml", fmt.Appendf(nil, "name: k%d\n", s.n))
		}
		if err != nil {
			t.Logf("publishing version %d again: %v", s.n, err)
		}
		return err == nil
	})
}

// seen waits until the configuration has the last version, and no problem.
func (s *scenario) seen(t *testing.T, after string) {
	t.Helper()
	took := configtesting.Eventually(t, "seen after "+after, func() bool {
		got := s.cfg.Get()
		return len(got.Tags) == 1 && got.Tags[0] == fmt.Sprintf("v%d", s.n) && got.Name == fmt.Sprintf("k%d", s.n)
	})
	configtesting.Eventually(t, "no problem after "+after, func() bool { return s.cfg.Err() == nil })
	t.Logf("seen %v after %s", took.Round(time.Millisecond), after)
}

// failing waits until the configuration reports a problem. Its values must stay in force.
func (s *scenario) failing(t *testing.T, why string) {
	t.Helper()
	configtesting.Eventually(t, "a problem while "+why, func() bool { return s.cfg.Err() != nil })
	if got := s.cfg.Get(); len(got.Tags) != 1 {
		t.Errorf("while %s: %+v", why, got)
	}
}

func (s *scenario) begin(t *testing.T) {
	s.next(t)
	cfg, err := config.Load[service](t.Context(), s.options(t))
	must(t, err)
	s.cfg = cfg
	configtesting.Follow(t, cfg)
	for range 5 {
		s.next(t)
		s.seen(t, "a change")
	}
	configtesting.Eventually(t, "the instance reports", func() bool {
		all, err := s.layer.Instances(t.Context())
		return err == nil && len(all) == 1 && all[0].Version == s.n
	})
}

func (s *scenario) restart(t *testing.T) {
	s.engine.Kill()
	s.failing(t, "the engine is dead")
	s.engine.Restart()
	s.ready(t)
	s.next(t)
	s.seen(t, "a restart")
}

// compactUnseen compacts the history of the engine while the watch is cut off.
func (s *scenario) compactUnseen(t *testing.T) {
	s.network.Cut()
	for range 3 {
		s.next(t)
	}
	s.compact()
	s.network.Heal()
	s.seen(t, "a compaction")
	s.next(t)
	s.seen(t, "a change after a compaction")
}

func (s *scenario) cut(t *testing.T) {
	s.network.Cut()
	s.failing(t, "the network is cut")
	s.next(t)
	s.network.Heal()
	s.seen(t, "a cut network")
}

// silence drops all packets, which keep-alives or timeouts of reads notice.
func (s *scenario) silence(t *testing.T) {
	s.network.Drop()
	s.next(t)
	timer := time.NewTimer(time.Second)
	<-timer.C
	s.network.Heal()
	s.seen(t, "a silent network")
}

func (s *scenario) pause(t *testing.T) {
	s.engine.Pause()
	timer := time.NewTimer(2 * time.Second)
	<-timer.C
	s.engine.Resume()
	s.ready(t)
	s.next(t)
	s.seen(t, "a pause")
}

// startWithout loads while the engine is down. Load succeeds with a last-good file, and fails without one.
func (s *scenario) startWithout(t *testing.T) {
	with := s.options(t)
	_, err := config.Load[service](t.Context(), with)
	must(t, err)
	s.engine.Kill()
	cfg, err := config.Load[service](t.Context(), with)
	must(t, err)
	if got := cfg.Get(); len(got.Tags) != 1 || got.Tags[0] != fmt.Sprintf("v%d", s.n) || cfg.Err() == nil {
		t.Errorf("from the last-good file: %+v", got)
	}
	without := *with
	without.LastGood, without.Sources = "", []config.Source{config.Required(with.Sources[0])}
	if _, err := config.Load[service](t.Context(), &without); !errors.Is(err, config.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without: %v", err)
	}
	configtesting.Follow(t, cfg)
	s.engine.Restart()
	s.ready(t)
	s.cfg = cfg
	s.next(t)
	s.seen(t, "a start without the engine")
}
