package config_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/driver"
	"github.com/go-os/go-os/control/config/versions"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
)

// service is the configuration of most tests.
type service struct {
	Name    string        `default:"orders"`
	Timeout time.Duration `default:"2s" validate:"min=10ms"`
	Retries int           `default:"3" validate:"min=0,max=10"`
	Mode    string        `default:"fast" validate:"oneof=fast safe"`
	DB      struct {
		URL      url.URL
		MaxConns uint16 `default:"10" validate:"min=1"`
		Password config.Secret[string]
	}
	Prices  map[string]price
	Peers   []peer
	Upload  config.Size `default:"1MiB"`
	Tags    []string
	Ratio   float64
	On      bool
	Limits  *limits
	Started time.Time
}

type price struct {
	Cents    int64  `validate:"gt=0"`
	Currency string `default:"EUR"`
}

type peer struct {
	Host string `validate:"required"`
	Port int    `default:"80"`
}

type limits struct {
	PerSecond int `default:"100"`
	Burst     int `default:"200"`
}

// Validate checks rules across fields.
func (s *service) Validate() error {
	if s.Mode == "safe" && s.Retries == 0 {
		return errors.New("mode safe needs retries")
	}
	return nil
}

// doc is a source with one document in memory.
type doc struct {
	name, format, text string
	err                error
}

func (d *doc) Name() string { return d.name }

func (d *doc) Read(context.Context) ([]driver.Document, error) {
	if d.err != nil {
		return nil, d.err
	}
	return []driver.Document{{Name: d.name, Format: d.format, Data: []byte(d.text)}}, nil
}

func yaml(text string) *doc { return &doc{name: "orders.yaml", format: config.YAML, text: text} }

// options returns options without telemetry.
func options(sources ...config.Source) *config.Options {
	return &config.Options{Sources: sources, Telemetry: telemetry.Off()}
}

func load(t testing.TB, sources ...config.Source) *config.Config[service] {
	t.Helper()
	cfg, err := config.Load[service](t.Context(), options(sources...))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestOrder: each source overrides those before it.
func TestOrder(t *testing.T) {
	store := kv.New(memkv.New(nil), &kv.Options{Telemetry: telemetry.Off()})
	defer func() { _ = store.Close() }()
	v, err := versions.New(store, "prod/application/orders", &versions.Options{Telemetry: telemetry.Off()})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, v, "retries: 4\nmode: safe\n")
	flags := flag.NewFlagSet("orders", flag.ContinueOnError)
	flags.Int("retries", 0, "")
	flags.Int("db-max-conns", 0, "")
	flags.String("other", "", "")
	if err := flags.Parse([]string{"-retries", "6", "-other", "x"}); err != nil {
		t.Fatal(err)
	}
	server := serve(t, "application/json", `{"retries": 3, "timeout": "3s", "ratio": 0.5}`)
	all := []config.Source{
		config.Defaults(service{Name: "defaults", Timeout: time.Second, Retries: 1, Ratio: 0.1, On: true}),
		config.File(write(t, "orders.toml", "name = \"file\"\nretries = 2\ntimeout = \"2s\"\n"), nil),
		config.URL(server.URL, nil),
		versions.Published(store, &versions.PublishedOptions{Layers: []string{"prod/application/orders"}}),
		config.Env("ORDERS_", []string{"ORDERS_RETRIES=5", "ORDERS_TAGS=a, b", "ORDERS_DB_MAX_CONNS=7", "HOME=/"}),
		config.Flags(flags),
	}
	for n, want := range []int{3, 1, 2, 3, 4, 5, 6} {
		if got := load(t, all[:n]...).Get().Retries; got != want {
			t.Errorf("with %d sources, retries = %d, want %d", n, got, want)
		}
	}
	got := load(t, all...).Get()
	if got.Name != "file" || got.Timeout != 3*time.Second || got.Ratio != 0.5 || !got.On || got.Mode != "safe" || strings.Join(got.Tags, "") != "ab" || got.DB.MaxConns != 7 {
		t.Errorf("merged: %+v", got)
	}
}

