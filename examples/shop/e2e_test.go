package main

import (
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-os/go-os/internal/tooling/testenv"
)

// TestCollectorHoldsEverything runs the shop with a real collector over each protocol, and checks the telemetry in the collector.
func TestCollectorHoldsEverything(t *testing.T) {
	for _, protocol := range []string{"grpc", "http/protobuf"} {
		t.Run(protocol, func(t *testing.T) {
			collector := testenv.Collector(t, nil)
			shop := startShop(t, export(collector, protocol), "-for", "3s", "-rate", "100")
			output := shop.Wait()
			spans, records := collector.Spans(), collector.LogRecords()
			checkWay(t, spans)
			checkLogs(t, spans, records)
			checkMetrics(t, collector)
			for _, service := range services {
				checkAccount(t, output, service, "traces", count(spans, service))
				checkAccount(t, output, service, "logs", count(records, service))
				checkAccount(t, output, service, "metrics", countPoints(collector.Metrics(), service))
			}
			if got, want := roots(spans), requestsSent(t, output); got != want {
				t.Errorf("the customers sent %d requests, the collector holds %d root spans", want, got)
			}
		})
	}
}

var services = []string{"storefront", "orders", "payments"}

// export returns the environment variables that send all telemetry to a collector.
func export(c *testenv.CollectorHandle, protocol string) []string {
	endpoint := c.HTTPEndpoint()
	if protocol == "grpc" {
		endpoint = "http://" + c.GRPCEndpoint()
	}
	return []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=" + endpoint,
		"OTEL_EXPORTER_OTLP_PROTOCOL=" + protocol,
		"OTEL_METRIC_EXPORT_INTERVAL=500",
	}
}

// checkAccount compares the exported count of the shop with the count in the collector.
func checkAccount(t *testing.T, output, service, signal string, held int) {
	t.Helper()
	a := accountOf(t, output, service, signal)
	if a.exported != held || held == 0 {
		t.Errorf("%s: exported %d %s, the collector holds %d", service, a.exported, signal, held)
	}
	if a.dropped != 0 || a.queued != 0 || a.emitted != a.exported {
		t.Errorf("%s %s: something was lost: %v", service, signal, a)
	}
}

func requestsSent(t *testing.T, output string) int {
	t.Helper()
	m := regexp.MustCompile(`(?m)^(\d+) requests: \d+ ok, \d+ refused, \d+ failed in `).FindStringSubmatch(output)
	if m == nil {
		t.Fatalf("no count of requests in\n%s", output)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestPrometheusScrapesTheShop scrapes the three services with a real Prometheus, and queries rates and exemplars. The collector must have
// the traces of the exemplars.
func TestPrometheusScrapesTheShop(t *testing.T) {
	t.Parallel()
	collector := testenv.Collector(t, nil)
	prometheus := testenv.Prometheus(t, nil)
	shop := startShop(t, export(collector, "grpc"), "-rate", "100")
	var targets []testenv.Target
	for _, service := range services {
		_, page := shop.url(service)
		u, err := url.Parse(page)
		if err != nil {
			t.Fatal(err)
		}
		targets = append(targets, testenv.Target{Job: service, Address: u.Host, Path: u.Path})
	}
	began := time.Now()
	prometheus.SetTargets(targets...)

	wantLabels(t, prometheus, `sum by (http_route) (rate(http_server_request_duration_seconds_count{job="storefront"}[10s])) > 0`,
		"http_route", "/products/{id}", "/orders")
	wantLabels(t, prometheus, `sum by (rpc_method) (rate(rpc_server_call_duration_seconds_count{job="orders"}[10s])) > 0`,
		"rpc_method", "shop.orders.v1.Orders/Place")
	wantLabels(t, prometheus, `sum by (result) (shop_orders_total{job="orders"}) > 0`,
		"result", "placed", "refused", "failed")
	wantLabels(t, prometheus, `sum by (http_route) (rate(http_server_request_duration_seconds_count{job="payments",error_type="panic"}[10s])) > 0`,
		"http_route", "/charges")

	var traces []string
	testenv.Eventually(t, 30*time.Second, "exemplars of the storefront's routes", func() error {
		exemplars, err := prometheus.QueryExemplars(t.Context(), `http_server_request_duration_seconds_bucket{job="storefront"}`, began, time.Now())
		if err != nil {
			return err
		}
		traces = traces[:0]
		for _, e := range exemplars {
			traces = append(traces, e.Labels["trace_id"])
		}
		if len(traces) < 3 {
			return fmt.Errorf("%d exemplars", len(traces))
		}
		return nil
	})
	shop.Terminate()
	shop.Wait()
	held := make(map[string]bool)
	for _, s := range collector.Spans() {
		held[s.Trace()] = true
	}
	for _, id := range traces {
		if !held[id] {
			t.Errorf("an exemplar points to trace %q, which the collector does not hold", id)
		}
	}
}

// wantLabels waits until the result of a query has a sample for each of the label values. Other samples are ignored.
func wantLabels(t *testing.T, p *testenv.PrometheusHandle, query, label string, values ...string) {
	t.Helper()
	p.WaitQuery(query, func(samples []testenv.Sample) error {
		var got []string
		for _, s := range samples {
			got = append(got, s.Labels[label])
		}
		all := "|" + strings.Join(got, "|") + "|"
		for _, v := range values {
			if !strings.Contains(all, "|"+v+"|") {
				return fmt.Errorf("%s: %s=%q is missing, there are %q", query, label, v, got)
			}
		}
		return nil
	})
}
