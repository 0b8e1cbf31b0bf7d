package oshttp_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/go-os/go-os/internal/option/optiontest"
	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry"
)

func TestNotHealth(t *testing.T) {
	for request, want := range map[string]bool{
		"GET /livez": false, "GET /readyz": false, "GET /startupz": false, "GET /healthz": false, "HEAD /readyz": false,
		"GET /readyz?verbose": false,
		"POST /livez":         true, "GET /": true, "GET /livez/": true, "GET /livez/db": true, "GET /health": true, "GET /api/livez": true,
	} {
		method, target, _ := strings.Cut(request, " ")
		if got := oshttp.NotHealth(httptest.NewRequest(method, target, nil)); got != want {
			t.Errorf("NotHealth(%s) = %t, want %t", request, got, want)
		}
	}
	probe := httptest.NewRequest(http.MethodGet, "/livez", nil)
	probe.Method = "" // as http.NewRequest leaves it for a client's GET
	if oshttp.NotHealth(probe) {
		t.Error(`NotHealth of a client's "" method = true, want false`)
	}
	if !oshttp.Everything(probe) {
		t.Error("Everything excludes a health check")
	}
}

// TestHealthChecksPass checks that no protection refuses a probe, and that nothing records it.
func TestHealthChecksPass(t *testing.T) {
	for _, test := range []struct {
		name   string
		filter func(*http.Request) bool
		want   int // of the probe
		seen   int // spans
	}{
		{"by default", nil, http.StatusOK, 1},
		{"everything", oshttp.Everything, http.StatusServiceUnavailable, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := newRig(t)
			var probe *httptest.ResponseRecorder
			var h http.Handler
			h = g.handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/orders" { // while the only place is taken
					probe = httptest.NewRecorder()
					h.ServeHTTP(probe, httptest.NewRequest(http.MethodGet, "/readyz", nil))
					return
				}
				if _, bounded := r.Context().Deadline(); bounded {
					t.Error("a health check has a deadline")
				}
				_, _ = io.WriteString(w, "ready")
			}), oshttp.HandlerOptions{Filter: test.filter, MaxConcurrent: 1, Timeout: time.Minute, AccessLog: true})
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/orders", nil))
			if probe.Code != test.want || len(g.spans.Ended()) != test.seen {
				t.Errorf("the probe was answered %d with %d spans, want %d with %d", probe.Code, len(g.spans.Ended()), test.want, test.seen)
			}
			if lines := strings.Count(g.lines.String(), "msg="); lines != test.seen {
				t.Errorf("%d lines in the access log, want %d:\n%s", lines, test.seen, g.lines)
			}
		})
	}
}

// TestFilteredRequests checks that only the panics of a filtered request are handled.
func TestFilteredRequests(t *testing.T) {
	none := func(*http.Request) bool { return false }
	serve := func(g *rig, opts oshttp.HandlerOptions, next http.HandlerFunc) (rec *httptest.ResponseRecorder, raised any) {
		rec = httptest.NewRecorder()
		defer func() { raised = recover() }()
		g.handler(next, opts).ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/x", strings.NewReader("too long")))
		return rec, nil
	}
	protected := oshttp.HandlerOptions{Filter: none, AccessLog: true, MaxBodyBytes: 1, Timeout: time.Nanosecond}
	t.Run("served", func(t *testing.T) {
		g := newRig(t)
		rec, _ := serve(g, protected, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
		if rec.Code != http.StatusOK || rec.Body.String() != "too long" {
			t.Errorf("answered %d %q", rec.Code, rec.Body)
		}
		if len(g.spans.Started()) != 0 || len(g.metrics()) != 0 || g.lines.String() != "" {
			t.Errorf("observed: %d spans, metrics %v, log %q", len(g.spans.Started()), g.metrics(), g.lines)
		}
	})
	t.Run("panicked", func(t *testing.T) {
		g := newRig(t)
		rec, raised := serve(g, protected, func(http.ResponseWriter, *http.Request) { panic("bug") })
		if rec.Code != http.StatusInternalServerError || raised != nil {
			t.Errorf("answered %d, raised %v; want 500 and nothing", rec.Code, raised)
		}
		if got := g.happened(); len(got) != 1 || got[0].EventName != "http.server.request.exception" {
			t.Errorf("events %v, want the exception", got)
		}
		if len(g.spans.Started()) != 0 || len(g.metrics()) != 0 || g.lines.String() != "" {
			t.Errorf("observed: %d spans, metrics %v, log %q", len(g.spans.Started()), g.metrics(), g.lines)
		}
	})
	t.Run("panicked behind a proxy", func(t *testing.T) {
		g := newRig(t)
		h := g.handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("bug") }), oshttp.HandlerOptions{
			Filter: none, Proxies: &oshttp.Proxies{XForwarded: true, Trusted: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
		})
		r := httptest.NewRequest(http.MethodGet, "/x", nil)
		r.Header.Set("X-Forwarded-For", "203.0.113.7")
		r.Header.Set("X-Forwarded-Proto", "https")
		h.ServeHTTP(httptest.NewRecorder(), r)
		if got := g.happened(); len(got) != 1 || plain(got[0].Attributes)["url.scheme"] != "https" {
			t.Errorf("events %v, want one with the url.scheme https", got)
		}
	})
	t.Run("panicked after it had begun its response", func(t *testing.T) {
		_, raised := serve(newRig(t), protected, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "half")
			panic("bug")
		})
		if raised != any(http.ErrAbortHandler) {
			t.Errorf("raised %v, want http.ErrAbortHandler", raised)
		}
	})
	t.Run("panicked without recovery", func(t *testing.T) {
		_, raised := serve(newRig(t), oshttp.HandlerOptions{Filter: none, NoRecovery: true},
			func(http.ResponseWriter, *http.Request) { panic("bug") })
		if raised != "bug" {
			t.Errorf("raised %v, want the panic of the handler", raised)
		}
	})
}

// TestNegativeOptions checks that a negative number is reported once, and that the default is used.
func TestNegativeOptions(t *testing.T) {
	serve := func(opts oshttp.HandlerOptions) {
		h := oshttp.NewHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, bounded := r.Context().Deadline(); bounded {
				t.Errorf("%+v: a deadline", opts)
			}
			_, _ = io.Copy(w, r.Body)
		}), &opts)
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/", strings.NewReader("body")))
		if rec.Code != http.StatusOK || rec.Body.String() != "body" {
			t.Errorf("%+v: answered %d %q", opts, rec.Code, rec.Body)
		}
	}
	off := telemetry.Off()
	for field, use := range map[string]func(){
		"HandlerOptions.Timeout":        func() { serve(oshttp.HandlerOptions{Telemetry: off, Timeout: -time.Second}) },
		"HandlerOptions.DefaultTimeout": func() { serve(oshttp.HandlerOptions{Telemetry: off, DefaultTimeout: -1}) },
		"HandlerOptions.MaxBodyBytes":   func() { serve(oshttp.HandlerOptions{Telemetry: off, MaxBodyBytes: -1}) },
		"HandlerOptions.MaxConcurrent":  func() { serve(oshttp.HandlerOptions{Telemetry: off, MaxConcurrent: -1}) },
		"TransportOptions.MaxServers": func() {
			oshttp.NewTransport(nil, &oshttp.TransportOptions{Telemetry: off, MaxServers: -1})
		},
	} {
		optiontest.Reports(t, "oshttp."+field, use)
	}
}
