package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-os/go-os/control/discovery"
)

// TestServices pays by the name of the service.
func TestServices(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /charges/{order}", func(http.ResponseWriter, *http.Request) {})
	var instances []discovery.Instance
	for _, id := range []string{"a", "b"} {
		server := httptest.NewServer(handler(mux))
		defer server.Close()
		instances = append(instances, discovery.Instance{
			Service: "payments", ID: id, Weight: 100, Addresses: map[string]string{"http": strings.TrimPrefix(server.URL, "http://")},
		})
	}
	registry, err := discovery.Static(instances...)
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := discovery.NewResolver(registry, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resolver.Close() }()
	payments, err := client(resolver)
	if err != nil {
		t.Fatal(err)
	}
	defer payments.CloseIdleConnections()
	for range 4 {
		if status, err := pay(payments, "7"); err != nil || status != "200 OK" {
			t.Errorf("%s, %v", status, err)
		}
	}
}