func publish(t testing.TB, v *versions.Layer, text string) versions.Version {
	t.Helper()
	published, err := v.Publish(t.Context(), versions.Draft{Document: text, Format: config.YAML, Author: "ada"})
	if err != nil {
		t.Fatal(err)
	}
	return published
}

// TestTypes loads each kind of value in each format.
func TestTypes(t *testing.T) {
	docs := map[string]string{
		config.YAML: "name: x\ntimeout: 1m30s\ndb: {url: 'postgres://u:p@h/d', max_conns: 9, password: pw}\nprices: {lamp: {cents: 4900}, \"v1.2\": {cents: 1, currency: USD}}\n" +
			"peers: [{host: a}, {host: b, port: 81}]\nupload: 64KiB\ntags: [a, b]\nratio: 2\non: true\nlimits: {burst: 5}\nstarted: 2026-01-02T03:04:05Z\n",
		config.JSON: `{"name": "x", "timeout": "1m30s", "db": {"url": "postgres://u:p@h/d", "max_conns": 9, "password": "pw"}, "prices": {"lamp": {"cents": 4900}, "v1.2": {"cents": 1, "currency": "USD"}},
			"peers": [{"host": "a"}, {"host": "b", "port": 81}], "upload": 65536, "tags": ["a", "b"], "ratio": 2, "on": true, "limits": {"burst": 5}, "started": "2026-01-02T03:04:05Z"}`,
		config.TOML: "name = 'x'\ntimeout = '1m30s'\nupload = '64KiB'\ntags = ['a', 'b']\nratio = 2\non = true\nstarted = 2026-01-02T03:04:05Z\n[db]\nurl = 'postgres://u:p@h/d'\nmax_conns = 9\npassword = 'pw'\n" +
			"[prices.lamp]\ncents = 4900\n[prices.\"v1.2\"]\ncents = 1\ncurrency = 'USD'\n[[peers]]\nhost = 'a'\n[[peers]]\nhost = 'b'\nport = 81\n[limits]\nburst = 5\n",
	}
	for format, text := range docs {
		t.Run(format, func(t *testing.T) {
			got := load(t, &doc{name: "x", format: format, text: text}).Get()
			switch {
			case got.Name != "x", got.Timeout != 90*time.Second, got.DB.URL.Host != "h", got.DB.MaxConns != 9, got.DB.Password.Reveal() != "pw":
				t.Errorf("%+v", got)
			case got.Prices["lamp"] != price{4900, "EUR"}, got.Prices["v1.2"] != price{1, "USD"}:
				t.Errorf("prices: %+v", got.Prices)
			case len(got.Peers) != 2, got.Peers[0] != peer{"a", 80}, got.Peers[1] != peer{"b", 81}:
				t.Errorf("peers: %+v", got.Peers)
			case got.Upload != 64*config.KiB, len(got.Tags) != 2, got.Ratio != 2, !got.On, got.Limits == nil || *got.Limits != limits{100, 5}:
				t.Errorf("%+v", got)
			case !got.Started.Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)):
				t.Errorf("started: %v", got.Started)
			}
		})
	}
}

