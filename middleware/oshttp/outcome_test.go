package oshttp_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"

	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry"
)

// outcome is the expected telemetry of a request.
type outcome struct {
	answer string // status line's code on the wire, "" if the connection broke
	status string // http.response.status_code, "" if absent
	fault  string // error.type, "" if absent
	code   codes.Code
	level  string // of the access log's line
	event  bool   // an exception event
}

func TestOutcomes(t *testing.T) {
	const body = "a body of thirty-three characters"
	for _, test := range []struct {
		name    string
		opts    oshttp.HandlerOptions
		handler http.HandlerFunc
		want    outcome
	}{
		{"nothing written", oshttp.HandlerOptions{}, func(http.ResponseWriter, *http.Request) {},
			outcome{"200", "200", "", codes.Unset, "INFO", false}},
		{"written", oshttp.HandlerOptions{}, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") },
			outcome{"200", "200", "", codes.Unset, "INFO", false}},
		{"the first status counts", oshttp.HandlerOptions{}, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusTeapot)
			w.WriteHeader(http.StatusInternalServerError)
		}, outcome{"418", "418", "", codes.Unset, "WARN", false}},
		{"server error", oshttp.HandlerOptions{}, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(507) },
			outcome{"507", "507", "507", codes.Error, "ERROR", false}},
		{"no such class of codes", oshttp.HandlerOptions{}, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(799) },
			outcome{"799", "799", "_OTHER", codes.Error, "ERROR", false}},
		{"panic", oshttp.HandlerOptions{}, func(http.ResponseWriter, *http.Request) { panic(errors.New("broken")) },
			outcome{"500", "500", "panic", codes.Error, "ERROR", true}},
		{"invalid status is a panic of net/http", oshttp.HandlerOptions{}, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(7) },
			outcome{"500", "500", "panic", codes.Error, "ERROR", true}},
		{"panic after part of the answer", oshttp.HandlerOptions{}, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
			panic("broken")
		}, outcome{"", "200", "panic", codes.Error, "ERROR", true}},
		{"panic without recovery", oshttp.HandlerOptions{NoRecovery: true}, func(http.ResponseWriter, *http.Request) { panic("broken") },
			outcome{"", "", "panic", codes.Error, "ERROR", true}},
		{"abort", oshttp.HandlerOptions{}, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			outcome{"", "", "aborted", codes.Error, "ERROR", false}},
		{"goexit", oshttp.HandlerOptions{}, func(http.ResponseWriter, *http.Request) { runtime.Goexit() },
			outcome{"", "", "aborted", codes.Error, "ERROR", false}},
		{"deadline, silent handler", oshttp.HandlerOptions{Timeout: time.Millisecond}, func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
		}, outcome{"504", "504", "timeout", codes.Error, "ERROR", false}},
		{"deadline, handler answers with an error", oshttp.HandlerOptions{Timeout: time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			w.WriteHeader(http.StatusServiceUnavailable)
		}, outcome{"503", "503", "timeout", codes.Error, "ERROR", false}},
		{"deadline, handler answers all the same", oshttp.HandlerOptions{Timeout: time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			w.WriteHeader(http.StatusOK)
		}, outcome{"200", "200", "", codes.Unset, "INFO", false}},
		{"body announced too large", oshttp.HandlerOptions{MaxBodyBytes: 8}, func(http.ResponseWriter, *http.Request) {
			panic("must not be called")
		}, outcome{"413", "413", "body_too_large", codes.Unset, "WARN", false}},
		{"body of the right size", oshttp.HandlerOptions{MaxBodyBytes: int64(len(body))}, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(w, r.Body)
		}, outcome{"200", "200", "", codes.Unset, "INFO", false}},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := newRig(t)
			test.opts.AccessLog = true
			mux := http.NewServeMux()
			mux.Handle("/thing", test.handler)
			srv := g.serve(g.handler(mux, test.opts))
			answer := send(t, srv, strings.NewReader(body))
			g.wait()
			g.check(answer, test.want)
		})
	}
}

// send posts a body to /thing and returns the status code, or "" if the connection broke before the answer was
// complete.
func send(t *testing.T, srv *httptest.Server, body io.Reader) string {
	t.Helper()
	res, err := srv.Client().Do(newRequest(t, http.MethodPost, srv.URL+"/thing", body))
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	if _, err := io.ReadAll(res.Body); err != nil {
		return ""
	}
	return res.Status[:3]
}

