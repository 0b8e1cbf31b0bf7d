package config_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/driver"
	"github.com/go-os/go-os/telemetry"
)

// TestLastGood loads while sources are out of reach.
func TestLastGood(t *testing.T) {
	saved := filepath.Join(t.TempDir(), "last-good.json")
	with := func(sources ...config.Source) *config.Options {
		o := options(sources...)
		o.LastGood = saved
		return o
	}
	a, b := &live{name: "a", text: "retries: 7\ndb: {password: hunter2}\n"}, &live{name: "b", text: "name: one\n"}
	if _, err := config.Load[service](t.Context(), with(a, b, config.Env("X_", []string{"X_MODE=safe"}))); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(saved); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
	a.set("", driver.ErrUnavailable)
	b.set("name: two\n", nil)
	cfg, err := config.Load[service](t.Context(), with(config.Required(a), b))
	if err != nil {
		t.Fatal(err)
	}
	if got := cfg.Get(); got.Retries != 7 || got.Name != "two" || got.Mode != "fast" || got.DB.Password.Reveal() != "hunter2" {
		t.Errorf("%+v", got)
	}
	if p := cfg.Status().Problems; len(p) != 1 || p[0].Source != "a" || p[0].LastGood.IsZero() {
		t.Errorf("problems: %+v", p)
	}
	a.set("retries: 8\n", nil)
	if err := cfg.Reload(t.Context()); err != nil || cfg.Get().Retries != 8 || cfg.Get().DB.Password.Reveal() != "" {
		t.Errorf("recovered: %v, %+v", err, cfg.Get())
	}
	a.set("retries: 99\n", nil) // the file does not stand in for an invalid source
	if _, err = config.Load[service](t.Context(), with(a, b)); !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), "a:1: retries") {
		t.Errorf("an invalid source: %v", err)
	}
	if err := os.WriteFile(saved, []byte(`{"sources": hunter2`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = config.Load[service](t.Context(), with(config.Required(a), b))
	if !errors.Is(err, config.ErrInvalid) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("with a broken file: %v", err)
	}
	a.set("retries: 5\n", nil)
	if cfg, err = config.Load[service](t.Context(), with(a, b)); err != nil || cfg.Err() != nil {
		t.Errorf("a broken last-good file is replaced: %v, %v", err, cfg.Err())
	}
}

