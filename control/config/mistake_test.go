package config_test

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/versions"
	"github.com/go-os/go-os/internal/tooling/configtesting"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
)

// wants loads documents of a format, with ascending precedence, and checks that the error contains want.
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

// TestUnknownNull: an unknown key is reported even if its value is null, which the merged values do not contain.
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
	v, err := versions.New(store, "a", &versions.Options{Check: versions.Check[service](), Telemetry: telemetry.Off()})
	must(t, err)
	_, err = v.Publish(t.Context(), versions.Draft{Document: "limts:\n", Format: config.YAML, Author: "ada"})
	if !errors.Is(err, config.ErrUnknownKey) || !strings.Contains(err.Error(), "draft.yaml:1: limts: unknown key") {
		t.Errorf("published: %v", err)
	}
}

// TestEmptyGroups: the error has the place of a value without keys or elements.
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

// TestKinds: the error names the kind of a value that is of the wrong kind for its type.
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

// TestRulesBesideMisfits: broken rules are reported, but not those that a value of the wrong type may have broken.
func TestRulesBesideMisfits(t *testing.T) {
	type element struct {
		Weight int `validate:"gt=0"`
	}
	type shop struct {
		Port    int            `validate:"gt=0"`
		Rate    int            `validate:"gt=0"`
		Low     int            `validate:"ltfield=Port"`
		Path    string         `validate:"required_with=Port,omitempty,min=3"`
		Weights []int          `validate:"dive,gt=0"`
		Few     []int          `validate:"omitempty,min=1,dive,gt=0"`
		Named   map[string]int `validate:"dive,gt=0"`
		Nodes   []element
	}
	for text, want := range map[string]string{
		"port: x\nrate: 0\nlow: 5\n":                                     "1: port: invalid: \"x\" is not a whole number|2: rate: invalid: must be more than 0",
		"rate: 1\nport: 1\nlow: x\npath: a\n":                            "3: low: invalid: \"x\" is not a whole number|4: path: invalid: must be at least 3 characters long",
		"port: 1\nrate: 1\nweights: [null, x, 1]\npath: abc\n":           "3: weights[1]: invalid: \"x\" is not a whole number",
		"port: 1\nrate: 0\nfew: [x]\npath: abc\n":                        "2: rate: invalid: must be more than 0|3: few[0]: invalid: \"x\" is not a whole number",
		"port: 1\nrate: 1\nnamed: {a: x, b: 0}\npath: abc\n":             "3: named.a: invalid: \"x\" is not a whole number|3: named.b: invalid: must be more than 0",
		"port: 1\nrate: 1\nnodes: [{weight: x}, {weight: 0}]\npath: abc": "3: nodes[0].weight: invalid: \"x\" is not a whole number|3: nodes[1].weight: invalid: must be more than 0",
	} {
		_, err := config.Load[shop](t.Context(), options(&doc{name: "a", format: config.YAML, text: text}))
		if want = "config: a:" + strings.ReplaceAll(want, "|", "\nconfig: a:"); err == nil || err.Error() != want {
			t.Errorf("%q:\ngot  %v\nwant %v", text, err, want)
		}
	}
	// A Validate method may read every field: none is called while a value does not fit its type.
	wants(t, "config: base:2: retries: invalid: \"x\" is not a whole number", config.YAML, "mode: safe\nretries: x\n")
	_, err := config.Load[service](t.Context(), options(yaml("mode: safe\nretries: x\n")))
	if err == nil || strings.Contains(err.Error(), "mode safe") {
		t.Errorf("Validate was called: %v", err)
	}
}

