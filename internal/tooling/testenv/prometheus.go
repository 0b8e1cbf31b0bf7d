package testenv

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// PrometheusOptions configure Prometheus. Nil and zero work.
type PrometheusOptions struct {
	// Targets are the first targets to scrape. Default: none; see SetTargets.
	Targets []Target
	// ScrapeInterval is the time between scrapes of a target. Default: 500 ms.
	ScrapeInterval time.Duration
}

// Target is one page of metrics to scrape.
type Target struct {
	// Job becomes the label job. Default: "test".
	Job string
	// Address is the host and port to scrape, and becomes the label instance. Required.
	Address string
	// Path is the path of the page. Default: "/metrics".
	Path string
}

// PrometheusHandle is a running Prometheus, with exemplar storage on. Its queries are in prometheus_api.go.
type PrometheusHandle struct {
	*Process

	interval time.Duration
}

// Prometheus starts a Prometheus server for the test.
func Prometheus(t testing.TB, opts *PrometheusOptions) *PrometheusHandle {
	t.Helper()
	if opts == nil {
		opts = &PrometheusOptions{}
	}
	interval := opts.ScrapeInterval
	if interval == 0 {
		interval = 500 * time.Millisecond
	}
	config, err := prometheusConfig(opts.Targets, interval)
	if err != nil {
		t.Fatal(err)
	}
	engine := prometheusEngine()
	engine.Prepare = func(p Place) error {
		// SetTargets may have changed the file, and a restart must keep it.
		if present(p.File(prometheusFile)) {
			return nil
		}
		return os.WriteFile(p.File(prometheusFile), config, 0o644)
	}
	return &PrometheusHandle{Process: start(t, engine), interval: interval}
}

// URL returns the base URL of the server.
func (p *PrometheusHandle) URL() string { return "http://" + p.Addr(0) }

// SetTargets replaces the targets, and returns once the server has loaded them.
func (p *PrometheusHandle) SetTargets(targets ...Target) {
	p.t.Helper()
	config, err := prometheusConfig(targets, p.interval)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(p.place.File(prometheusFile), config, 0o644); err != nil {
		p.t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, p.URL()+"/-/reload", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := expectOK(request); err != nil {
		p.t.Fatalf("prometheus did not reload: %v", err)
	}
}

// Promtool returns the path of promtool, the checker of metrics and rules that comes with Prometheus. If it is missing, the test ends as
// with a missing engine.
func Promtool(t testing.TB) string {
	t.Helper()
	return program(t, promtoolEngine()).Path
}

// The server and its tool come from one module. Without service discovery (remove_all_sd) they need fewer packages, and none that is hard
// to download.
const (
	prometheusModule = "internal/tooling/engines/prometheus"
	prometheusTags   = "remove_all_sd"
	prometheusFile   = "prometheus.json"
)

func prometheusEngine() *Engine {
	return &Engine{
		Name:    "prometheus",
		Weight:  Heavy,
		Module:  prometheusModule,
		Package: "github.com/prometheus/prometheus/cmd/prometheus",
		Tags:    prometheusTags,
		Command: "prometheus",
		Ports:   1,
		Args:    prometheusArgs,
		Ready: func(ctx context.Context, p Place) error {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Addr(0)+"/-/ready", nil)
			if err != nil {
				return err
			}
			return expectOK(request)
		},
	}
}

func promtoolEngine() *Engine {
	return &Engine{
		Name:    "promtool",
		Weight:  Heavy,
		Module:  prometheusModule,
		Package: "github.com/prometheus/prometheus/cmd/promtool",
		Tags:    prometheusTags,
		Command: "promtool",
	}
}

func prometheusArgs(p Place) []string {
	args := []string{
		"--config.file=" + p.File(prometheusFile),
		"--storage.tsdb.path=" + p.File("data"),
		"--web.listen-address=" + p.Addr(0),
		"--web.enable-lifecycle",
		"--enable-feature=exemplar-storage",
	}
	if p.Program.Pinned || majorVersion(p.Program.Path) >= 3 {
		// This flag is hidden, and unknown to version 2. Without it the first scrape comes five seconds late.
		args = append(args, "--scrape.discovery-reload-interval=100ms")
	}
	return args
}

// majorVersion returns the major version of a Prometheus found on the machine, or 0 if it does not report one.
func majorVersion(path string) int {
	said, err := exec.Command(path, "--version").CombinedOutput()
	if err != nil {
		return 0
	}
	found := regexp.MustCompile(`version v?(\d+)\.`).FindSubmatch(said)
	if found == nil {
		return 0
	}
	major, _ := strconv.Atoi(string(found[1])) // the pattern admits only digits
	return major
}

// prometheusConfig returns the configuration as JSON, which is also YAML. Each target is a scrape job with its own name, so that each can
// have its own path. Relabelling then sets the job label that the caller asked for.
func prometheusConfig(targets []Target, interval time.Duration) ([]byte, error) {
	type object = map[string]any
	every := fmt.Sprintf("%dms", interval.Milliseconds())
	scrapes := []object{}
	for i, target := range targets {
		if target.Address == "" {
			return nil, fmt.Errorf("prometheus target %d has no Address: give it the host:port of the page", i)
		}
		job, path := target.Job, target.Path
		if job == "" {
			job = "test"
		}
		if path == "" {
			path = "/metrics"
		}
		scrapes = append(scrapes, object{
			"job_name":       fmt.Sprintf("target-%d", i),
			"metrics_path":   path,
			"static_configs": []object{{"targets": []string{target.Address}, "labels": object{"job": job}}},
		})
	}
	return json.Marshal(object{
		"global":         object{"scrape_interval": every, "scrape_timeout": every},
		"storage":        object{"exemplars": object{"max_exemplars": 100000}},
		"scrape_configs": scrapes,
	})
}
