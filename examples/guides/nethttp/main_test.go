package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestNetHTTP checks the section "What you see" of the guide: one trace across both services, series by route and by server, and a
// graceful shutdown.
func TestNetHTTP(t *testing.T) {
	parents := make(chan string, 1)
	payments := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		parents <- r.Header.Get("Traceparent")
	}))
	defer payments.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, listener, payments.URL) }()

	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	order, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+listener.Addr().String()+"/orders/7", nil)
	if err != nil {
		t.Fatal(err)
	}
	order.Header.Set("Traceparent", "00-"+trace+"-00f067aa0ba902b7-01")
	if got := answer(t, order); got != "order 7: 200 OK\n" {
		t.Errorf("response = %q", got)
	}
	if parent := <-parents; !strings.Contains(parent, trace) {
		t.Errorf("payments got the traceparent %q, want the trace of the order", parent)
	}
	scrape, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+listener.Addr().String()+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	page := answer(t, scrape)
	for _, labels := range []string{
		`http_server_request_duration_seconds_count{http_request_method="POST",http_response_status_code="200",http_route="/orders/{id}"`,
		`http_client_request_duration_seconds_count{http_request_method="POST",http_response_status_code="200"`,
	} {
		if !strings.Contains(page, labels) {
			t.Errorf("the page has no series %s…:\n%s", labels, page)
		}
	}
	if strings.Contains(page, `http_route="/metrics"`) {
		t.Error("the page counts its own scrapes, which the filter excludes")
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("run = %v", err)
	}
}

// TestListenerThatFails checks that run returns the error of its listener.
func TestListenerThatFails(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), listener, ""); err == nil {
		t.Error("run returned no error")
	}
}

func answer(t *testing.T, r *http.Request) string {
	t.Helper()
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
