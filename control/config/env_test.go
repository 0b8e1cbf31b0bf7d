package config_test

import (
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/go-os/go-os/control/config"
)

type reachable struct {
	MaxConns int    `config:"max-conns"`
	Dotted   string `config:"a.b"`
	Port     int
	Name     string
	Hosts    []string
	DB       struct {
		Host string `default:"localhost"`
		Port int    `default:"5432"`
		Pool struct{ Max, Min int }
	}
	Nodes []struct {
		Host string
		Port int `default:"80"`
	}
}

// TestEnvironment sets keys of every kind by variables.
func TestEnvironment(t *testing.T) {
	cfg, err := config.Load[reachable](t.Context(), options(yaml("db: {host: file, port: 1}\nname: file\n"), config.Env("X_", []string{
		"X_DB_POOL_MAX=9", `X_DB={"port": 2, "pool": {"max": 3, "min": 4}}`, "X_MAX_CONNS=5", "X_A_B=dotted", "X_NAME=", "X_HOSTS=", `X_NODES=[{"host": "a"}]`, "X_SERVICE_HOST=10.0.0.1",
	})))
	must(t, err)
	got := cfg.Get()
	if got.DB.Host != "file" || got.DB.Port != 2 || got.DB.Pool.Max != 9 || got.DB.Pool.Min != 4 {
		t.Errorf("the object is merged, and the longer name overrides: %+v", got.DB)
	}
	if got.MaxConns != 5 || got.Dotted != "dotted" || got.Name != "" || got.Hosts == nil || len(got.Hosts) != 0 || got.Nodes[0].Port != 80 {
		t.Errorf("%+v", *got)
	}
	if w := cfg.Status().Warnings; len(w) != 1 || !strings.Contains(w[0].Error(), "$X_SERVICE_HOST: unknown key") {
		t.Errorf("warnings: %v", w)
	}
}

// TestEnvironmentMistakes: the error of Load names every bad variable.
func TestEnvironmentMistakes(t *testing.T) {
	for variable, want := range map[string]string{
		"X_PORT=tcp://10.0.0.1:8080":    `$X_PORT: port: invalid: "tcp://10.0.0.1:8080" is not a whole number: Kubernetes sets this variable for a service of that name; set enableServiceLinks: false`,
		"X_DB=tcp://10.0.0.1:8080":      "$X_DB: db: invalid: is not a group of keys: Kubernetes sets this variable",
		"X_PORT=":                       "$X_PORT: port: invalid: is empty: give it a value, or unset it",
		"X_DB=":                         "$X_DB: db: invalid: is empty",
		"X_DB={":                        "$X_DB: db: invalid: is not an object in JSON",
		`X_DB={"hots": "a"}`:            "$X_DB: db.hots: unknown key: did you mean host?",
		`X_NODES=[{"hots": "a"}]`:       "$X_NODES: nodes[0].hots: unknown key: did you mean host?",
		`X_NODES=[{"port": "80"}]`:      `$X_NODES: nodes[0].port: invalid: "80" is a text, not a whole number: write it without quotes`,
		`X_DB={"pool": {"maximum": 1}}`: "$X_DB: db.pool.maximum: unknown key",
	} {
		_, err := config.Load[reachable](t.Context(), options(config.Env("X_", []string{variable, "X_MAX_CONNS=many"})))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `$X_MAX_CONNS: max-conns: invalid: "many"`) {
			t.Errorf("%s: %v", variable, err)
		}
	}
	type clash struct {
		AB int `config:"a-b"`
		A  struct{ B int }
	}
	if _, err := config.Load[clash](t.Context(), options(config.Env("X_", nil))); !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), "X_A_B would set both a-b and a.b") {
		t.Errorf("%v", err)
	}
}

