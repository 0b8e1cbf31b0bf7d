package oshttp_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry"
)

const catchAllLine = "many paths share one route"

// visit requests that many different paths.
func visit(h http.Handler, paths int) {
	for i := range paths {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, fmt.Sprintf("/page/%d", i), nil))
	}
}

// muxOf returns a router with one pattern.
func muxOf(pattern string, h http.HandlerFunc) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc(pattern, h)
	return mux
}

// A route that hides the paths of a service is reported once, by a line that names the route and the
// remedies.
func TestCatchAllIsReportedOnce(t *testing.T) {
	copied := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		oshttp.Routed(muxOf("/", nothing)).ServeHTTP(w, r.Clone(r.Context()))
	})
	for name, test := range map[string]struct {
		next  http.Handler
		route string
	}{
		"root":          {muxOf("/", nothing), `http.route=/ `},
		"method":        {muxOf("GET /", nothing), `http.route=/ `},
		"host":          {muxOf("example.com/", nothing), `http.route=/ `},
		"wildcard":      {muxOf("/{rest...}", nothing), `http.route=/{rest...} `},
		"behind a copy": {copied, `http.route=/ `},
		"no router":     {http.HandlerFunc(nothing), `http.route="" `},
		"chi":           {http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { r.Pattern = "/*" }), `http.route=/* `},
	} {
		g := newRig(t)
		h := g.handler(test.next, oshttp.HandlerOptions{})
		visit(h, 31)
		if got := g.lines.String(); got != "" {
			t.Errorf("%s: 31 paths are reported: %s", name, got)
		}
		visit(h, 500)
		visit(h, 500)
		got := g.lines.String()
		if strings.Count(got, catchAllLine) != 1 || !strings.Contains(got, "level=WARN") || !strings.Contains(got, test.route) {
			t.Errorf("%s: want one warning with %s, the log is %q", name, test.route, got)
		}
		for _, remedy := range []string{"register a pattern", "oshttp.Routed", "HandlerOptions.Route"} {
			if !strings.Contains(got, remedy) {
				t.Errorf("%s: the line does not name the remedy %q: %s", name, remedy, got)
			}
		}
	}
}

// Routes that are no catch-all, intended catch-alls, and paths that do not exist are not reported.
func TestCatchAllIsNotReported(t *testing.T) {
	onlyRoot := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/page/0" {
			http.NotFound(w, r)
		}
	}
	toTLS := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://example.com/", http.StatusPermanentRedirect)
	}
	route := func(*http.Request) string { return "/" }
	for name, test := range map[string]struct {
		next http.Handler
		opts oshttp.HandlerOptions
	}{
		"a pattern":              {next: muxOf("/page/{n}", nothing)},
		"a subtree":              {next: muxOf("/page/", nothing)},
		"a wildcard in one":      {next: muxOf("/page/{rest...}", nothing)},
		"one page, and scanners": {next: muxOf("/", onlyRoot)},
		"redirects":              {next: muxOf("/", toTLS)},
		"Route":                  {muxOf("/", nothing), oshttp.HandlerOptions{Route: route}},
		"Route without a route":  {muxOf("/", nothing), oshttp.HandlerOptions{Route: func(*http.Request) string { return "" }}},
		"SetRoute":               {next: muxOf("/", func(w http.ResponseWriter, _ *http.Request) { oshttp.SetRoute(w, "/") })},
	} {
		g := newRig(t)
		visit(g.handler(test.next, test.opts), 500)
		if got := g.lines.String(); got != "" {
			t.Errorf("%s: %s", name, got)
		}
	}
	// One page is one path, whatever its query and its method.
	g := newRig(t)
	h := g.handler(muxOf("/", nothing), oshttp.HandlerOptions{})
	for i := range 500 {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest([]string{"GET", "POST"}[i%2], fmt.Sprintf("/?page=%d", i), nil))
	}
	if got := g.lines.String(); got != "" {
		t.Errorf("one page: %s", got)
	}
	// Without metrics and spans there is no series and no name.
	p := telemetry.Off()
	p.Logger = slog.New(slog.NewTextHandler(g.lines, nil))
	visit(oshttp.NewHandler(muxOf("/", nothing), &oshttp.HandlerOptions{Telemetry: p}), 500)
	if got := g.lines.String(); got != "" {
		t.Errorf("telemetry off: %s", got)
	}
}

// Concurrent requests cause one report.
func TestCatchAllConcurrent(t *testing.T) {
	g := newRig(t)
	h := g.handler(muxOf("/", nothing), oshttp.HandlerOptions{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { visit(h, 200) })
	}
	wg.Wait()
	if got := g.lines.String(); strings.Count(got, catchAllLine) != 1 {
		t.Errorf("want one line: %q", got)
	}
}