// check compares the telemetry of one request to /thing.
func (g *rig) check(answer string, want outcome) {
	t := g.t
	t.Helper()
	if answer != want.answer {
		t.Errorf("the client got %q, want %q", answer, want.answer)
	}
	span := g.span()
	got, point := plain(span.Attributes()), g.duration("http.server.request.duration")
	onMetric := want.status
	if onMetric > "599" {
		onMetric = ""
	}
	for what, pair := range map[string][2]string{
		"status on the span": {got["http.response.status_code"], want.status}, "error.type on the span": {got["error.type"], want.fault},
		"status on the metric": {point["http.response.status_code"], onMetric}, "error.type on the metric": {point["error.type"], want.fault},
		"status of the span": {span.Status().Code.String(), want.code.String()},
		"route on the span":  {got["http.route"], point["http.route"]},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %q, want %q", what, pair[0], pair[1])
		}
	}
	if n := g.active("http.server.active_requests"); n != 0 {
		t.Errorf("%d requests are still active", n)
	}
	if line := lastLine(g.lines.String()); !strings.HasPrefix(line, "level="+want.level+" ") {
		t.Errorf("access log %q, want level %s", line, want.level)
	}
	events := g.happened()
	if (len(events) == 1) != want.event || len(events) > 1 {
		t.Errorf("%d events, want one: %t", len(events), want.event)
	}
	if want.event && (events[0].EventName != "http.server.request.exception") {
		t.Errorf("event %q", events[0].EventName)
	}
}

func lastLine(s string) string { return s[strings.LastIndexByte(s, '\n')+1:] }

func TestPanicIsReportedWithItsStack(t *testing.T) {
	g := newRig(t)
	mux := http.NewServeMux()
	mux.HandleFunc("/thing", func(http.ResponseWriter, *http.Request) { brokenFunction() })
	h := g.handler(mux, oshttp.HandlerOptions{})
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/thing", nil))
	events := g.happened()
	if len(events) != 1 {
		t.Fatalf("%d events, want 1", len(events))
	}
	got := plain(events[0].Attributes)
	sameAttributes(t, "event", got, map[string]string{
		"http.request.method": "GET", "http.route": "/thing", "url.scheme": "http", "exception.stacktrace": "*",
		"exception.type": "string", "exception.message": "it broke",
	})
	if !strings.Contains(got["exception.stacktrace"], "brokenFunction") {
		t.Errorf("the stack does not show where it broke:\n%s", got["exception.stacktrace"])
	}
	if s := g.span().Status(); s.Description != "it broke" {
		t.Errorf("span status %q, want the panic's value", s.Description)
	}
	if got := g.lines.String(); got != "" {
		t.Errorf("the event was taken, and is a line besides: %s", got)
	}
	if ctx := events[0].Context; ctx == nil || g.span().SpanContext().SpanID().String() == "" {
		t.Error("the event has no context")
	}
}

// TestPanicThatIsAnEventForNobody expects a log line if events are not enabled.
func TestPanicThatIsAnEventForNobody(t *testing.T) {
	g := newRig(t)
	p := g.providers()
	p.LoggerProvider = telemetry.Off().LoggerProvider
	mux := http.NewServeMux()
	mux.HandleFunc("/thing", func(http.ResponseWriter, *http.Request) { brokenFunction() })
	h := oshttp.NewHandler(mux, &oshttp.HandlerOptions{Telemetry: p})
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/thing", nil))
	line := `level=ERROR msg="panic in HTTP handler" event=http.server.request.exception http.request.method=GET url.scheme=http http.route=/thing exception.type=string exception.message="it broke"`
	if got := g.lines.String(); got != line {
		t.Errorf("log\n%s\nwant\n%s", got, line)
	}
}

func brokenFunction() { panic("it broke") }

// The server receives the original panic value.
func TestPanicsGoOnUntouched(t *testing.T) {
	value := errors.New("mine")
	for _, test := range []struct {
		opts  oshttp.HandlerOptions
		raise any
	}{{oshttp.HandlerOptions{NoRecovery: true}, value}, {oshttp.HandlerOptions{}, http.ErrAbortHandler}} {
		h := newRig(t).handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(test.raise) }), test.opts)
		func() {
			defer func() {
				if got := recover(); got != test.raise {
					t.Errorf("recovered %v, want %v", got, test.raise)
				}
			}()
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
		}()
	}
}