// TestSourcesThatCannotWork: Load fails for a source that can never work, with the remedy.
func TestSourcesThatCannotWork(t *testing.T) {
	const address = "write http://host/path or https://host/path"
	store := newStore(t)
	for name, test := range map[string]struct {
		source config.Source
		want   string
	}{
		"no address":      {config.URL("", nil), "config: url: invalid: the address of URL has no scheme or no host: " + address},
		"no scheme":       {config.URL("localhost:80/x", nil), "config: url: invalid: the address of URL has no scheme or no host: " + address},
		"no colon":        {config.URL("http//x", nil), address},
		"another scheme":  {config.URL("ftp://x/y.yaml", nil), `config: url ftp://x/y.yaml: invalid: the address of URL has the scheme "ftp": ` + address},
		"no host":         {config.URL("http://", nil), address},
		"a path":          {config.URL("/tmp/x.yaml", nil), "for a file use File"},
		"no URL":          {config.URL("http://a b/%zz", nil), address},
		"port":            {config.URL("http://a:70000/x", nil), "the address of URL has the port 70000: the largest is 65535"},
		"password":        {config.URL("ada:hunter2@host/x", nil), "config: url: invalid"},
		"password, ftp":   {config.URL("ftp://ada:hunter2@host/x", nil), "config: url ftp://ada:xxxxx@host/x: invalid"},
		"required":        {config.Required(config.Required(config.URL("", nil))), address},
		"key":             {versions.Key(nil, "a.yaml", nil), "config: key a.yaml: invalid: the store of versions.Key is nil: pass a store of kv.New"},
		"published":       {versions.Published(nil, &versions.PublishedOptions{Layers: []string{"base"}}), "config: published: invalid: the store of versions.Published is nil"},
		"flags":           {config.Flags(nil), "config: flags: invalid: the FlagSet of Flags is nil: pass flag.CommandLine or another set"},
		"file":            {config.File("", nil), "config: file: invalid: the path of File is empty: name a file, or leave the source out"},
		"file, optional":  {config.File("", &config.FileOptions{Optional: true}), "the path of File is empty"},
		"format":          {config.File(write(t, "x.ini", "a=1"), nil), `the format "ini" is none of yaml, json, toml: set Format in the options of the source, such as FileOptions.Format`},
		"no such file":    {config.File("/nowhere/shop.ini", nil), `the format "ini" is none of yaml, json, toml: set FileOptions.Format; not found: `},
		"optional format": {config.File("/nowhere/shop", &config.FileOptions{Optional: true}), `the format "" is none of yaml, json, toml: set FileOptions.Format`},
		"format, key":     {versions.Key(store, "k", nil), `config: key k: invalid: the format "" is none of yaml, json, toml: set KeyOptions.Format`},
		"URL, down":       {config.URL("http://127.0.0.1:1/x", &config.URLOptions{Format: "ini"}), `the format "ini" is none of yaml, json, toml: set URLOptions.Format`},
		"no layers":       {versions.Published(store, nil), "PublishedOptions.Layers is empty"},
		"an empty layer":  {versions.Published(store, &versions.PublishedOptions{Layers: []string{"a", ""}}), "PublishedOptions.Layers[1] is empty: name a layer"},
		"a layer twice":   {versions.Published(store, &versions.PublishedOptions{Layers: []string{"a", "b", "a"}}), `config: published: invalid: PublishedOptions.Layers has "a" twice: remove one`},
		"format of a URL": {config.URL(serve(t, "text/plain", "a: 1").URL, nil), "set URLOptions.Format"},
	} {
		_, err := config.Load[service](t.Context(), options(test.source))
		if !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s:\ngot  %v\nwant %v", name, err, test.want)
		}
	}
	twice := flag.NewFlagSet("x", flag.ContinueOnError)
	must(t, twice.Parse(nil))
	_, err := config.Load[service](t.Context(), options(config.Required(config.Required(config.Env("O_", []string{"O_RETRIES=4"}))), config.Flags(twice)))
	must(t, err)

	if _, err := versions.New(nil, "a", nil); !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), "config: invalid: the store of versions.New is nil") {
		t.Errorf("versions: %v", err)
	}
}

// TestAllTagsAreChecked: one error lists the mistakes in all kinds of tags.
func TestAllTagsAreChecked(t *testing.T) {
	type inner struct {
		D bool `validate:"min=1"`
	}
	type wrong struct {
		A int `config:"a,nosuchoption"`
		B int `default:"x"`
		C int `validate:"mni=3"`
		L []inner
		P *inner `config:",squash"`
	}
	_, err := config.Load[wrong](t.Context(), nil)
	if !errors.Is(err, config.ErrInvalid) {
		t.Fatal(err)
	}
	for _, want := range []string{`wrong.A: the tag`, "b: the tag `default`: invalid", "c: the rule mni=3", "l[].d: the rule min=1", "cannot be squashed"} {
		if strings.Count(err.Error(), want) != 1 {
			t.Errorf("want %q once in\n%v", want, err)
		}
	}
}