// TestStart: Load with sources that are out of reach, or with an ended context.
func TestStart(t *testing.T) {
	down := &doc{name: "down", err: driver.ErrUnavailable}
	cfg, err := config.Load[service](t.Context(), options(down, yaml("retries: 4\n")))
	if err != nil || cfg.Get().Retries != 4 || !errors.Is(cfg.Err(), config.ErrUnavailable) {
		t.Errorf("a source is down: %v", err)
	}
	if _, err = config.Load[service](t.Context(), options(config.Required(down), yaml("retries: 4\n"))); !errors.Is(err, config.ErrUnavailable) {
		t.Errorf("a source that is required is down: %v", err)
	}
	type needs struct {
		Key string `validate:"required"`
	}
	if _, err = config.Load[needs](t.Context(), options(down)); !errors.Is(err, config.ErrUnavailable) || !strings.Contains(err.Error(), "key: invalid: is required") {
		t.Errorf("no valid configuration: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = config.Load[service](ctx, options(yaml("{}"))); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestInvalidAtStart: Load fails for every kind of invalid source. The error has the mistakes of all sources, and the source that is out of
// reach.
func TestInvalidAtStart(t *testing.T) {
	other := &doc{name: "other", format: config.JSON, text: "{\n\"retires\": 1, \"upload\": \"3 parsecs\"}"}
	down := &doc{name: "down", err: driver.ErrUnavailable}
	rest := []string{"other:2: retires: unknown key", "other:2: upload: invalid"}
	for name, test := range map[string]struct {
		bad  *doc
		is   error
		want string
	}{
		"syntax":    {yaml("retries: [\n"), config.ErrSyntax, "orders.yaml:"},
		"empty":     {yaml(""), config.ErrSyntax, "orders.yaml: syntax"},
		"unknown":   {yaml("\nnmae: x\n"), config.ErrUnknownKey, "orders.yaml:2: nmae"},
		"misfit":    {yaml("retries: many\n"), config.ErrInvalid, "orders.yaml:1: retries"},
		"format":    {&doc{name: "orders.ini", format: "ini", text: "a=1"}, config.ErrInvalid, "orders.ini: invalid"},
		"too large": {&doc{name: "orders.yaml", err: driver.ErrTooLarge}, config.ErrTooLarge, "orders.yaml: too large"},
	} {
		_, err := config.Load[service](t.Context(), options(test.bad, other, down))
		if !errors.Is(err, test.is) || !errors.Is(err, config.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, want := range append([]string{test.want, "down: unavailable"}, rest...) {
			if strings.Count(err.Error(), want) != 1 {
				t.Errorf("%s: want %q once in\n%v", name, want, err)
			}
		}
	}
	if _, err := config.Load[service](t.Context(), options(yaml("retries: 11\n"), down)); !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), "orders.yaml:1: retries: invalid: must be at most 10") {
		t.Errorf("a rule: %v", err)
	}
	_, err := config.Load[service](t.Context(), options(yaml("name: a\nname: b\nmode: c\nmode: d\nnmae: x\n")))
	for _, want := range []string{":2: name: syntax: duplicate key", ":4: mode: syntax: duplicate key", ":5: nmae: unknown key"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q in\n%v", want, err)
		}
	}
	type needs struct {
		Key  string `validate:"required"`
		Port int
	}
	_, err = config.Load[needs](t.Context(), options(yaml("{"), &doc{name: "b", format: config.YAML, text: "port: x\n"}))
	if err == nil || strings.Contains(err.Error(), "is required") || !strings.Contains(err.Error(), "b:1: port") {
		t.Errorf("a key that the broken document may have is reported as missing: %v", err)
	}
}

// TestLastGoodRefused loads while a source is out of reach and its last good state no longer fits the type.
func TestLastGoodRefused(t *testing.T) {
	saved := filepath.Join(t.TempDir(), "last-good.json")
	a, b := &live{name: "a", text: "gone: 1\n"}, &live{name: "b", text: "name: one\n"}
	with := func(sources ...config.Source) *config.Options {
		o := options(sources...)
		o.LastGood = saved
		return o
	}
	type before struct {
		Gone int
		Name string
	}
	_, err := config.Load[before](t.Context(), with(a, b))
	must(t, err)
	a.set("", driver.ErrUnavailable)
	if _, err := config.Load[service](t.Context(), with(config.Required(a), b)); !errors.Is(err, config.ErrUnavailable) || !errors.Is(err, config.ErrUnknownKey) {
		t.Errorf("required: %v", err)
	}
	cfg, err := config.Load[service](t.Context(), with(a, b))
	must(t, err)
	if cfg.Get().Name != "one" || !errors.Is(cfg.Err(), config.ErrUnavailable) || !errors.Is(cfg.Err(), config.ErrUnknownKey) || !cfg.Status().Problems[0].LastGood.IsZero() {
		t.Errorf("%+v, %v", cfg.Get(), cfg.Err())
	}
}

// TestSetUp: types and options that cannot work are ErrInvalid.
func TestSetUp(t *testing.T) {
	type badRule struct {
		A int `validate:"mni=3"`
	}
	type badMap struct{ M map[int]string }
	type badChan struct{ C chan int }
	type twice struct {
		A int
		B int `config:"a"`
	}
	type ambiguous struct {
		DB    struct{ MaxConns int }
		DBMax struct{ Conns int } `config:"db_max"`
	}
	for name, err := range map[string]error{
		"rule":      second(config.Load[badRule](t.Context(), nil)),
		"map":       second(config.Load[badMap](t.Context(), nil)),
		"chan":      second(config.Load[badChan](t.Context(), nil)),
		"twice":     second(config.Load[twice](t.Context(), nil)),
		"no struct": second(config.Load[int](t.Context(), nil)),
		"nil":       second(config.Load[service](t.Context(), options(nil))),
		"env":       second(config.Load[ambiguous](t.Context(), options(config.Env("X_", nil)))),
		"default": second(config.Load[struct {
			A int `default:"x"`
		}](t.Context(), nil)),
	} {
		if !errors.Is(err, config.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
}

// TestNegativeOptions: a negative value is an error that names the option, for the options of Load and of the sources.
func TestNegativeOptions(t *testing.T) {
	const ago = -time.Second
	file := func(o config.FileOptions) *config.Options { return options(config.File("orders.yaml", &o)) }
	address := func(o config.URLOptions) *config.Options { return options(config.URL("http://localhost/a.yaml", &o)) }
	for name, opts := range map[string]*config.Options{
		"Options.Timeout is -1s":     {Timeout: ago},
		"Options.Recheck is -1s":     {Recheck: ago},
		"Options.Backoff is -1s":     {Backoff: ago},
		"Options.MaxBackoff is -1s":  {MaxBackoff: ago},
		"FileOptions.MaxSize is -1":  file(config.FileOptions{MaxSize: -1}),
		"FileOptions.Settle is -1s":  file(config.FileOptions{Settle: ago}),
		"FileOptions.Poll is -1s":    file(config.FileOptions{Poll: ago}),
		"URLOptions.MaxSize is -1":   address(config.URLOptions{MaxSize: -1}),
		"URLOptions.Interval is -1s": address(config.URLOptions{Interval: ago}),
		"URLOptions.Full is -1s":     address(config.URLOptions{Full: ago}),
	} {
		opts.Telemetry = telemetry.Off()
		_, err := config.Load[service](t.Context(), opts)
		if !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), name+": give a positive value, or 0 for the default") {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := config.Load[service](t.Context(), &config.Options{Timeout: ago, Backoff: ago, Telemetry: telemetry.Off()})
	if err == nil || !strings.Contains(err.Error(), "Options.Timeout") || !strings.Contains(err.Error(), "Options.Backoff") {
		t.Errorf("not all mistakes: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

// TestUnknown: AllowUnknown makes unknown keys warnings.
func TestUnknown(t *testing.T) {
	o := options(yaml("retires: 1\ndb: {pasword: hunter2}\npeers: [{host: a, prot: 1}]\nname: x\n"), config.Env("ORDERS_", []string{"ORDERS_SERVICE_HOST=10.0.0.1", "ORDERS_RETRIES=5"}))
	if _, err := config.Load[service](t.Context(), options(config.Required(o.Sources[0]))); !errors.Is(err, config.ErrUnknownKey) {
		t.Errorf("strict: %v", err)
	}
	o.AllowUnknown = true
	cfg, err := config.Load[service](t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if got := cfg.Get(); got.Name != "x" || got.Retries != 5 || len(got.Peers) != 1 {
		t.Errorf("%+v", got)
	}
	if w := cfg.Status().Warnings; len(w) != 4 {
		t.Errorf("warnings: %v", w)
	}
	var out strings.Builder
	if err := cfg.Snapshot().Dump(&out); err != nil || strings.Contains(out.String(), "hunter2") {
		t.Errorf("the dump shows a secret whose name is misspelt:\n%s", out.String())
	}
}
