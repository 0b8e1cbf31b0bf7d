package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/go-os/go-os/examples/internal/childtest"
	"github.com/go-os/go-os/internal/tooling/testenv"
)

// TestPrometheusKeepsEverySeries scrapes a program with a registry of its own, using a real Prometheus. Every series of both registries
// must be there, even if both use the same name.
func TestPrometheusKeepsEverySeries(t *testing.T) {
	prometheus := testenv.Prometheus(t, nil)
	var built childtest.Program
	defer built.Remove()
	program := childtest.Start(t, &built, nil, "-addr", "127.0.0.1:0")
	url := program.Await(`listening.* url=(http://\S+)`)[1]
	prometheus.SetTargets(testenv.Target{Job: "existing", Address: strings.TrimPrefix(url, "http://")})
	const calls = 7
	for range calls {
		hello(t, url)
	}
	// Series of client_golang keep their names.
	for query, want := range map[string]float64{
		`greetings_total{name="world"}`:                                         calls,
		`greeting_bytes_count`:                                                  calls,
		`greeting_bytes{quantile="0.5"}`:                                        float64(len("Hello, world!\n")),
		`greetings_in_flight`:                                                   0,
		`http_server_request_duration_seconds_count{handler="hello"}`:           calls,
		`http_server_request_duration_seconds_bucket{handler="hello",le="1.0"}`: calls,
		`count(go_build_info)`:                                                  1,
		`count(go_goroutines)`:                                                  1,
	} {
		wantValue(t, prometheus, query, want)
	}
	// Series of Go OS get another name if client_golang uses theirs.
	for query, want := range map[string]float64{
		`otel_http_server_request_duration_seconds_count{http_route="/hello/{name}"}`:                calls,
		`count(http_server_request_duration_seconds_count{http_route="/hello/{name}"}) or vector(0)`: 0,
		`count(target_info{service_name="existing"})`:                                                1,
		`count(go_memory_used_bytes) > bool 0`:                                                       1,
		`up`:                                                                                         1,
	} {
		wantValue(t, prometheus, query, want)
	}
	program.Terminate()
	program.Wait()
}

func wantValue(t *testing.T, p *testenv.PrometheusHandle, query string, want float64) {
	t.Helper()
	p.WaitQuery(query, func(samples []testenv.Sample) error {
		if len(samples) != 1 {
			return fmt.Errorf("%s: %d series, want one", query, len(samples))
		}
		if samples[0].Value != want {
			return fmt.Errorf("%s: %v, want %v", query, samples[0].Value, want)
		}
		return nil
	})
}

func hello(t *testing.T, url string) {
	t.Helper()
	resp, err := http.Get(url + "/hello/world")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
}
