package config_test

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-os/go-os/control/config"
)

// host has a default that applies wherever the host is written.
type host struct {
	Name string
	Port int `default:"5432"`
	TLS  struct {
		Min string `default:"1.3"`
	}
	Tags map[string]string `default:"{\"zone\":\"a\"}"`
}

func (h host) whole() bool { return h.Port == 5432 && h.TLS.Min == "1.3" && h.Tags["zone"] == "a" }

// TestDefaultsEverywhere: a missing field has its default in every container and every source.
func TestDefaultsEverywhere(t *testing.T) {
	type hosts struct {
		L []host
		P []*host
		M map[string]host
		N map[string][]host
		Q *host
		S config.Secret[host]
		T []config.Secret[host]
		U config.Secret[[]host]
		D []host  `default:"[{\"name\":\"d\"}]"`
		E *host   `default:"{\"name\":\"e\"}"`
		F host    `default:"{\"name\":\"f\"}"`
		A [1]host `default:"[{}]"`
	}
	const inJSON = `{"l": [{"name":"x"}], "p": [{}], "m": {"k": {"name":"x"}}, "n": {"k": [{"name":"x"}]}, "q": {}, "s": {"name":"x"}, "t": [{"name":"x"}], "u": [{"name":"x"}]}`
	value := hosts{
		L: []host{{Name: "x"}}, P: []*host{{}}, M: map[string]host{"k": {Name: "x"}}, N: map[string][]host{"k": {{Name: "x"}}}, Q: &host{Name: "x"},
		S: config.NewSecret(host{Name: "x"}), T: []config.Secret[host]{config.NewSecret(host{Name: "x"})}, U: config.NewSecret([]host{{Name: "x"}}),
	}
	for name, source := range map[string]config.Source{
		"JSON": &doc{name: "json", format: config.JSON, text: inJSON},
		"YAML": yaml(inJSON),
		"null": yaml("l: [~]\np: [{port: ~, tls: ~}]\nm: {k: {port: ~}}\nn: {k: [{tags: {zone: ~}}]}\nq: {port: ~}\ns: {port: ~, tls: {min: ~}}\nt: [~]\nu: [{port: ~}]\n"),
		"TOML": &doc{name: "toml", format: config.TOML, text: "q = {}\ns = {name = 'x'}\nt = [{name = 'x'}]\nu = [{}]\n[[l]]\nname = 'x'\n[[p]]\n[m.k]\nname = 'x'\n[[n.k]]\nname = 'x'\n"},
		"environment": config.Env("X_", []string{`X_L=[{"name":"x"}]`, `X_P=[{}]`, `X_M={"k":{"name":"x"}}`, `X_N={"k":[{"name":"x"}]}`, `X_Q={"name":"x"}`,
			`X_S={"name":"x"}`, `X_T=[{"name":"x"}]`, `X_U=[{"name":"x"}]`, "X_Q_NAME=x"}),
		"Defaults": config.Defaults(value),
	} {
		cfg, err := config.Load[hosts](t.Context(), options(config.Required(source)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		c := cfg.Get()
		for at, h := range map[string]host{
			"l": c.L[0], "p": *c.P[0], "m": c.M["k"], "n": c.N["k"][0], "q": *c.Q, "s": c.S.Reveal(), "t": c.T[0].Reveal(), "u": c.U.Reveal()[0],
			"d": c.D[0], "e": *c.E, "f": c.F, "a": c.A[0],
		} {
			if !h.whole() {
				t.Errorf("%s: %s: %+v", name, at, h)
			}
		}
	}
	cfg, err := config.Load[hosts](t.Context(), nil)
	must(t, err)
	if c := cfg.Get(); !c.S.Reveal().whole() || c.Q != nil || c.D[0].Name != "d" || c.F.Name != "f" {
		t.Errorf("without a source: %+v", c)
	}
}

// TestNullInLists: a null is left out of a list with a warning, unless the element type can hold it.
func TestNullInLists(t *testing.T) {
	type lists struct {
		N []int
		S []config.Secret[string]
		P []*int
		A []any
		L [][]int
		H []host
		F [2]int
		M map[string]int
	}
	cfg, err := config.Load[lists](t.Context(), options(yaml("n: [1, ~, 2]\ns: [~]\np: [~]\na: [~]\nl: [~, [~]]\nh: [~]\nm: {a: ~, b: 1}\n")))
	must(t, err)
	c := cfg.Get()
	if fmt.Sprint(c.N, len(c.S), c.P, c.A, c.L, len(c.H), c.M) != "[1 2] 0 [<nil>] [<nil>] [[] []] 1 map[b:1]" {
		t.Errorf("%+v", c)
	}
	if w := cfg.Status().Warnings; len(w) != 3 || !strings.Contains(fmt.Sprint(w), "n[1]: invalid: is null, and left out of the list") {
		t.Errorf("warnings: %v", w)
	}
	_, err = config.Load[lists](t.Context(), options(yaml("f: [1, ~]")))
	if !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), "f[1]: invalid: is null") {
		t.Errorf("null in an array: %v", err)
	}
}

