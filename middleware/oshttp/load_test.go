package oshttp_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry"
)

const probePath = "/prequal/probe"

// reported returns the load in the headers of an answer.
func reported(t *testing.T, h http.Header) (inFlight int, latency time.Duration) {
	t.Helper()
	inFlight, err := strconv.Atoi(h.Get("x-prequal-rif"))
	if err != nil {
		t.Fatalf("x-prequal-rif is %q, want a number", h.Get("x-prequal-rif"))
	}
	micros, err := strconv.Atoi(h.Get("x-prequal-latency-us"))
	if err != nil {
		t.Fatalf("x-prequal-latency-us is %q, want a number", h.Get("x-prequal-latency-us"))
	}
	return inFlight, time.Duration(micros) * time.Microsecond
}

// serveOne lets a handler serve one request, without a connection.
func serveOne(h http.Handler, method, target string) *http.Response {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, http.NoBody))
	return w.Result()
}

func TestAnswersReportTheLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		load := oshttp.NewLoad()
		others := load.Begin()
		h := newRig(t).handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(20 * time.Millisecond)
			_, _ = io.WriteString(w, "done")
			time.Sleep(time.Minute) // a slow reader is no slow server
		}), oshttp.HandlerOptions{ReportLoad: load})
		inFlight, latency := reported(t, serveOne(h, "GET", "/").Header)
		if inFlight != 1 || latency != 20*time.Millisecond {
			t.Errorf("reports %d in flight and %v, want the other request and 20ms", inFlight, latency)
		}
		others.Leave()
		if n := load.InFlight(); n != 0 {
			t.Errorf("%d in flight after the answer, want 0", n)
		}
	})
}

// TestEveryAnswerReports has the ways in which an answer begins.
func TestEveryAnswerReports(t *testing.T) {
	load := oshttp.NewLoad()
	answers := map[string]http.HandlerFunc{
		"/silent": func(http.ResponseWriter, *http.Request) {},
		"/status": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) },
		"/write":  func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("text")) },
		"/string": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "text") },
		"/flush":  func(w http.ResponseWriter, _ *http.Request) { _ = http.NewResponseController(w).Flush() },
		"/copy":   func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, strings.NewReader("text")) },
		"/panic":  func(http.ResponseWriter, *http.Request) { panic("of a test") },
		"/relayed": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Prequal-Rif", "999")
			w.WriteHeader(200)
		},
		"/early": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusEarlyHints); w.WriteHeader(200) },
	}
	g := newRig(t)
	srv := g.serve(g.handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answers[r.URL.Path](w, r)
	}), oshttp.HandlerOptions{ReportLoad: load, Metrics: oshttp.MetricDuration}))
	for path := range answers {
		res, _ := fetch(t, srv.Client(), newRequest(t, "GET", srv.URL+path, nil))
		if inFlight, _ := reported(t, res.Header); inFlight != 0 {
			t.Errorf("%s reports %d in flight, want 0: it does not count itself", path, inFlight)
		}
	}
	g.wait()
	if n := load.InFlight(); n != 0 {
		t.Errorf("%d in flight after all answers, want 0", n)
	}
}

// TestProbe probes a server that is at its limit.
func TestProbe(t *testing.T) {
	load, arrived, release := oshttp.NewLoad(), make(chan struct{}), make(chan struct{})
	g := newRig(t)
	srv := g.serve(g.handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-release
	}), oshttp.HandlerOptions{ReportLoad: load, MaxConcurrent: 1, AccessLog: true}))
	go func() {
		if res, err := srv.Client().Get(srv.URL + "/work"); err == nil {
			_ = res.Body.Close()
		}
	}()
	<-arrived
	for _, method := range []string{"GET", "HEAD", "GET"} {
		res, body := fetch(t, srv.Client(), newRequest(t, method, srv.URL+probePath, nil))
		if inFlight, _ := reported(t, res.Header); res.StatusCode != 200 || inFlight != 1 || body != "" {
			t.Errorf("%s of a probe: %s, %d in flight, body %q, want an empty 200 with 1", method, res.Status, inFlight, body)
		}
		if got := res.Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("a probe has Cache-Control %q, want no-store", got)
		}
	}
	refused, _ := fetch(t, srv.Client(), newRequest(t, "GET", srv.URL+"/more", nil))
	if inFlight, _ := reported(t, refused.Header); refused.StatusCode != 503 || inFlight != 1 {
		t.Errorf("a request beyond the limit: %s, %d in flight, want 503 with 1", refused.Status, inFlight)
	}
	close(release)
	g.wait()
	for _, span := range g.spans.Ended() {
		if got := plain(span.Attributes())["url.path"]; got == probePath {
			t.Error("a probe has a span")
		}
	}
	if strings.Contains(g.lines.String(), probePath) || !strings.Contains(g.lines.String(), "/work") {
		t.Errorf("the access log has a probe, or lacks the request: %s", g.lines)
	}
	if n := len(g.durations("http.server.request.duration")); n != 2 {
		t.Errorf("%d series of durations, want those of the request and the refusal", n)
	}
}