// TestEnvironmentChanges: a variable that becomes invalid at run time is rejected alone, until it is valid again.
func TestEnvironmentChanges(t *testing.T) {
	environ := []string{"X_PORT=1", "X_NAME=one", "X_MAX_CONNS=1"}
	file := &live{name: "file", text: "hosts: [a]\n"}
	cfg, err := config.Load[reachable](t.Context(), options(file, config.Env("X_", environ)))
	must(t, err)
	environ[0], environ[1] = "X_PORT=many", "X_NAME=two"
	for _, host := range []string{"b", "c"} { // another change does not hide the problem
		file.set("hosts: ["+host+"]\n", nil)
		err = cfg.Reload(t.Context())
		if err == nil || !strings.Contains(err.Error(), `$X_PORT: port: invalid: "many"`) || len(cfg.Status().Problems) != 1 {
			t.Fatalf("%v", err)
		}
		if got := cfg.Get(); got.Port != 1 || got.Name != "two" || got.MaxConns != 1 || got.Hosts[0] != host {
			t.Fatalf("%+v", *got)
		}
	}
	serial := cfg.Snapshot().Serial
	if err = cfg.Reload(t.Context()); err == nil || cfg.Snapshot().Serial != serial {
		t.Errorf("nothing has changed: %v, serial %d, then %d", err, serial, cfg.Snapshot().Serial)
	}
	environ[0] = "X_PORT=2"
	if err = cfg.Reload(t.Context()); err != nil || cfg.Get().Port != 2 || cfg.Err() != nil {
		t.Errorf("healed: %v, %+v", err, cfg.Get())
	}
}

// hosts is a flag that may be repeated. Its String is for people, and cannot be parsed.
type hosts []string

func (h *hosts) String() string     { return fmt.Sprint([]string(*h)) }
func (h *hosts) Set(s string) error { *h = append(*h, s); return nil }

// gettable is hosts with the method of a flag.Getter.
type gettable struct{ hosts }

func (g *gettable) Get() any { return []string(g.hosts) }

// TestFlagValues sets keys by every kind of flag.Value.
func TestFlagValues(t *testing.T) {
	flags := func(define func(*flag.FlagSet), args ...string) config.Source {
		set := flag.NewFlagSet("x", flag.ContinueOnError)
		define(set)
		must(t, set.Parse(args))
		return config.Flags(set)
	}
	cfg, err := config.Load[reachable](t.Context(), options(yaml("hosts: [file]\nname: file\n"), flags(func(s *flag.FlagSet) {
		s.Var(&gettable{}, "hosts", "")
		s.Int("max-conns", 0, "")
		s.String("name", "x", "")
		s.String("db", "", "")
	}, "-hosts", "a,b", "-hosts", "c", "-max-conns", "3", "-name", "", "-db", `{"port": 7}`)))
	must(t, err)
	if got := cfg.Get(); strings.Join(got.Hosts, "|") != "a,b|c" || got.MaxConns != 3 || got.Name != "" || got.DB.Port != 7 || got.DB.Host != "localhost" {
		t.Errorf("%+v", *got)
	}
	for name, source := range map[string]config.Source{
		"hosts": flags(func(s *flag.FlagSet) { s.Func("hosts", "", func(string) error { return nil }) }, "-hosts", "a"),
		"name":  flags(func(s *flag.FlagSet) { s.BoolFunc("name", "", func(string) error { return nil }) }, "-name"),
		"port": flags(func(s *flag.FlagSet) {
			s.Func("port", "", func(v string) error { _, err := strconv.Atoi(v); return err })
		}, "-port", "7"),
		"max-conns": flags(func(s *flag.FlagSet) { s.Var(&hosts{}, "max-conns", "") }, "-max-conns", "7"),
	} {
		if _, err := config.Load[reachable](t.Context(), options(yaml("hosts: [file]\n"), source)); !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), "config: -"+name+": "+name+": ") {
			t.Errorf("-%s: %v", name, err)
		}
	}
	if _, err := config.Load[reachable](t.Context(), options(flags(func(s *flag.FlagSet) { s.Var(&hosts{}, "hosts", "") }, "-hosts", "a", "-hosts", "b"))); err == nil {
		t.Error("a list that is only written for people is taken for one")
	}
}

// TestNames derives keys from field names with abbreviations.
func TestNames(t *testing.T) {
	type names struct {
		UserIDs, BackendURLs []int
		IPv4, IPv4Address    int
		HTTPPort, TLSOn      int
		CacheTTLMs, VMs      int
		MyDBId, X, SKUs      int
	}
	const doc = "user_ids: [1]\nbackend_urls: [1]\nipv4: 1\nipv4_address: 1\nhttp_port: 1\ntls_on: 1\ncache_ttl_ms: 1\nvms: 1\nmy_db_id: 1\nx: 1\nskus: 1\n"
	_, err := config.Load[names](t.Context(), options(yaml(doc)))
	must(t, err)
}
