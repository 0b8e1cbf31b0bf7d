package config_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
)

// wants loads documents of a format, the first one lowest, and wants a text in the error.
func wants(t *testing.T, want, format string, texts ...string) {
	t.Helper()
	var sources []config.Source
	for i, text := range texts {
		sources = append(sources, &doc{name: []string{"base", "orders"}[i], format: format, text: text})
	}
	_, err := config.Load[service](t.Context(), options(sources...))
	if err == nil || !strings.Contains(err.Error()+"\n", want+"\n") {
		t.Errorf("%q:\ngot  %v\nwant %s", texts, err, want)
	}
}

// TestUnknownNull reports an unknown key also if its value is null, which the merged values do not hold.
func TestUnknownNull(t *testing.T) {
	wants(t, "config: base:2: nmae: unknown key: did you mean name?", config.YAML, "retries: 1\nnmae:\n")
	wants(t, "config: base:2: limts: unknown key: did you mean limits?", config.YAML, "retries: 1\nlimts:\n  # burst: 1\n")
	wants(t, "config: base:1: limts: unknown key: did you mean limits?", config.JSON, `{"limts": null}`)
	wants(t, "config: base:2: db.max_conn: unknown key: did you mean max_conns?", config.YAML, "db:\n  max_conn: null\n")
	wants(t, "config: base:1: prices.lamp.cent: unknown key: did you mean cents?", config.YAML, "prices: {lamp: {cents: 1, cent: }}\n")
	wants(t, "config: base:3: peers[0].prot: unknown key: did you mean port?", config.YAML, "peers:\n- host: a\n  prot:\n")
	wants(t, "config: orders:1: nmae: unknown key: did you mean name?", config.YAML, "retries: 1\n", "nmae:\n")
	wants(t, "config: base:1: nmae: unknown key: did you mean name?", config.YAML, "nmae:\n", "retries: 1\n")
	load(t, yaml("limits:\nprices: {lamp: null}\ndb: {password: }\n"))

	o := options(yaml("limts:\n"))
	o.AllowUnknown = true
	cfg, err := config.Load[service](t.Context(), o)
	if err != nil || len(cfg.Status().Warnings) != 1 {
		t.Errorf("%v, %v", err, cfg)
	}
	store := kv.New(memkv.New(nil), &kv.Options{Telemetry: telemetry.Off()})
	versions, err := config.NewVersions(store, "a", &config.VersionsOptions{Check: config.Check[service](), Telemetry: telemetry.Off()})
	must(t, err)
	_, err = versions.Publish(t.Context(), config.Draft{Document: "limts:\n", Format: config.YAML, Author: "ada"})
	if !errors.Is(err, config.ErrUnknownKey) || !strings.Contains(err.Error(), "draft.yaml:1: limts: unknown key") {
		t.Errorf("published: %v", err)
	}
}

// TestEmptyGroups places a mistake whose value has no keys or elements.
func TestEmptyGroups(t *testing.T) {
	wants(t, "config: base:2: pricse: unknown key: did you mean prices?", config.YAML, "retries: 1\npricse: {}\n")
	wants(t, "config: base:2: tgas: unknown key: did you mean tags?", config.YAML, "retries: 1\ntgas: []\n")
	wants(t, "config: base:2: limts: unknown key: did you mean limits?", config.TOML, "retries = 1\n[limts]\n")
	wants(t, "config: base:2: db.hst: unknown key", config.YAML, "db:\n  hst: {}\n")
	wants(t, "config: base:1: limits.per_secnd: unknown key: did you mean per_second?", config.JSON, `{"limits": {"per_secnd": {}}}`)
	wants(t, "config: base:2: retries: invalid: is a group of keys, not a whole number", config.YAML, "on: true\nretries: {}\n")
	wants(t, "config: base:1: retries: invalid: is a list, not a whole number", config.YAML, "retries: []\n")
	wants(t, "config: orders:2: retries: invalid: is a group of keys, not a whole number", config.YAML, "retries: 3\n", "on: true\nretries: {}\n")
	wants(t, "config: base:2: prices.lamp.cents: invalid: must be more than 0", config.YAML, "prices:\n  lamp: {}\n")
	wants(t, "config: base:1: db.hst: unknown key", config.YAML, "db: {hst: {}}\n", "db: {url: 'http://a'}\n")
}

// TestKinds says what a value is that is of another kind than its type.
func TestKinds(t *testing.T) {
	for text, want := range map[string]string{
		"retries: 99999999999999999999": "retries: invalid: 99999999999999999999 is out of range: write a whole number from -9223372036854775808 to 9223372036854775807",
		"retries: 1e99":                 "retries: invalid: 1e99 is out of range: write a whole number from -9223372036854775808 to 9223372036854775807",
		"db: {max_conns: 70000}":        "db.max_conns: invalid: 70000 is out of range: write a whole number from 0 to 65535",
		"retries: .inf":                 "retries: invalid: .inf is not a whole number",
		"on: 'true'":                    `on: invalid: "true" is a text, not true or false: write it without quotes`,
		"on: yes":                       `on: invalid: "yes" is not true or false`,
		"retries: '20'":                 `retries: invalid: "20" is a text, not a whole number: write it without quotes`,
		"retries: '1.5'":                `retries: invalid: "1.5" is not a whole number`,
		"ratio: '1.5'":                  `ratio: invalid: "1.5" is a text, not a number: write it without quotes`,
		"db: {password: [hunter2]}":     "db.password: invalid: is a list, not a text",
		"name: {a: b}":                  "name: invalid: is a group of keys, not a text",
		"name: 2026-01-02":              "name: invalid: 2026-01-02 is not a text; put it in quotes",
		"timeout: [1]":                  "timeout: invalid: is a list, not a duration such as 30s, 5m or 1h30m",
		"upload: true":                  "upload: invalid: true is not a config.Size; put it in quotes",
		"db: [a]":                       "db: invalid: is a list, not a group of keys",
		"peers: {a: b}":                 "peers: invalid: is a group of keys, not a list",
	} {
		wants(t, "config: base:1: "+want, config.YAML, text+"\n")
	}
}