// TestMistakes checks the errors of Load for mistakes in documents.
func TestMistakes(t *testing.T) {
	for _, test := range []struct {
		name, format, text string
		is                 error
		want               string
	}{
		{"unknown", config.YAML, "name: x\n\nretires: 3\n", config.ErrUnknownKey, "config: orders:3: retires: unknown key: did you mean retries?"},
		{"unknown deep", config.JSON, "{\"db\": {\n\"max_conn\": 3}}", config.ErrUnknownKey, "config: orders:2: db.max_conn: unknown key: did you mean max_conns?"},
		{"unknown in a list", config.YAML, "peers:\n- host: a\n- host: b\n  prot: 1\n", config.ErrUnknownKey, "config: orders:4: peers[1].prot: unknown key: did you mean port?"},
		{"unknown in a table", config.TOML, "[prices.lamp]\ncents = 1\ncurency = 'EUR'\n", config.ErrUnknownKey, "config: orders:3: prices.lamp.curency: unknown key: did you mean currency?"},
		{"case", config.YAML, "Retries: 3\n", config.ErrUnknownKey, "config: orders:1: Retries: unknown key: did you mean retries?"},
		{"no suggestion", config.YAML, "zzzzzzzz: 3\n", config.ErrUnknownKey, "config: orders:1: zzzzzzzz: unknown key"},
		{"text for a number", config.YAML, "retries: many\n", config.ErrInvalid, `config: orders:1: retries: invalid: "many" is not a whole number`},
		{"number in quotes", config.YAML, "retries: '3'\n", config.ErrInvalid, `config: orders:1: retries: invalid: "3" is a text, not a whole number: write it without quotes`},
		{"fraction", config.JSON, `{"retries": 1.5}`, config.ErrInvalid, "config: orders:1: retries: invalid: 1.5 is not a whole number"},
		{"too many bits", config.YAML, "db: {max_conns: 70000}\n", config.ErrInvalid, "config: orders:1: db.max_conns: invalid: 70000 is out of range: write a whole number from 0 to 65535"},
		{"negative", config.YAML, "db: {max_conns: -1}\n", config.ErrInvalid, "config: orders:1: db.max_conns: invalid: -1 is out of range: write a whole number from 0 to 65535"},
		{"duration without a unit", config.YAML, "timeout: 30\n", config.ErrInvalid, "config: orders:1: timeout: invalid: 30 has no unit: write a duration such as 30s, 5m or 1h30m"},
		{"number for a text", config.YAML, "name: 12\n", config.ErrInvalid, "config: orders:1: name: invalid: 12 is not a text; put it in quotes"},
		{"text for a group", config.YAML, "db: hunter2\n", config.ErrInvalid, "config: orders:1: db: invalid: is not a group of keys"},
		{"element of a list", config.YAML, "peers:\n- host: a\n  port: b\n", config.ErrInvalid, `config: orders:3: peers[0].port: invalid: "b" is not a whole number`},
		{"secret", config.YAML, "db: {password: [hunter2]}\n", config.ErrInvalid, "config: orders:1: db.password: invalid: is a list, not a text"},
		{"size", config.YAML, "upload: 3 parsecs\n", config.ErrInvalid, `config: orders:1: upload: invalid: "3 parsecs" is not a size: write a number and B, KB, MB, GB, TB, KiB, MiB, GiB or TiB, such as 64KiB`},
		{"rule", config.YAML, "retries: 11\n", config.ErrInvalid, "config: orders:1: retries: invalid: must be at most 10"},
		{"rule of choice", config.YAML, "mode: slow\n", config.ErrInvalid, "config: orders:1: mode: invalid: must be one of fast, safe"},
		{"rule on a duration", config.YAML, "timeout: 1ms\n", config.ErrInvalid, "config: orders:1: timeout: invalid: must be at least 10ms"},
		{"Validate", config.YAML, "mode: safe\nretries: 0\n", config.ErrInvalid, "config: invalid: mode safe needs retries"},
		{"twice in JSON", config.JSON, "{\"retries\": 1,\n\"retries\": 2}", config.ErrSyntax, "config: orders:2: retries: syntax: duplicate key"},
		{"twice in YAML", config.YAML, "retries: 1\nretries: 2\n", config.ErrSyntax, "config: orders:2: retries: syntax: duplicate key"},
		{"broken YAML", config.YAML, "a: 1\nb: c: d\n", config.ErrSyntax, "config: orders:2: syntax: mapping values are not allowed"},
		{"broken JSON", config.JSON, "{\n\"a\": }", config.ErrSyntax, "config: orders:2: syntax: "},
		{"broken TOML", config.TOML, "a = 1\nb =\n", config.ErrSyntax, "config: orders:2: syntax: "},
		{"tag of YAML", config.YAML, "retries: !!int hunter2\n", config.ErrSyntax, "has the tag !!int, and is not of that type"},
		{"key of YAML", config.YAML, "name: x\n? {a: hunter2}\n: 1\n", config.ErrSyntax, "config: orders:2: syntax: a key is a list or a group of keys, not a text"},
		{"deeper key of YAML", config.YAML, "name: x\nprices:\n  ? {a: hunter2}\n  : 1\n", config.ErrSyntax, "config: orders:3: prices: syntax: a key is a list or a group of keys"},
		{"number of TOML", config.TOML, "retries = 9_\n", config.ErrSyntax, "config: orders:1: retries: syntax: is not a number of TOML"},
		{"cut short", config.JSON, `{"retries": 1`, config.ErrSyntax, "syntax: unexpected EOF"},
		{"text after the end", config.JSON, `{} {}`, config.ErrSyntax, "has text after its end"},
		{"second document", config.YAML, "name: a\n---\nname: b\n", config.ErrSyntax, "holds a second document"},
		{"no keys", config.YAML, "hunter2\n", config.ErrSyntax, "does not hold keys and values"},
		{"empty", config.YAML, " \n", config.ErrSyntax, "is empty: for a configuration without keys write {}"},
		{"not UTF-8", config.YAML, "name: \xff\n", config.ErrSyntax, "is not UTF-8"},
		{"format", "ini", "a=b", config.ErrInvalid, `the format "ini" is none of yaml, json, toml`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := config.Load[service](t.Context(), options(config.Required(&doc{name: "orders", format: test.format, text: test.text})))
			if !errors.Is(err, test.is) || err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got  %v\nwant %v", err, test.want)
			}
			if err != nil && (strings.Contains(err.Error(), "hunter2")) {
				t.Error("the error shows the value")
			}
			var e *config.Error
			if !errors.As(err, &e) {
				t.Errorf("%T is not a *config.Error", err)
			}
		})
	}
}

