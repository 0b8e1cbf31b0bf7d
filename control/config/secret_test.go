package config_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	yamlv3 "go.yaml.in/yaml/v3"

	"github.com/go-os/go-os/control/config"
)

// TestSecret: every printer, log handler and encoder redacts a Secret.
func TestSecret(t *testing.T) {
	type holder struct {
		A config.Secret[string]
		B *config.Secret[string]
		C []config.Secret[int]
		D map[string]config.Secret[[]byte]
		E config.Secret[struct{ Inner string }]
	}
	s := config.NewSecret("hunter2")
	h := holder{A: s, B: &s, C: []config.Secret[int]{config.NewSecret(70707)}, D: map[string]config.Secret[[]byte]{"k": config.NewSecret([]byte("hunter2"))}, E: config.NewSecret(struct{ Inner string }{"hunter2"})}
	printed := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		printed["fmt "+verb] = fmt.Sprintf(verb, h) + fmt.Sprintf(verb, s) + fmt.Sprintf(verb, &s) + fmt.Sprintf(verb, []any{s})
	}
	marshal := func(name string, out []byte, err error) {
		must(t, err)
		printed[name] = string(out)
	}
	out, err := json.Marshal(h)
	marshal("json", out, err)
	out, err = yamlv3.Marshal(h)
	marshal("yaml", out, err)
	out, err = toml.Marshal(h)
	marshal("toml", out, err)
	out, err = xml.Marshal(s)
	marshal("xml", out, err)
	var log bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(handler).Info("x", "a", s, "b", &s, "h", h, slog.Group("g", "s", s))
	}
	printed["slog"] = log.String()
	printed["error"] = fmt.Errorf("x %v %w", s, errors.New("y")).Error() + errors.Join(fmt.Errorf("%s", s)).Error()
	for name, text := range printed {
		if strings.Contains(text, "hunter2") || strings.Contains(text, "70707") || strings.Contains(text, "68756e746572") || !strings.Contains(text, config.Redacted) {
			t.Errorf("%s: %s", name, text)
		}
	}
	if s.Reveal() != "hunter2" || h.E.Reveal().Inner != "hunter2" {
		t.Error("not revealed")
	}
}

// TestSecretsOfTypes decodes Secrets of several types, and applies rules to their values.
func TestSecretsOfTypes(t *testing.T) {
	type keys struct {
		Text  config.Secret[string] `validate:"required,min=8"`
		Pin   config.Secret[int]
		Many  config.Secret[[]string]
		Plain string `config:"plain,secret"`
		Ptr   *config.Secret[string]
	}
	cfg, err := config.Load[keys](t.Context(), options(yaml("text: longenough\npin: 70707\nmany: [a, b]\nplain: hunter2\nptr: hunter2\n"), config.Env("X_", []string{"X_MANY=c,d,e"})))
	must(t, err)
	if got := cfg.Get(); got.Pin.Reveal() != 70707 || len(got.Many.Reveal()) != 3 || got.Plain != "hunter2" || got.Ptr.Reveal() != "hunter2" {
		t.Errorf("%v", got)
	}
	var out strings.Builder
	must(t, cfg.Snapshot().Dump(&out))
	if strings.Contains(out.String(), "hunter2") || strings.Contains(out.String(), "70707") || strings.Count(out.String(), config.Redacted) != 6 {
		t.Errorf("dump:\n%s", out.String())
	}
	for _, bad := range []string{"text: hunter2\n", "text: longenough\npin: hunter2\n", "text: longenough\nplain: [hunter2]\n", "text: longenough\nmany: hunter2\n", "{}"} {
		_, err := config.Load[keys](t.Context(), options(config.Required(yaml(bad))))
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// TestSize parses and formats sizes.
func TestSize(t *testing.T) {
	for text, want := range map[string]config.Size{
		"0": 0, "512": 512, "512B": 512, "1KiB": 1024, "1 KiB": 1024, "1.5MB": 1_500_000, "64KiB": 65536, "2GiB": 2 << 30, "1kB": 1000, "0.5KiB": 512, "18446744073709551615": math.MaxUint64, "1.005MB": 1_005_000, "9007199254740993.0": 9007199254740993, "1e3KB": 1_000_000, "0.0009765625KiB": 1,
	} {
		var s config.Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%q: %d, %v", text, s, err)
		}
	}
	for _, text := range []string{"", "B", "-1", "1kib", "1 parsec", "0.3B", "1e999GB", "NaNB", "InfMB", "18446744073709551616", "99999999TiB", "0x10", "1_000", "0644", "1e-400", "1e400", "inf", ".nan", "0.00097656250001KiB"} {
		var s config.Size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was taken for %d", text, s)
		}
	}
	for size, want := range map[config.Size]string{0: "0B", 1: "1B", 1024: "1KiB", 1000: "1KB", 1536: "1536B", 3 * config.GiB: "3GiB", math.MaxUint64: "18446744073709551615B"} {
		if got := size.String(); got != want {
			t.Errorf("%d: %s, want %s", size, got, want)
		}
	}
}

// FuzzSize: every size that can be parsed has a text that parses to the same size.
func FuzzSize(f *testing.F) {
	f.Add("1.5MB")
	f.Fuzz(func(t *testing.T, text string) {
		var a, b config.Size
		if a.UnmarshalText([]byte(text)) != nil {
			return
		}
		if err := b.UnmarshalText([]byte(a.String())); err != nil || a != b {
			t.Errorf("%q: %d, then %d, %v", text, a, b, err)
		}
	})
}