// TestDefaultMaps: the map of a default tag is merged like the map of a source.
func TestDefaultMaps(t *testing.T) {
	type byTag struct {
		M map[string]int  `default:"{\"a\":1,\"b\":1}"`
		N map[string]host `default:"{\"x\":{\"name\":\"x\"}}"`
	}
	type bySource struct {
		M map[string]int
		N map[string]host
	}
	const text = "m: {b: 2, c: 3}\nn: {x: {port: 1}, y: {}}\n"
	tag, err := config.Load[byTag](t.Context(), options(yaml(text)))
	must(t, err)
	for _, first := range []config.Source{
		yaml("m: {a: 1, b: 1}\nn: {x: {name: x}}\n"), config.Env("X_", []string{`X_M={"a":1,"b":1}`, `X_N={"x":{"name":"x"}}`}),
		config.Defaults(bySource{M: map[string]int{"a": 1, "b": 1}, N: map[string]host{"x": {Name: "x"}}}),
	} {
		source, err := config.Load[bySource](t.Context(), options(first, &doc{name: "second", format: config.YAML, text: text}))
		must(t, err)
		if got, want := fmt.Sprint(*tag.Get()), fmt.Sprint(*source.Get()); got != want {
			t.Errorf("%s: %s, by the tag %s", first.Name(), want, got)
		}
	}
	if o, ok := tag.Snapshot().Origin("m.a"); !ok || o.Source != "default" || o.Value != "1" {
		t.Errorf("origin: %+v", o)
	}
}

// grade implements TextUnmarshaler, but not TextMarshaler.
type grade int

func (g *grade) UnmarshalText(text []byte) error {
	switch string(text) {
	case "low":
		*g = 1
	case "high":
		*g = 2
	default:
		return errors.New("no grade")
	}
	return nil
}

// masked is a text whose MarshalText hides the value.
type masked string

func (m masked) MarshalText() ([]byte, error)     { return []byte("***"), nil }
func (m *masked) UnmarshalText(text []byte) error { *m = masked(text); return nil }

// TestDefaultsOfTextTypes: Defaults keeps values of text types, even if MarshalText is missing or hides the value.
func TestDefaultsOfTextTypes(t *testing.T) {
	type texts struct {
		G grade
		L []grade
		M map[string]grade
		P *grade
		S config.Secret[grade]
		T grade `default:"high"`
		K masked
		A netip.Addr
		U url.URL
		V *url.URL
		D time.Duration
		Z config.Size
	}
	g, u := grade(2), url.URL{Scheme: "https", Host: "example.com", User: url.UserPassword("u", password)}
	value := texts{
		G: 1, L: []grade{2, 1}, M: map[string]grade{"a": 2}, P: &g, S: config.NewSecret(g), K: "as it is", A: netip.MustParseAddr("::1"), U: u, V: &u, D: time.Minute, Z: config.KiB,
	}
	cfg, err := config.Load[texts](t.Context(), options(config.Required(config.Defaults(value))))
	must(t, err)
	c := cfg.Get()
	value.T = 2
	if fmt.Sprint(c.G, c.L, c.M, *c.P, c.S.Reveal(), c.T, string(c.K), c.A, c.U.String(), c.V.String(), c.D, c.Z) != fmt.Sprint(1, []int{2, 1}, map[string]int{"a": 2}, 2, 2, 2, "as it is", "::1", u.String(), u.String(), time.Minute, config.KiB) {
		t.Errorf("%+v", c)
	}
	var out strings.Builder
	must(t, cfg.Snapshot().Dump(&out))
	if strings.Contains(out.String(), password) || strings.Contains(out.String(), "as it is") || !strings.Contains(out.String(), "1m0s") {
		t.Errorf("%s", out.String())
	}
	type others struct {
		D string
		Z string
		A string
	}
	other, err := config.Load[others](t.Context(), options(config.Required(config.Defaults(struct {
		D time.Duration
		Z config.Size
		A netip.Addr
	}{time.Minute, config.KiB, value.A}))))
	must(t, err)
	if *other.Get() != (others{"1m0s", "1KiB", "::1"}) {
		t.Errorf("into fields of other types: %+v", other.Get())
	}
}
