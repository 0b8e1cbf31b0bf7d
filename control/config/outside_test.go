package config_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/driver"
	"github.com/go-os/go-os/telemetry"
)

// labels is a source of an application. It derives names from the keys, has a text for each name, and implements every interface that Env
// does.
type labels struct {
	set   map[string]string
	order []string
	keys  map[string]driver.Key
}

func (*labels) Name() string { return "labels" }

func (l *labels) Bind(keys []driver.Key) (driver.Source, error) {
	bound := &labels{set: l.set, order: l.order, keys: map[string]driver.Key{}}
	for _, k := range keys {
		name := strings.Join(k.Path, "/")
		if name == "limits" && l.set["clash"] != "" {
			return nil, errors.New("two keys have one label")
		}
		bound.keys[name] = k
	}
	return bound, nil
}

func (l *labels) Read(context.Context) (docs []driver.Document, _ error) {
	for _, name := range l.order {
		path := []string{name}
		if k, ok := l.keys[name]; ok {
			path = k.Path
		}
		var tree any = driver.Text(l.set[name])
		for i := len(path) - 1; i >= 0; i-- {
			tree = map[string]any{path[i]: tree}
		}
		docs = append(docs, driver.Document{Name: "label " + name, Tree: tree.(map[string]any)})
	}
	return docs, nil
}

func (*labels) Suggest(name string) string {
	if name == "retires" {
		return "label retries"
	}
	return ""
}

func (*labels) Fixed() {}

// TestSourceFromOutside: a source of an application can do everything that Env does. It sets numbers, lists and structs by texts, and
// merges objects. Its unknown names are warnings, one bad text does not block the others, and the last-good file does not contain it.
func TestSourceFromOutside(t *testing.T) {
	l := &labels{
		set:   map[string]string{"retries": "5", "db/max_conns": "7", "tags": "a, b", "prices": `{"lamp": {"cents": 1}}`, "retires": "6"},
		order: []string{"retries", "db/max_conns", "tags", "prices", "retires"},
	}
	lastGood := filepath.Join(t.TempDir(), "last-good.json")
	cfg, err := config.Load[service](t.Context(), &config.Options{
		Telemetry: telemetry.Off(), LastGood: lastGood,
		Sources: []config.Source{yaml("prices: {chair: {cents: 2}}\n"), l},
	})
	must(t, err)
	got := cfg.Get()
	if got.Retries != 5 || got.DB.MaxConns != 7 || strings.Join(got.Tags, "") != "ab" || len(got.Prices) != 2 {
		t.Errorf("%+v", got)
	}
	if warnings := cfg.Status().Warnings; len(warnings) != 1 || !strings.Contains(warnings[0].Error(), "unknown key: did you mean label retries?") {
		t.Errorf("warnings: %v", warnings)
	}
	kept, err := os.ReadFile(lastGood)
	must(t, err)
	if !strings.Contains(string(kept), "orders.yaml") || strings.Contains(string(kept), "labels") {
		t.Errorf("the last-good file has %s", kept)
	}

	l.set["retries"], l.set["db/max_conns"] = "many", "8"
	if err := cfg.Reload(t.Context()); !errors.Is(err, config.ErrInvalid) || cfg.Get().Retries != 5 || cfg.Get().DB.MaxConns != 8 {
		t.Errorf("%v, %+v", err, cfg.Get())
	}

	l.set["clash"] = "yes"
	if _, err := config.Load[service](t.Context(), options(l)); err == nil || !strings.Contains(err.Error(), "config: labels: two keys have one label") {
		t.Errorf("a source that cannot be bound: %v", err)
	}
}

// TestTextIsKept: the last-good file stands in for a source of texts that is out of reach.
func TestTextIsKept(t *testing.T) {
	o := options(&texts{})
	o.LastGood = filepath.Join(t.TempDir(), "last-good.json")
	_, err := config.Load[service](t.Context(), o)
	must(t, err)
	o.Sources = []config.Source{&texts{err: driver.ErrUnavailable}}
	cfg, err := config.Load[service](t.Context(), o)
	must(t, err)
	if cfg.Get().Retries != 5 || cfg.Err() == nil {
		t.Errorf("%+v, %v", cfg.Get(), cfg.Err())
	}
}

// texts is a source of one text. It is not a driver.Fixed.
type texts struct{ err error }

func (*texts) Name() string { return "texts" }

func (s *texts) Read(context.Context) ([]driver.Document, error) {
	return []driver.Document{{Name: "texts", Tree: map[string]any{"retries": driver.Text("5")}}}, s.err
}