func TestPanicAnswerDropsHeadersOfTheBodyThatNeverCame(t *testing.T) {
	h := newRig(t).handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for _, key := range []string{"Content-Encoding", "Content-Length", "Etag", "Cache-Control", "X-Kept"} {
			w.Header().Set(key, "1")
		}
		panic("broken")
	}), oshttp.HandlerOptions{})
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil))
	if rec.Code != 500 || rec.Body.String() != "Internal Server Error\n" {
		t.Errorf("answer %d %q", rec.Code, rec.Body)
	}
	want := http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "X-Content-Type-Options": {"nosniff"}, "X-Kept": {"1"}}
	if len(rec.Header()) != len(want) || rec.Header().Get("X-Kept") != "1" {
		t.Errorf("headers %v, want %v", rec.Header(), want)
	}
}

// A body without Content-Length exceeds the limit only while it is read.
func TestBodyThatGrowsTooLarge(t *testing.T) {
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc
		want    outcome
	}{
		{"silent handler", func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body)
		}, outcome{"413", "413", "body_too_large", codes.Unset, "WARN", false}},
		{"handler answers itself", func(w http.ResponseWriter, r *http.Request) {
			var tooLarge *http.MaxBytesError
			if _, err := io.ReadAll(r.Body); errors.As(err, &tooLarge) {
				w.WriteHeader(http.StatusBadRequest)
			}
		}, outcome{"400", "400", "body_too_large", codes.Unset, "WARN", false}},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := newRig(t)
			mux := http.NewServeMux()
			mux.Handle("/thing", test.handler)
			srv := g.serve(g.handler(mux, oshttp.HandlerOptions{MaxBodyBytes: 8, AccessLog: true}))
			answer := send(t, srv, io.MultiReader(strings.NewReader("more than "), strings.NewReader("eight")))
			g.wait()
			g.check(answer, test.want)
		})
	}
}

func TestConcurrencyLimit(t *testing.T) {
	g := newRig(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	h := g.handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			entered <- struct{}{}
			<-leave
		}
	}), oshttp.HandlerOptions{MaxConcurrent: 1})
	do := func(path string) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		return rec
	}
	done := make(chan int)
	go func() { done <- do("/slow").Code }()
	<-entered
	if rec := do("/"); rec.Code != 503 || rec.Header().Get("Retry-After") != "1" {
		t.Errorf("answer %d with %v, want 503 with Retry-After", rec.Code, rec.Header())
	}
	refused := g.spans.Ended()[0]
	if got := plain(refused.Attributes()); got["error.type"] != "overloaded" || refused.Status().Code != codes.Error {
		t.Errorf("refused span has %v, status %v", got, refused.Status())
	}
	close(leave)
	if code := <-done; code != 200 {
		t.Errorf("the slow request got %d", code)
	}
	for range 3 { // refused requests have released their places too
		if rec := do("/"); rec.Code != 200 {
			t.Errorf("a request alone got %d", rec.Code)
		}
	}
}

func TestClientThatLeaves(t *testing.T) {
	left := outcome{"", "", "", codes.Unset, "WARN", false} // the conventions leave intentional cancellation unset
	written := left
	written.status = "200"
	for _, test := range []struct {
		name   string
		before func(w http.ResponseWriter)
		after  func(w http.ResponseWriter)
		want   outcome
	}{
		{"before the answer", func(http.ResponseWriter) {}, func(http.ResponseWriter) {}, left},
		{"amid the answer", func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, "part")
			_ = http.NewResponseController(w).Flush()
		}, func(w http.ResponseWriter) {
			part := strings.Repeat("x", 1<<16)
			for { // until the connection reports it
				if _, err := io.WriteString(w, part); err != nil {
					return
				}
			}
		}, written},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := newRig(t)
			ctx, leave := context.WithCancel(t.Context())
			mux := http.NewServeMux()
			mux.HandleFunc("/thing", func(w http.ResponseWriter, r *http.Request) {
				test.before(w)
				leave()
				<-r.Context().Done()
				test.after(w)
			})
			srv := g.serve(g.handler(mux, oshttp.HandlerOptions{AccessLog: true}))
			r := newRequest(t, http.MethodGet, srv.URL+"/thing", nil).WithContext(ctx)
			if res, err := srv.Client().Do(r); err == nil {
				_, _ = io.ReadAll(res.Body)
				res.Body.Close()
			}
			srv.CloseClientConnections()
			g.wait()
			g.check("", test.want)
			if want := test.want.status == ""; strings.Contains(g.lines.String(), "status_code=499") != want {
				t.Errorf("access log %q, want 499 in it: %t", g.lines, want)
			}
			if !strings.Contains(g.lines.String(), "error.type=canceled") {
				t.Errorf("access log %q does not say that the client has left", g.lines)
			}
		})
	}
}

