package config_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-os/go-os/control/config"
)

// hostile is a configuration that accepts values of every kind.
type hostile struct {
	A, B   string
	N      int
	F      float64
	D      time.Duration
	T      time.Time
	Size   config.Size
	Any    any
	Prices map[string]struct {
		Cents int `validate:"required"`
	}
}

// nested returns YAML lists, each of which contains the previous list twice.
func nested(n int) string {
	var b strings.Builder
	b.WriteString("&a0 []")
	for i := range n {
		fmt.Fprintf(&b, ", &a%d [*a%d, *a%d]", i+1, i, i)
	}
	return b.String()
}

// TestHostileDocuments: Load rejects documents that would crash or delay the process, and documents that do not mean what they seem to. The
// errors are short and locate the mistake.
func TestHostileDocuments(t *testing.T) {
	digits := strings.Repeat("3", 500_000)
	for _, c := range []struct{ format, text, want string }{
		{config.YAML, "a: x\n<<: &y [*y]\n", "d:2: syntax: << takes a group of keys"},
		{config.YAML, "<<: [[{a: x}]]\n", "d:1: syntax: << takes a group of keys"},
		{config.YAML, "<<: [" + nested(40) + "]\n", "d:1: syntax: << takes a group of keys"},
		{config.YAML, "<<: null\n", "d:1: syntax: << takes a group of keys"},
		{config.YAML, "x-a: &a {n: x}\na: y\n<<: *a\n", `d:3: n: invalid: "x" is not a whole number`},
		{config.YAML, "prices: &p {lamp: {<<: *p}}\n", "d:1: prices.lamp: syntax: an anchor contains itself"},
		{config.YAML, "any: !!set {a, b}\n", "d:1: any: syntax: has a tag that means nothing here"},
		{config.YAML, "any: !thing {a: 1}\n", "d:1: any: syntax: has a tag that means nothing here"},
		{config.YAML, "any: !thing [1]\n", "d:1: any: syntax: has a tag that means nothing here"},
		{config.YAML, "a: x\n...\nb: y\n", "d:2: syntax: did not find expected <document start>"},
		{config.YAML, "---\n---\n", "d:2: syntax: holds a second document"},
		{config.YAML, "a: x\n\ufeffb: y\n", `d:2: "\ufeffb": unknown key`},
		{config.YAML, "a\u202eb: y\n", `d:1: "a\u202eb": unknown key`},
		{config.YAML, "\xff\xfea\x00:\x00", "d: syntax: is not UTF-8"},
		{config.YAML, "a: x\x00\n", "control characters are not allowed"},
		{config.YAML, strings.Repeat("k", 2000) + ": x\n", "d:1: syntax: "},
		{config.YAML, "f: 0." + digits + "\n", "d:1: f: invalid: 0.333"},
		{config.YAML, "n: " + digits + "\n", `d:1: n: invalid: "333`},
		{config.YAML, "size: 0." + digits + "KB\n", `d:1: size: invalid: "0.333`},
		{config.YAML, "d: 0." + digits + "s\n", `d:1: d: invalid: "0.333`},
		{config.YAML, "t: 2026-01-02T03:04:05." + digits + "Z\n", "d:1: t: invalid: 2026"},
		{config.YAML, "f: 1e-999999999\n", "d:1: f: invalid: 1e-999999999 cannot be held exactly"},
		{config.YAML, "prices:\n  'a \\': {}\n", `d:2: prices."a \\".cents: invalid: is required`},
		{config.TOML, "a = {\n b = 1}\n", "syntax: invalid character at start of key: ⏎"},
		{config.TOML, "a = 'x'\rb = 'y'\n", "d:1: syntax: "},
		{config.TOML, "a = \"\\ud800\"\n", "d:1: syntax: "},
		{config.TOML, "prices.a.cents = 1\n[prices]\nb = {cents = 2}\n", "d:2: prices: syntax: duplicate key"},
		{config.TOML, strings.Repeat("a.", 5000) + "a = 1\n", "d:1: syntax: is nested more than 100 deep"},
		{config.JSON, `{"a": "x", "\u0061": "y"}`, "d:1: a: syntax: duplicate key"},
		{config.JSON, `{"\ud800": 1}`, "d:1: syntax: a string holds half of a surrogate pair"},
		{config.JSON, `{"a": "\ude00\ud83d"}`, "d:1: syntax: a string holds half of a surrogate pair"},
		{config.JSON, `{"a": "x"}{"b": "y"}`, "d:1: syntax: has text after its end"},
		{config.JSON, `{"any": 1e400}`, "d:1: any: invalid: is out of the range of a float64"},
	} {
		_, err := config.Load[hostile](t.Context(), options(&doc{name: "d", format: c.format, text: c.text}))
		switch shown := fmt.Sprint(err); {
		case err == nil || !strings.Contains(shown, c.want):
			t.Errorf("%.60q: got %.300s, want %s", c.text, shown, c.want)
		case strings.Contains(shown, "\n") || len(shown) > 400:
			t.Errorf("%.60q: the error is long: %d bytes, %.600s", c.text, len(shown), shown)
		}
	}
}

