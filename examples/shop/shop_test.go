package main

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// TestRun runs the whole shop in this process, without a collector or a Prometheus, and checks its output.
func TestRun(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
	defer goleak.VerifyNone(t)
	var out, logs bytes.Buffer
	if err := run(t.Context(), []string{"-for", "2s", "-rate", "60"}, &out, &logs); err != nil {
		t.Fatal(err)
	}
	output := out.String()
	t.Logf("\n%s", output)
	// The worst request is the one that triggers the bug in payments. The trace shows it in every service.
	inOrder(t, output,
		"  POST /orders ", "storefront", "server", "ERROR 502",
		"└─ shop.orders.v1.Orders/Place", "storefront", "client", "ERROR UNAVAILABLE",
		"   └─ shop.orders.v1.Orders/Place", "orders", "server", "ERROR UNAVAILABLE",
		"      ├─ reserve stock", "orders", "ok",
		"      └─ POST ", "orders", "client", "ERROR 500",
		"         └─ POST /charges", "payments", "server", "ERROR 500",
		"INFO", "orders", "stock reserved", "product=lamp",
		"ERROR", "payments", "slice bounds out of range",
		"ERROR", "orders", "order failed", "500",
		"ERROR", "storefront", "order not taken",
		"Requests and latencies by route",
	)
	for _, service := range services {
		if n := instancesUp(output, service); n != 3 {
			t.Errorf("%d instances of %s are up, want 3", n, service)
		}
	}
	orders := rate(t, output, "storefront", "POST /orders")
	pages := rate(t, output, "storefront", "GET /products/{id}")
	filled := rate(t, output, "storefront", "PUT /carts/{customer}/{product}")
	looked := rate(t, output, "storefront", "GET /carts/{customer}")
	bought := rate(t, output, "storefront", "POST /carts/{customer}/order")
	carts := filled.requests + looked.requests + bought.requests
	if sent := requestsSent(t, output); orders.requests+pages.requests+carts != sent || sent < 60 {
		t.Errorf("%d requests were sent, the table has %d orders, %d pages and %d steps of carts", sent, orders.requests, pages.requests, carts)
	}
	if filled.errors+looked.errors+bought.errors != 0 {
		t.Errorf("carts fail: %+v, %+v, %+v", filled, looked, bought)
	}
	placed := rate(t, output, "orders", "shop.orders.v1.Orders/Place")
	if more := placed.requests - orders.requests; more < 1 || more > bought.requests || placed.errors != orders.errors {
		t.Errorf("the storefront took %+v and from carts %+v, orders took %+v", orders, bought, placed)
	}
	if charges := rate(t, output, "payments", "POST /charges"); charges.errors != orders.errors || charges.errors == 0 {
		t.Errorf("payments failed %+v, the storefront %+v", charges, orders)
	}
	if orders.p50 > orders.p95 || orders.p95 > orders.p99 || orders.p99 < 125 {
		t.Errorf("a reviewed order takes 125 ms at least, got %+v", orders)
	}
	if pages.p50 >= orders.p50 || pages.p50 < 0.5 {
		t.Errorf("a page takes half a millisecond at least, and less than an order: %+v, %+v", pages, orders)
	}
	for _, service := range services {
		serves, metrics := urlOf(t, output, service)
		closed(t, hostOf(serves))
		closed(t, strings.TrimSuffix(hostOf(metrics), "/metrics"))
	}
}

// TestLessTelemetry runs the shop with telemetry disabled in part by the environment. The shop must serve, and report what is missing.
func TestLessTelemetry(t *testing.T) {
	for env, want := range map[string][]string{
		"OTEL_SDK_DISABLED=true":         {"No trace was recorded", "no request was measured"},
		"OTEL_TRACES_SAMPLER=always_off": {"No trace was recorded", "GET /products/{id}"},
		"OTEL_SERVICE_NAME=one-for-all":  {"└─ POST /charges", "storefront  GET /products/{id}", "payments    POST /charges"},
	} {
		t.Run(env, func(t *testing.T) {
			name, value, _ := strings.Cut(env, "=")
			t.Setenv(name, value)
			var out bytes.Buffer
			if err := run(t.Context(), []string{"-for", "500ms", "-rate", "100"}, &out, io.Discard); err != nil {
				t.Fatal(err)
			}
			for _, w := range want {
				if !strings.Contains(out.String(), w) {
					t.Errorf("%q is missing in\n%s", w, &out)
				}
			}
			if requestsSent(t, out.String()) < 10 {
				t.Error("the shop was not served")
			}
		})
	}
}

func inOrder(t *testing.T, text string, parts ...string) {
	t.Helper()
	rest := text
	for _, part := range parts {
		_, after, found := strings.Cut(rest, part)
		if !found {
			t.Fatalf("%q is missing, or not where it should be, in\n%s\nlooked for in\n%s", part, text, rest)
		}
		rest = after
	}
}

// measured is one row of the table of routes; latencies are in milliseconds.
type measured struct {
	requests, errors int
	p50, p95, p99    float64
}

