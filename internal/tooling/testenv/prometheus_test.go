package testenv_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/go-os/go-os/internal/tooling/testenv"
)

// page serves a counter with an exemplar and returns its address and the counter.
func page(t *testing.T, path string) (address string, counter prometheus.Counter) {
	t.Helper()
	registry := prometheus.NewRegistry()
	counter = prometheus.NewCounter(prometheus.CounterOpts{Name: "sold_total", Help: "Things sold."})
	registry.MustRegister(counter)
	mux := http.NewServeMux()
	mux.Handle(path, promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://"), counter
}

func TestPrometheusScrapesAndAnswers(t *testing.T) {
	t.Parallel()
	address, counter := page(t, "/metrics")
	start := time.Now()
	counter.(prometheus.ExemplarAdder).AddWithExemplar(42, prometheus.Labels{"trace_id": "0af7651916cd43dd8448eb211c80319c"})
	server := testenv.Prometheus(t, &testenv.PrometheusOptions{Targets: []testenv.Target{{Job: "till", Address: address}}})
	sample := server.WaitQuery(`sold_total`, nil)[0]
	if sample.Value != 42 || sample.Labels["job"] != "till" || sample.Labels["instance"] != address || sample.Time.Before(start.Add(-time.Second)) {
		t.Errorf("sample is %+v", sample)
	}
	exemplars, err := server.QueryExemplars(t.Context(), `sold_total`, start.Add(-time.Minute), time.Now().Add(time.Minute))
	if err != nil || len(exemplars) != 1 {
		t.Fatalf("exemplars: %v, %v, want one", exemplars, err)
	}
	if e := exemplars[0]; e.Value != 42 || e.Labels["trace_id"] != "0af7651916cd43dd8448eb211c80319c" || e.Series["job"] != "till" {
		t.Errorf("exemplar is %+v", e)
	}
	if got, err := server.Query(t.Context(), `6 * 7`); err != nil || len(got) != 1 || got[0].Value != 42 {
		t.Errorf("scalar: %v, %v", got, err)
	}
	if got, err := server.Query(t.Context(), `no_such_series`); err != nil || len(got) != 0 {
		t.Errorf("no series: %v, %v, want an empty result", got, err)
	}
	for query, want := range map[string]string{`sold_total[1m]`: "instant vector", `sum(`: "parse error"} {
		if _, err := server.Query(t.Context(), query); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("query %s: %v, want an error with %q", query, err, want)
		}
	}
}

func TestPrometheusTargetsAndRestart(t *testing.T) {
	t.Parallel()
	first, counter := page(t, "/metrics")
	counter.Add(1)
	second, other := page(t, "/deep/metrics")
	other.Add(2)
	server := testenv.Prometheus(t, &testenv.PrometheusOptions{Targets: []testenv.Target{{Address: first}}, ScrapeInterval: 100 * time.Millisecond})
	server.WaitQuery(`sold_total == 1`, nil)
	server.SetTargets(testenv.Target{Address: second, Path: "/deep/metrics"}, testenv.Target{Job: "gone", Address: "127.0.0.1:1"})
	server.WaitQuery(`sold_total == 2`, nil)
	testenv.Eventually(t, 20*time.Second, "both targets to have been scraped", func() error {
		targets, err := server.Targets(t.Context())
		if err != nil {
			return err
		}
		health := map[string]string{}
		for _, target := range targets {
			health[target.Job] = target.Health
			if target.Health == "down" && !strings.Contains(target.LastError, "refused") {
				return fmt.Errorf("down because of %q", target.LastError)
			}
		}
		if len(targets) != 2 || health["test"] != "up" || health["gone"] != "down" {
			return fmt.Errorf("targets are %+v", targets)
		}
		return nil
	})
	url := server.URL()
	server.Kill()
	if _, err := server.Query(t.Context(), `1`); err == nil {
		t.Error("answers after Kill")
	}
	server.Restart()
	if server.URL() != url {
		t.Errorf("URL %s → %s over a restart", url, server.URL())
	}
	// The first target is not scraped any more: this data was written before the kill.
	server.WaitQuery(fmt.Sprintf(`max_over_time(sold_total{instance=%q}[5m])`, first), nil)
	// The targets are the new ones.
	server.WaitQuery(fmt.Sprintf(`up{instance=%q} == 1`, second), nil)
}

func TestPromtoolChecksMetrics(t *testing.T) {
	t.Parallel()
	tool := testenv.Promtool(t)
	for _, page := range []struct {
		text string
		good bool
	}{
		{"# HELP sold_total Things sold.\n# TYPE sold_total counter\nsold_total 1\n", true},
		{"# TYPE sold counter\nsold 1\n", false},
	} {
		cmd := exec.Command(tool, "check", "metrics")
		cmd.Stdin = strings.NewReader(page.text)
		if said, err := cmd.CombinedOutput(); (err == nil) != page.good {
			t.Errorf("promtool on %q: %v\n%s", page.text, err, said)
		}
	}
}