// TestNumbers loads numbers at the limits of their types, from documents and from texts.
func TestNumbers(t *testing.T) {
	type numbers struct {
		I8  int8
		I64 int64
		U8  uint8
		U64 uint64
		F32 float32
		B   bool
	}
	for text, want := range map[string]string{
		"i8: -128\nu8: 255\ni64: -9223372036854775808\nu64: 18446744073709551615\n": "{-128 -9223372036854775808 255 18446744073709551615 0 false}",
		"i8: 128\n": "", "i8: -129\n": "", "u8: 256\n": "", "u8: -1\n": "", "i64: 9223372036854775808\n": "", "u64: -1\n": "", "i8: 1.5\n": "", "i8: true\n": "", "b: 1\n": "", "b: 'true'\n": "",
		"f32: 1\n": "{0 0 0 0 1 false}", "f32: '1'\n": "", "i64: 1e3\n": "{0 1000 0 0 0 false}",
	} {
		cfg, err := config.Load[numbers](t.Context(), options(config.Required(yaml(text))))
		if (err == nil) != (want != "") || err == nil && fmt.Sprint(*cfg.Get()) != want {
			t.Errorf("%q: %v", text, err)
		}
	}
	for text, want := range map[string]bool{"I8=127": true, "I8=128": false, "U8=0xff": true, "U8=256": false, "U64=18446744073709551615": true, "I64=": false, "B=true": true, "B=yes": false, "F32=0.5": true, "F32=x": false} {
		_, err := config.Load[numbers](t.Context(), options(config.Required(config.Env("X_", []string{"X_" + text}))))
		if (err == nil) != want {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestDeep: Load rejects deeply nested documents quickly.
func TestDeep(t *testing.T) {
	const n = 100_000
	for format, text := range map[string]string{
		config.JSON: strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n),
		config.YAML: strings.Repeat("{a: ", 9000) + "1" + strings.Repeat("}", 9000),
		config.TOML: "a" + strings.Repeat(".a", n) + " = 1\n",
	} {
		begun := time.Now()
		_, err := config.Load[service](t.Context(), options(config.Required(&doc{name: "x", format: format, text: text})))
		if !errors.Is(err, config.ErrSyntax) || !strings.Contains(err.Error(), "deep") && !strings.Contains(err.Error(), "depth") {
			t.Errorf("%s: %.200v", format, err)
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("%s: it took %v", format, took)
		}
	}
}

// TestLarge loads documents with 50,000 keys.
func TestLarge(t *testing.T) {
	type large struct {
		Prices map[string]int
	}
	const n = 50_000
	var y, j, o strings.Builder
	for i := range n {
		fmt.Fprintf(&y, "  p%d: %d\n", i, i)
		fmt.Fprintf(&j, "%c\n\"p%d\": %d", ",{"[min(1, (n-i)/n)], i, i)
		fmt.Fprintf(&o, "p%d = %d\n", i, i)
	}
	for format, text := range map[string]string{config.YAML: "prices:\n" + y.String(), config.JSON: `{"prices": ` + j.String() + "}}", config.TOML: "[prices]\n" + o.String()} {
		begun := time.Now()
		cfg, err := config.Load[large](t.Context(), options(config.Required(&doc{name: "x", format: format, text: text})))
		if err != nil || len(cfg.Get().Prices) != n || cfg.Get().Prices["p77"] != 77 {
			t.Errorf("%s: %.300v", format, err)
			continue
		}
		took := time.Since(begun)
		if o, _ := cfg.Snapshot().Origin("prices.p49999"); o.Line < n {
			t.Errorf("%s: %+v", format, o)
		}
		if t.Logf("%s: %d keys in %d bytes took %v", format, n, len(text), took); took > 10*time.Second {
			t.Errorf("%s: it took %v", format, took)
		}
	}
}

// TestDump: Dump shows the origins of values, and no secrets.
func TestDump(t *testing.T) {
	cfg := load(t, yaml("retries: 4\ndb:\n  password: hunter2\n  url: postgres://me:hunter2@db/x\n"), config.Env("O_", []string{"O_RETRIES=5", "O_DB_PASSWORD=hunter2"}))
	var out bytes.Buffer
	if err := cfg.Snapshot().Dump(&out); err != nil {
		t.Fatal(err)
	}
	const want = `db.max_conns  10                          default
db.password   [redacted]                  $O_DB_PASSWORD
              [redacted]                  orders.yaml:3, overridden
db.url        postgres://me:xxxxx@db/x    orders.yaml:4
mode          fast                        default
name          orders                      default
retries       5                           $O_RETRIES
              4                           orders.yaml:1, overridden
              3                           default, overridden
timeout       2s                          default
upload        1MiB                        default
`
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	if squeeze(out.String()) != squeeze(want) {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	origin, ok := cfg.Snapshot().Origin("retries")
	if !ok || origin.Source != "environment" || len(origin.Overrode) != 2 || origin.Overrode[0].Line != 1 || origin.Overrode[0].Document != "orders.yaml" {
		t.Errorf("origin: %+v", origin)
	}
}

// TestNull: null removes keys, but not defaults.
func TestNull(t *testing.T) {
	cfg := load(t, config.Defaults(service{Name: "given", Retries: 5}), yaml("prices: {lamp: {cents: 1}, desk: {cents: 2}}\nlimits: {burst: 7}\ntags: [a]\n"),
		&doc{name: "over", format: config.YAML, text: "name:\nretries: null\nprices: {desk: null}\nlimits:\ntags:\ndb:\n"})
	got := cfg.Get()
	if got.Name != "orders" || got.Retries != 3 || len(got.Prices) != 1 || got.Limits != nil || got.Tags != nil || got.DB.MaxConns != 10 {
		t.Errorf("%+v", got)
	}
	if o, ok := cfg.Snapshot().Origin("retries"); !ok || o.Source != "default" || len(o.Overrode) != 0 {
		t.Errorf("%+v", o)
	}
	for _, path := range []string{"limits.burst", "tags", "prices.desk.cents"} {
		if o, ok := cfg.Snapshot().Origin(path); ok {
			t.Errorf("%+v", o)
		}
	}
}
