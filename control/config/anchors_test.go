package config_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/versions"
)

// TestAnchorKeys loads documents whose keys with the prefix x- have anchors for the other keys.
func TestAnchorKeys(t *testing.T) {
	type pool struct{ Min, Max int }
	type pools struct {
		Read, Write pool
		Names       []string
		Own         pool `config:"x-own"`
	}
	const text = `x-pool: &pool {min: 1, max: 9}
x-lists:
  names: &names [a, b]
x-own: &own {min: 5}
read: *pool
write: {<<: *pool, max: 3}
names: *names
`
	cfg, err := config.Load[pools](t.Context(), options(yaml(text), yaml("x-pool: &pool {max: 2}\nread: *pool\n")))
	must(t, err)
	want := pools{Read: pool{1, 2}, Write: pool{1, 3}, Own: pool{Min: 5}}
	got := *cfg.Get()
	if strings.Join(got.Names, "") != "ab" {
		t.Errorf("names: %v", got.Names)
	}
	if got.Names = nil; got.Read != want.Read || got.Write != want.Write || got.Own != want.Own {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if s := cfg.Status(); s.Warnings != nil {
		t.Errorf("warnings: %v", s.Warnings)
	}
	for _, o := range cfg.Snapshot().Origins() {
		if strings.HasPrefix(o.Path, "x-") && !strings.HasPrefix(o.Path, "x-own") {
			t.Errorf("a key that only holds an anchor has an origin: %+v", o)
		}
	}
	for name, wrong := range map[string]string{
		"no anchor":   "x-pool: {min: 1}\n",
		"not a home":  "pool: &pool {min: 1}\nread: *pool\n",
		"below":       "read: {x-pool: &pool 1, min: *pool}\n",
		"only called": "y-x-pool: &pool {min: 1}\nread: *pool\n",
	} {
		if _, err := config.Load[pools](t.Context(), options(yaml(wrong))); !errors.Is(err, config.ErrUnknownKey) {
			t.Errorf("%s: %v, want an unknown key", name, err)
		}
	}
	if err := versions.Check[pools]()("a.yaml", config.YAML, []byte(text)); err != nil {
		t.Error(err)
	}
}