// A handler that gives up its response because the context has ended, as a reverse proxy does, reports the
// context's error.
func TestAbortWithAnEndedContext(t *testing.T) {
	for _, give := range []func(){func() { panic(http.ErrAbortHandler) }, runtime.Goexit} {
		for name, want := range map[string]struct {
			end   func(context.Context) (context.Context, context.CancelFunc)
			fault string
			code  codes.Code
		}{
			"canceled": {context.WithCancel, "", codes.Unset},
			"late": {func(ctx context.Context) (context.Context, context.CancelFunc) {
				return context.WithDeadline(ctx, time.Now())
			}, "timeout", codes.Error},
			"on its own": {func(ctx context.Context) (context.Context, context.CancelFunc) { return ctx, func() {} }, "aborted", codes.Error},
		} {
			g := newRig(t)
			h := g.handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, "part")
				give()
			}), oshttp.HandlerOptions{})
			ctx, cancel := want.end(t.Context())
			cancel()
			done := make(chan struct{})
			go func() {
				defer close(done)
				defer func() { _ = recover() }()
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx))
			}()
			<-done
			span, point := g.span(), g.duration("http.server.request.duration")
			if got := plain(span.Attributes())["error.type"]; got != want.fault || point["error.type"] != want.fault || span.Status().Code != want.code {
				t.Errorf("%s: error.type %q and %q, status %v, want %q and %v", name, got, point["error.type"], span.Status(), want.fault, want.code)
			}
		}
	}
}

// A client that leaves a proxied stream is no error of the proxy, on either of its sides.
func TestClientThatLeavesAProxiedStream(t *testing.T) {
	back := httptest.NewServer(http.HandlerFunc(stream))
	defer back.Close()
	target, err := url.Parse(back.URL)
	if err != nil {
		t.Fatal(err)
	}
	g, c := newRig(t), newRig(t)
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: c.transport(nil, oshttp.TransportOptions{}),
	}
	srv := g.serve(g.handler(proxy, oshttp.HandlerOptions{}))
	ctx, leave := context.WithCancel(t.Context())
	res, err := http.DefaultClient.Do(newRequest(t, http.MethodGet, srv.URL, nil).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.ReadFull(res.Body, make([]byte, 3))
	leave()
	res.Body.Close()
	g.wait()
	for side, r := range map[string]*rig{"server": g, "client": c} {
		if span := r.span(); span.Status().Code != codes.Unset || plain(span.Attributes())["error.type"] != "" {
			t.Errorf("%s: status %v, error.type %q, want none", side, span.Status(), plain(span.Attributes())["error.type"])
		}
	}
}

func TestHijackedConnection(t *testing.T) {
	for _, broken := range []bool{false, true} {
		g := newRig(t)
		mux := http.NewServeMux()
		mux.HandleFunc("/thing", func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\nhello")
			if broken {
				panic("broken")
			}
		})
		srv := g.serve(g.handler(mux, oshttp.HandlerOptions{AccessLog: true}))
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, "GET /thing HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n")
		all, err := io.ReadAll(conn)
		if err != nil || !strings.HasSuffix(string(all), "hello") {
			t.Errorf("read %q, %v", all, err)
		}
		conn.Close()
		g.wait()
		want := outcome{"", "", "", codes.Unset, "INFO", false} // the handler's answer there is unknown
		if broken {
			want = outcome{"", "", "panic", codes.Error, "ERROR", true}
		}
		g.check("", want)
	}
}

// A panic after hijacking has no response to abort: it ends in the middleware.
func TestPanicAfterHijackIsNotRaised(t *testing.T) {
	n := 0
	h := newRig(t).handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _, _ = w.(http.Hijacker).Hijack()
		panic("broken")
	}), oshttp.HandlerOptions{})
	h.ServeHTTP(struct {
		http.ResponseWriter
		doesHijack
	}{newNull(), doesHijack{&n}}, httptest.NewRequest(http.MethodGet, "/", nil))
}
