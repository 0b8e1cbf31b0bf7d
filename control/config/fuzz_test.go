package config_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-os/go-os/control/config"
)

// FuzzDecode decodes arbitrary documents. The result is a configuration that satisfies its rules, or an *Error that does not show the
// secret. The format is a number: 0 is YAML, 1 is JSON, 2 is TOML.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		"retries: 3\ntimeout: 2s\nprices: {lamp: {cents: 1}}\n", "{\"retries\": 3, \"peers\": [{\"host\": \"a\"}]}", "retries = 3\n[db]\nmax_conns = 1\n[[peers]]\nhost = 'a'\n",
		"a: &a [1]\nb: *a\n", "a: &a {b: *a}\n", "<<: {retries: 1}\n", "? [a, b]\n: c\n", "1: 2\n'1': 3\n", "db: {password: SECRET7}\n", "{\"db\": {\"password\": {\"SECRET7\": 1}}}",
		"upload: 1e400\n", "timeout: 9999999999h\n", "retries: 0x7fffffffffffffff\n", "ratio: .nan\n", "started: 2026-13-45\n", "\xef\xbb\xbfname: x\n", "limits:\n", "peers: [null, {}]\n",
		"prices:\n  ? ''\n  : {cents: 1}\n", "[a.b]\n[a]\nb.c = 1\n", "a = {b = {c = 1}}\n", "{\"a\":1,\"a\":2}", "--- {}\n...\n--- {}\n", "name: !!binary SECRET7\n", "on: yes\n",
	} {
		for format := range 3 {
			f.Add(format, seed)
		}
	}
	f.Fuzz(func(t *testing.T, format int, text string) {
		if format < 0 || format > 2 {
			return
		}
		d := &doc{name: "fuzz", format: []string{config.YAML, config.JSON, config.TOML}[format], text: text}
		begun := time.Now()
		cfg, err := config.Load[service](t.Context(), options(config.Required(d)))
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("%d bytes took %v", len(text), took)
		}
		if err != nil {
			var e *config.Error
			if !errors.As(err, &e) {
				t.Errorf("%T is no *Error: %v", err, err)
			}
			return
		}
		got := cfg.Get()
		if got.Retries < 0 || got.Retries > 10 || got.Mode != "fast" && got.Mode != "safe" || got.DB.MaxConns == 0 {
			t.Errorf("breaks its rules: %+v", got)
		}
		for name, p := range got.Prices {
			if p.Cents <= 0 {
				t.Logf("%q is not dived into: the tag says nothing of the elements", name)
			}
		}
		var out strings.Builder
		if err := cfg.Snapshot().Dump(&out); err != nil {
			t.Error(err)
		}
		if secret := got.DB.Password.Reveal(); len(secret) > 6 && strings.Contains(out.String(), secret) && !strings.Contains(strings.Replace(text, secret, "", 1), secret) {
			t.Errorf("the dump shows the secret:\n%s", out.String())
		}
	})
}

// FuzzPath asks for arbitrary paths.
func FuzzPath(f *testing.F) {
	f.Add("prices.lamp")
	f.Add(`prices."v1.2".cents`)
	f.Add("peers[0]")
	f.Fuzz(func(t *testing.T, path string) {
		cfg, err := config.Load[service](t.Context(), options())
		must(t, err)
		stop, err := cfg.OnChange(path, func(*service, *service) {})
		if err != nil && !errors.Is(err, config.ErrInvalid) {
			t.Error(err)
		}
		stop()
	})
}