func rate(t *testing.T, output, service, route string) measured {
	t.Helper()
	row := regexp.MustCompile(`(?m)^  ` + service + ` +` + regexp.QuoteMeta(route) + ` +(\d+) +[\d.]+ +(\d+) +([\d.]+)ms +([\d.]+)ms +([\d.]+)ms`).FindStringSubmatch(output)
	if row == nil {
		t.Fatalf("no row for %s %s in\n%s", service, route, output)
	}
	var numbers [5]float64
	for i := range numbers {
		n, err := strconv.ParseFloat(row[i+1], 64)
		if err != nil {
			t.Fatal(err)
		}
		numbers[i] = n
	}
	return measured{int(numbers[0]), int(numbers[1]), numbers[2], numbers[3], numbers[4]}
}

func closed(t *testing.T, addr string) {
	t.Helper()
	if conn, err := net.Dial("tcp", addr); err == nil {
		conn.Close()
		t.Errorf("%s is still open", addr)
	}
}

func TestFlags(t *testing.T) {
	for _, c := range []struct {
		args string
		want string // part of the error
	}{
		{"-service warehouse", "must be storefront, orders or payments"},
		{"-service storefront", "say where it listens with -orders host:port"},
		{"-service orders -payments 127.0.0.1:0", "say where it listens with -payments host:port"},
		{"-service orders -payments 127.0.0.1:7003 -discovery etcd://127.0.0.1:1", "leave out -payments"},
		{"-discovery bolt:///tmp/x -for 1s", "must be memory, etcd://host:port, consul://host:port or nats://host:port"},
		{"-fault broken", `-fault "broken": must be slow or failing, where payments runs`},
		{"-fault slow -service storefront -orders 127.0.0.1:7002", "where payments runs"},
		{"-instances -1", "-instances must be between 1 and 100"},
		{"-rate -1", "-rate must be between 0 and 10000"},
		{"-for -1s", "-for must not be negative"},
		{"-kv oracle://127.0.0.1 -for 1s", "must be memory, bolt:///path/of/a/file, etcd://host:port, consul://host:port or redis://host:port"},
		{"-kv etcd://127.0.0.1:1 -for 1s", "-kv etcd://127.0.0.1:1 does not answer: is it running there?"},
		{"-kv redis://127.0.0.1:1 -for 1s", "-kv redis://127.0.0.1:1 does not answer: is it running there?"},
		{"lamp", `unexpected argument "lamp"`},
		{"-for soon", "invalid value"},
	} {
		err := run(t.Context(), strings.Fields(c.args), io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.args, err, c.want)
		}
	}
	var help bytes.Buffer
	if err := run(t.Context(), []string{"-h"}, io.Discard, &help); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("got %v", err)
	}
	for _, want := range []string{"-for", "-rate", "-service", "?namespace=", "OTEL_EXPORTER_OTLP_ENDPOINT"} {
		if !strings.Contains(help.String(), want) {
			t.Errorf("-h does not speak of %s", want)
		}
	}
}

// TestPortTaken: a port in use is a clear error, and the services that have started leave nothing behind.
func TestPortTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	err = run(t.Context(), []string{"-storefront", taken.Addr().String(), "-for", "1s"}, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "storefront: listen tcp "+taken.Addr().String()) {
		t.Errorf("got %v", err)
	}
}

// TestCollectorDown runs the shop with a collector that is down. Customers notice nothing, every loss is reported, and the shutdown is
// clean.
func TestCollectorDown(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	shop := startShop(t, []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + listener.Addr().String()}, "-for", "1s")
	output := shop.Wait()
	for _, service := range services {
		for _, signal := range []string{"traces", "logs"} {
			a := accountOf(t, output, service, signal)
			if a.emitted == 0 || a.exported != 0 || a.dropped != a.emitted || a.queued != 0 {
				t.Errorf("%s %s: all of it must be counted as dropped, got %v", service, signal, a)
			}
		}
		if !strings.Contains(output, "Not all telemetry was exported") {
			t.Error("the loss is not told")
		}
	}
	orders := rate(t, output, "storefront", "POST /orders")
	if sent := requestsSent(t, output); sent < 20 || orders.requests == 0 {
		t.Errorf("%d requests were sent, %d of them orders", sent, orders.requests)
	}
}

// TestOneServiceAProcess runs the three services in three processes that reach each other by address.
func TestOneServiceAProcess(t *testing.T) {
	t.Parallel()
	payments := startShop(t, nil, "-service", "payments")
	paymentsURL, _ := payments.url("payments")
	orders := startShop(t, nil, "-service", "orders", "-payments", hostOf(paymentsURL))
	ordersAddr, _ := orders.url("orders")
	front := startShop(t, nil, "-service", "storefront", "-orders", ordersAddr, "-rate", "0")
	frontURL, _ := front.url("storefront")

	if got := post(t, frontURL+"/orders", `{"product":"lamp","quantity":2,"card":"4242424242424242"}`); got != `201 {"cents":9800,"order":"o-1"}` {
		t.Errorf("got %s", got)
	}
	if got := post(t, frontURL+"/orders", `{"product":"lamp","quantity":2,"card":"4000000000000002"}`); got != "402 the bank refused the card" {
		t.Errorf("got %s", got)
	}
	for _, c := range []child{front, orders, payments} {
		c.Terminate()
		c.Wait()
	}
}

func post(t *testing.T, url, body string) string {
	t.Helper()
	return ask(t, http.MethodPost, url, body)
}
