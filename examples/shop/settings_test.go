package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/zap"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/versions"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/etcdkv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
)

const settingsWithin = 10 * time.Second

// answers waits until the response to a request contains a text.
func answers(t *testing.T, want, method, url, body string) {
	t.Helper()
	testenv.Eventually(t, settingsWithin, want, func() error {
		if got := ask(t, method, url, body); !strings.Contains(got, want) {
			return errors.New(got)
		}
		return nil
	})
}

// TestSettingsFile makes valid and invalid edits to the settings file of a running shop.
func TestSettingsFile(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "shop.yaml")
	edit := func(old, new string) {
		t.Helper()
		changed := strings.Replace(string(text), old, new, 1)
		if err := os.WriteFile(path, []byte(changed), 0o600); err != nil || changed == string(text) && old != new {
			t.Fatalf("%v, or no %q", err, old)
		}
	}
	edit("", "")
	c := startShop(t, nil, "-rate", "0", "-config", path)
	url, _ := c.url("storefront")
	order := `{"product":"lamp","quantity":2,"card":"4242424242424242"}`
	answers(t, `"cents":4900`, http.MethodGet, url+"/products/lamp", "")

	edit("cents: 4900", "cents: 3900")
	answers(t, `"cents":3900`, http.MethodGet, url+"/products/lamp", "")
	answers(t, `"cents":7800`, http.MethodPost, url+"/orders", order)

	edit("cents: 4900", "cent: 2900")
	c.Await(`shop.yaml:4: products.lamp.cent: unknown key: did you mean cents?`)
	answers(t, `"cents":3900`, http.MethodGet, url+"/products/lamp", "")
	edit("cents: 4900", "cents: -1")
	c.Await(`products.lamp: a product has a name, and a price in cents above zero`)
	answers(t, `"cents":3900`, http.MethodGet, url+"/products/lamp", "")

	edit("quantity: 100", "quantity: 1")
	answers(t, "400 at most 1 of one product", http.MethodPost, url+"/orders", order)
	edit("orders: true", "orders: false")
	answers(t, "503 orders are switched off", http.MethodPost, url+"/orders", order)
	edit("carts: true", "carts: false")
	answers(t, "503 carts are switched off", http.MethodGet, url+"/carts/ann", "")
	edit("", "")
	answers(t, `"cents":9800`, http.MethodPost, url+"/orders", order)
}

// TestStamp: a span has the version of the configuration that was in force at its start.
func TestStamp(t *testing.T) {
	store := kv.New(memkv.New(nil), &kv.Options{Telemetry: telemetry.Off()})
	t.Cleanup(func() { _ = store.Close() })
	published, err := versions.New(store, layer, &versions.Options{Telemetry: telemetry.Off()})
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load[settings](t.Context(), &config.Options{Telemetry: telemetry.Off(), Sources: []config.Source{
		versions.Published(store, &versions.PublishedOptions{Layers: []string{layer}}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	mark, spans := &stamp{}, tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(mark), sdktrace.WithSpanProcessor(spans)).Tracer("shop")
	var got []string
	for n := range 3 {
		_, span := tracer.Start(t.Context(), "request")
		span.End()
		attrs := spans.Ended()[n].Attributes()
		version := "none"
		for _, kv := range attrs {
			if kv.Key == "goos.config.version" {
				version = kv.Value.AsString()
			}
		}
		got = append(got, version)
		if _, err := published.Publish(t.Context(), versions.Draft{Document: "limits: {quantity: 7}\n", Format: config.YAML, Author: "ada"}); err != nil {
			t.Fatal(err)
		}
		if err := cfg.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		mark.settings.Store(cfg)
	}
	if want := "none " + layer + "@1 " + layer + "@2"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

// TestSettingsMistake: the shop does not start with an invalid file.
func TestSettingsMistake(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.yaml")
	if err := os.WriteFile(path, []byte("switches: {card: true}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := run(t.Context(), []string{"-for", "1s", "-config", path}, &strings.Builder{}, &strings.Builder{})
	if !errors.Is(err, config.ErrUnknownKey) || !strings.Contains(err.Error(), "switches.card: unknown key: did you mean carts?") {
		t.Errorf("%v", err)
	}
	t.Setenv("SHOP_LIMITS_QUANTITY", "many")
	err = run(t.Context(), []string{"-for", "1s"}, &strings.Builder{}, &strings.Builder{})
	if !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), "$SHOP_LIMITS_QUANTITY: limits.quantity") {
		t.Errorf("a bad variable: %v", err)
	}
}

// configctl runs the command configctl.
func configctl(t *testing.T, in string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"run", "../configctl"}, args...)...)
	cmd.Stdin = strings.NewReader(in)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// TestSettingsPublished publishes a price to all shops that follow a store.
func TestSettingsPublished(t *testing.T) {
	t.Parallel()
	engine := testenv.Etcd(t)
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{engine.Endpoint()}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	store := kv.New(etcdkv.New(client, nil), &kv.Options{Telemetry: telemetry.Off()})
	t.Cleanup(func() { _, _ = store.Close(), client.Close() })
	published, err := versions.New(store, layer, &versions.Options{Check: versions.Check[settings](), Telemetry: telemetry.Off()})
	if err != nil {
		t.Fatal(err)
	}
	var urls []string
	for range 2 {
		c := startShop(t, nil, "-rate", "0", "-published", "etcd://"+engine.Endpoint())
		url, _ := c.url("storefront")
		urls = append(urls, url)
	}
	for _, cents := range []int{4900, 1900, 2900} {
		if cents != 4900 { // 4900 is the default
			configctl(t, fmt.Sprintf("products: {lamp: {cents: %d}}\n", cents), "-store", "etcd://"+engine.Endpoint(), "-layer", layer, "publish", "-", "-format", "yaml")
		}
		for _, url := range urls {
			answers(t, fmt.Sprintf(`"cents":%d`, cents), http.MethodGet, url+"/products/lamp", "")
		}
	}
	if _, err := published.Rollback(t.Context(), 1, "ada", ""); err != nil {
		t.Fatal(err)
	}
	answers(t, `"cents":1900`, http.MethodGet, urls[0]+"/products/lamp", "")
	testenv.Eventually(t, settingsWithin, "the services to report", func() error {
		all, err := published.Instances(t.Context())
		if err != nil || len(all) != 4 {
			return fmt.Errorf("%+v, %v", all, err)
		}
		for _, one := range all {
			if one.Version != 3 {
				return fmt.Errorf("%+v", one)
			}
		}
		return nil
	})
}
