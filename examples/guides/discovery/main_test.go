package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/discovery/kvdiscovery"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/etcdkv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Run(m)) }

// TestStorefront runs the service of the guide on etcd. It must find the live instance of prices beside a dead one, and serve until its
// callers have seen that it drains.
func TestStorefront(t *testing.T) {
	store := openStore(t)
	registry, err := kvdiscovery.New(store.Namespace("services"), nil)
	if err != nil {
		t.Fatal(err)
	}
	registrar, err := discovery.NewRegistrar(registry, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer registrar.Close()
	resolver, err := discovery.NewResolver(registry, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resolver.Close()
	living, dead := httptest.NewServer(http.HandlerFunc(servePrice)), httptest.NewServer(http.HandlerFunc(servePrice))
	defer living.Close()
	dead.Close()
	for id, server := range map[string]*httptest.Server{"living": living, "dead": dead} {
		instance := discovery.Instance{Service: "prices", ID: id, Addresses: map[string]string{"http": server.Listener.Addr().String()}}
		if _, err := registrar.Register(t.Context(), instance); err != nil {
			t.Fatal(err)
		}
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, store, "127.0.0.1:0") }()
	stopped := false
	for change, err := range resolver.Watch(t.Context(), "storefront", discovery.Available) {
		switch {
		case err != nil:
			t.Fatal(err)
		case len(change.Added) == 1:
			callUntilItDrains(t, resolver, stop)
			stopped = true
		}
		if stopped {
			break
		}
	}
	if err := <-ended; err != nil {
		t.Errorf("run = %v", err)
	}
	testenv.Eventually(t, 10*time.Second, "the goodbye", func() error {
		s, err := resolver.Lookup(t.Context(), "storefront")
		if err != nil || len(s.Instances) > 0 {
			return fmt.Errorf("%d instances, %w", len(s.Instances), err)
		}
		return nil
	})
}

// callUntilItDrains sends requests to the storefront as another service would, and stops it meanwhile.
func callUntilItDrains(t *testing.T, resolver *discovery.Resolver, stop func()) {
	t.Helper()
	view, err := resolver.View(t.Context(), "storefront", discovery.Available)
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + view.Snapshot().Instances[0].Addresses["http"]
	testenv.Eventually(t, 10*time.Second, "readiness", func() error {
		if got := get(t, url+"/readyz"); got != "200 " {
			return errors.New(got)
		}
		return nil
	})
	for calls := 0; len(view.Snapshot().Instances) == 1; calls++ {
		if got := get(t, url+"/products/lamp"); got != "200 lamp costs 49.00\n" {
			t.Fatalf("call %d: %q", calls, got)
		}
		if calls == 20 {
			stop()
		}
	}
}

func servePrice(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "49.00") }

func get(t *testing.T, url string) string {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", response.StatusCode, body)
}

func openStore(t *testing.T) *kv.Store {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{testenv.Etcd(t).Endpoint()}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	store := kv.New(etcdkv.New(client, nil), nil)
	t.Cleanup(func() {
		if err := errors.Join(store.Close(), client.Close()); err != nil {
			t.Error(err)
		}
	})
	return store
}

// TestPrice is the test of the guide: the registry is a list.
func TestPrice(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(servePrice))
	defer server.Close()
	registry, err := discovery.Static(discovery.Instance{
		Service: "prices", ID: "test",
		Addresses: map[string]string{"http": server.Listener.Addr().String()},
	})
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := discovery.NewResolver(registry, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resolver.Close()
	client, err := newClient(resolver)
	if err != nil {
		t.Fatal(err)
	}

	if got, err := price(t.Context(), client, "lamp"); got != "49.00" || err != nil {
		t.Errorf("price = %q, %v", got, err)
	}
	p, err := newPrices(t.Context(), resolver)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.send(t.Context(), "", ask); err != nil {
		t.Errorf("send = %v", err)
	}
}

// TestAddressTaken checks that run returns the error of its listener.
func TestAddressTaken(t *testing.T) {
	taken := httptest.NewServer(http.NotFoundHandler())
	defer taken.Close()
	err := serve(t.Context(), nil, nil, taken.Listener.Addr().String())
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("serve = %v", err)
	}
}