// TestManyDuplicates: the error reports the first duplicate keys, and how many more there are.
func TestManyDuplicates(t *testing.T) {
	for format, line := range map[string]string{config.YAML: "a: x\n", config.TOML: "a = 'x'\n", config.JSON: `, "a": "x"`} {
		text := strings.Repeat(line, 1000)
		if format == config.JSON {
			text = `{"b": "x"` + text + "}"
		}
		_, err := config.Load[hostile](t.Context(), options(&doc{name: "d", format: format, text: text}))
		if lines := strings.Split(fmt.Sprint(err), "\n"); len(lines) != 21 || lines[20] != "config: and 979 more" || !errors.Is(err, config.ErrSyntax) {
			t.Errorf("%s: %d lines, %.300v", format, len(lines), err)
		}
	}
}

// TestOddDocuments: Load accepts valid documents that look wrong.
func TestOddDocuments(t *testing.T) {
	for _, c := range []struct{ format, text, want string }{
		{config.YAML, "a: &k b\n*k : y\n", "b y"},
		{config.YAML, "\ufeff---\na: x\n", "x "},
		{config.YAML, "a: x\r\nb: |\r\n  y\r\n", "x y\n"},
		{config.YAML, "a: x\rb: y\r", "x y"},
		{config.YAML, "a:\tx\n", "x "},
		{config.YAML, "a: y\nb: no\n", "y no"},
		{config.YAML, "x-l: [&p {a: 1}, &q {b: q}]\n<<: [{a: x}, *q]\n", "x q"},
		{config.YAML, "a: " + strings.Repeat("v", 1<<20) + "\n", strings.Repeat("v", 1<<20) + " "},
		{config.TOML, "a = \"\"\"\r\nx\"\"\"\r\n", "x "},
		{config.JSON, `{"a": "\ud83d\ude00"}`, "😀 "},
	} {
		cfg, err := config.Load[hostile](t.Context(), options(&doc{name: "d", format: c.format, text: c.text}))
		if err != nil {
			t.Errorf("%.60q: %v", c.text, err)
			continue
		}
		if got := cfg.Get().A + " " + cfg.Get().B; got != c.want {
			t.Errorf("%.60q: got %.60q, want %.60q", c.text, got, c.want)
		}
	}
}

// TestVariableEncoding: JSON in a variable must be UTF-8, since the decoder would replace other bytes.
func TestVariableEncoding(t *testing.T) {
	for _, variable := range []string{"H_ANY={\"k\": \"\xff\"}", "H_PRICES={\"\xff\": {\"cents\": 1}}", "H_TAGS=[\"\xff\"]"} {
		type tagged struct {
			hostile `config:",squash"`
			Tags    []string
		}
		cfg, err := config.Load[tagged](t.Context(), options(config.Env("H_", []string{variable})))
		switch {
		case err == nil && strings.Contains(fmt.Sprintf("%+v", *cfg.Get()), "\ufffd"):
			t.Errorf("%q arrives as %+v", variable, *cfg.Get())
		case err != nil && !strings.Contains(err.Error(), "is not UTF-8"):
			t.Errorf("%q: %v", variable, err)
		}
	}
}

// TestManyUnknownKeys: thousands of unknown keys, each similar to a key of the type, are reported quickly. A quadratic search for
// suggestions or for new warnings took a minute.
func TestManyUnknownKeys(t *testing.T) {
	var text strings.Builder
	const n = 5000
	for i := range n {
		fmt.Fprintf(&text, "prices_of_everything_%04d: 1\n", i)
	}
	type wide struct {
		Prices_of_everything_abcd, Prices_of_everything_efgh, Prices_of_everything_ijkl int
	}
	_, err := config.Load[wide](t.Context(), options(yaml(text.String())))
	if !errors.Is(err, config.ErrUnknownKey) {
		t.Errorf("got %v", err)
	}
	d := &live{name: "a", text: text.String()}
	o := options(d)
	o.AllowUnknown = true
	cfg, err := config.Load[wide](t.Context(), o)
	must(t, err)
	d.set(text.String()+"prices_of_everything_abcd: 2\n", nil)
	begun := time.Now()
	must(t, cfg.Reload(t.Context()))
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("a reload with %d warnings takes %v", len(cfg.Status().Warnings), took)
	}
	if got := len(cfg.Status().Warnings); got != n || cfg.Get().Prices_of_everything_abcd != 2 {
		t.Errorf("%d warnings, %+v", got, *cfg.Get())
	}
}