// TestEveryErrorIsAnError: every error is an *Error, including errors about types and tags, and errors of canceled calls.
func TestEveryErrorIsAnError(t *testing.T) {
	type rules struct {
		A int `validate:"nosuchrule"`
		B int `validate:"email"`
		C int `config:"c,nosuchoption"`
	}
	type defaults struct {
		A int `default:"x" validate:"email"`
	}
	cfg := load(t, yaml("retries: 1\n"))
	ended, end := context.WithCancel(t.Context())
	end()
	for name, err := range map[string]error{
		"int":      second(config.Load[int](t.Context(), nil)),
		"option":   second(config.Load[rules](t.Context(), nil)),
		"defaults": second(config.Load[defaults](t.Context(), nil)),
		"check":    versions.Check[defaults]()("a.yaml", config.YAML, []byte("a: 1\n")),
		"reload":   cfg.Reload(ended),
	} {
		for _, line := range strings.Split(err.Error(), "\n") {
			if !strings.HasPrefix(line, "config: ") {
				t.Errorf("%s: %q", name, line)
			}
		}
		if !errors.As(err, new(*config.Error)) {
			t.Errorf("%s: %T is no *config.Error", name, err)
		}
	}
}

// TestUnknownVariable: a warning suggests a variable. Variables without an effect are not in the dump.
func TestUnknownVariable(t *testing.T) {
	cfg := load(t, config.Env("SVC_", []string{"SVC_RETRIS=5", "SVC_DB_MAX_CONN=1", "SVC_SERVICE_HOST=10.0.0.1"}))
	want := []string{
		"config: $SVC_DB_MAX_CONN: unknown key: did you mean SVC_DB_MAX_CONNS?", "config: $SVC_RETRIS: unknown key: did you mean SVC_RETRIES?", "config: $SVC_SERVICE_HOST: unknown key",
	}
	var got []string
	for _, w := range cfg.Status().Warnings {
		got = append(got, w.Error())
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
	var out strings.Builder
	must(t, cfg.Snapshot().Dump(&out))
	if strings.Contains(out.String(), "SVC_") || !strings.Contains(out.String(), "retries") {
		t.Errorf("dump:\n%s", out.String())
	}
}

// TestWatchEndsInOneLine: the problem of a watch that ended has one line, which names its class once.
func TestWatchEndsInOneLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		providers, out := lines()
		store := kv.New(memkv.New(nil), &kv.Options{Telemetry: telemetry.Off()})
		source := versions.Published(store, &versions.PublishedOptions{Layers: []string{"base"}})
		cfg, err := config.Load[service](t.Context(), &config.Options{Telemetry: providers, Sources: []config.Source{source}})
		must(t, err)
		stop := configtesting.Start(t, cfg)
		synctest.Wait()
		must(t, store.Close())
		synctest.Wait()
		stop()
		const want = `exception.message="config: published: unavailable: changes are not seen: the watch ended: kv: watch \"head\": closed"`
		if !strings.Contains(out.String(), want) {
			t.Errorf("got\n%s\nwant %s", out.String(), want)
		}
	})
}

// TestLeftOut: the log line of a source that is out of reach says whether its earlier documents stay in force.
func TestLeftOut(t *testing.T) {
	var out strings.Builder
	providers := telemetry.Off()
	providers.Logger = slog.New(slog.NewTextHandler(&out, nil))
	held := &live{name: "held", text: "retries: 1\n"}
	cfg, err := config.Load[service](t.Context(), &config.Options{Telemetry: providers, Sources: []config.Source{config.File("/nowhere/shop.yml", nil), held}})
	must(t, err)
	held.set("", errors.New("away"))
	_ = cfg.Reload(t.Context())
	for _, want := range []string{
		`msg="configuration source left out; the service runs without it" event=goos.config.source.failed goos.config.source="file /nowhere/shop.yml"`,
		`msg="configuration source failed; what it held stays in force" event=goos.config.source.failed goos.config.source=held`,
	} {
		if strings.Count(out.String(), want) != 1 {
			t.Errorf("lacks %s:\n%s", want, out.String())
		}
	}
}