func TestNoProbe(t *testing.T) {
	g, load := newRig(t), oshttp.NewLoad()
	for _, test := range []struct {
		name, method string
		opts         oshttp.HandlerOptions
	}{
		{"without a Load", "GET", oshttp.HandlerOptions{}},
		{"of a public server", "GET", oshttp.HandlerOptions{ReportLoad: load, Public: true}},
		{"with another method", "POST", oshttp.HandlerOptions{ReportLoad: load}},
	} {
		res := serveOne(g.handler(http.NotFoundHandler(), test.opts), test.method, probePath)
		if res.StatusCode != http.StatusNotFound {
			t.Errorf("a probe %s: %s, want 404", test.name, res.Status)
		}
		if quiet := test.method == "GET"; quiet && res.Header["X-Prequal-Rif"] != nil {
			t.Errorf("an answer %s reports its load", test.name)
		}
	}
	if spans := g.spans.Ended(); len(spans) != 1 {
		t.Errorf("%d spans, want that of the POST: a router probes servers that report nothing, too", len(spans))
	}
}

// TestMisdirectedProbe sends a probe for a server that was at this address before.
func TestMisdirectedProbe(t *testing.T) {
	h := oshttp.NewHandler(http.NotFoundHandler(), &oshttp.HandlerOptions{
		ReportLoad: oshttp.NewLoad(), Services: []string{"orders"}, Telemetry: telemetry.Off(),
	})
	r, w := httptest.NewRequest("GET", probePath, http.NoBody), httptest.NewRecorder()
	r.Header.Set("Goos-Service", "payments")
	h.ServeHTTP(w, r)
	if w.Code != http.StatusMisdirectedRequest || w.Header().Get("Goos-Misdirected") != "payments" {
		t.Errorf("a probe of another service is answered with %d", w.Code)
	}
}

// TestSamplesOfTheLoad checks which requests tell how fast a server is.
func TestSamplesOfTheLoad(t *testing.T) {
	for _, test := range []struct {
		name    string
		answer  http.HandlerFunc
		opts    oshttp.HandlerOptions
		path    string
		latency time.Duration
	}{
		{"success", func(http.ResponseWriter, *http.Request) {}, oshttp.HandlerOptions{}, "/", time.Second},
		{"client's error", http.NotFound, oshttp.HandlerOptions{}, "/", time.Second},
		{"late", func(http.ResponseWriter, *http.Request) {}, oshttp.HandlerOptions{Timeout: time.Millisecond}, "/", time.Second},
		{"failure", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, oshttp.HandlerOptions{}, "/", 0},
		{"panic", func(http.ResponseWriter, *http.Request) { panic("of a test") }, oshttp.HandlerOptions{}, "/", 0},
		{"upgrade", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(101) }, oshttp.HandlerOptions{}, "/", 0},
		{"aborted", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, oshttp.HandlerOptions{}, "/", 0},
		{"health check", func(http.ResponseWriter, *http.Request) {}, oshttp.HandlerOptions{}, "/livez", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				load := oshttp.NewLoad()
				test.opts.ReportLoad = load
				h := newRig(t).handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					time.Sleep(time.Second)
					test.answer(w, r)
				}), test.opts)
				func() {
					defer func() { _ = recover() }() // of http.ErrAbortHandler
					serveOne(h, "GET", test.path)
				}()
				if got := load.Report(); got.InFlight != 0 || got.Latency != test.latency {
					t.Errorf("the load is %v, want none in flight and %v", got, test.latency)
				}
			})
		})
	}
}

// TestUpgradeIsInFlight checks that a connection counts for its life, and is no sample.
func TestUpgradeIsInFlight(t *testing.T) {
	load, done := oshttp.NewLoad(), make(chan struct{})
	g := newRig(t)
	srv := g.serve(g.handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		<-done
		_ = conn.Close()
	}), oshttp.HandlerOptions{ReportLoad: load}))
	r := newRequest(t, "GET", srv.URL, nil)
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "echo")
	res, err := srv.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if n := load.InFlight(); n != 1 {
		t.Errorf("%d in flight during an upgraded connection, want 1", n)
	}
	close(done)
	g.wait()
	if got := load.Report(); got.InFlight != 0 || got.Latency != 0 {
		t.Errorf("the load after an upgrade is %v, want nothing", got)
	}
}
