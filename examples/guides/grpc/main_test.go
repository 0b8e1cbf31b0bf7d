package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/go-os/go-os/examples/shop/ordersv1"
)

// TestGRPC checks the section "What you see" of the guide: series of server and client by method, and a graceful shutdown.
func TestGRPC(t *testing.T) {
	calls, pages := listen(t), listen(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, calls, pages) }()

	conn, err := dial(calls.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	placed, err := ordersv1.NewOrdersClient(conn).Place(ctx, &ordersv1.PlaceRequest{Product: "lamp", Quantity: 2})
	if err != nil || placed.GetTotal() != 500 {
		t.Errorf("Place = %v, %v", placed, err)
	}
	response, err := http.Get("http://" + pages.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, series := range []string{
		`rpc_server_call_duration_seconds_count{`, `rpc_client_call_duration_seconds_count{`, `rpc_method="shop.orders.v1.Orders/Place",rpc_response_status_code="OK"`,
	} {
		if !strings.Contains(string(page), series) {
			t.Errorf("the page has no %s:\n%s", series, page)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("run = %v", err)
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listener
}
