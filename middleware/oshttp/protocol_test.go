package oshttp_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"

	"github.com/go-os/go-os/middleware/oshttp"
)

// exchangeRaw sends text over a new connection and returns the answer until the server closes it.
func exchangeRaw(t *testing.T, srv *httptest.Server, text string) string {
	t.Helper()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("after %q: %v", all, err)
	}
	return string(all)
}

// A client that sends Expect: 100-continue gets 100 only if the handler reads the body.
func TestExpectContinue(t *testing.T) {
	const post = "POST /thing HTTP/1.1\r\nHost: test\r\nConnection: close\r\nExpect: 100-continue\r\n"
	for _, test := range []struct {
		name, header string
		opts         oshttp.HandlerOptions
		reads        bool
		want         []string
	}{
		{"too large", "Content-Length: 100\r\n", oshttp.HandlerOptions{MaxBodyBytes: 10}, true, []string{"413"}},
		{"no time left", "Content-Length: 5\r\nX-Request-Timeout-Ms: 0\r\n", oshttp.HandlerOptions{DeadlineHeader: oshttp.DefaultDeadlineHeader}, true, []string{"504"}},
		{"not read", "Content-Length: 5\r\n", oshttp.HandlerOptions{MaxBodyBytes: 10, Metrics: oshttp.MetricRequestBodySize}, false, []string{"200"}},
		{"read", "Content-Length: 5\r\n", oshttp.HandlerOptions{MaxBodyBytes: 10, Metrics: oshttp.MetricRequestBodySize}, true, []string{"100", "200"}},
	} {
		g := newRig(t)
		srv := g.serve(g.handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if test.reads {
				_, _ = io.Copy(io.Discard, r.Body)
			}
		}), test.opts))
		body := ""
		if len(test.want) == 2 {
			body = "hello"
		}
		var got []string
		for line := range strings.Lines(exchangeRaw(t, srv, post+test.header+"\r\n"+body)) {
			if code, ok := strings.CutPrefix(line, "HTTP/1.1 "); ok {
				got = append(got, code[:3])
			}
		}
		g.wait()
		if fmt.Sprint(got) != fmt.Sprint(test.want) {
			t.Errorf("%s: answers %v, want %v", test.name, got, test.want)
		}
		g.span()
	}
}

// HTTP/2 without TLS keeps its abilities, trailers and informational responses.
func TestHTTP2WithoutTLS(t *testing.T) {
	g := newRig(t)
	srv := g.serve(g.handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>")
		w.WriteHeader(http.StatusEarlyHints)
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "Sum")
		_, _ = w.Write(body)
		w.(http.Flusher).Flush()
		w.Header().Set("Sum", r.Trailer.Get("Sum"))
	}), oshttp.HandlerOptions{MaxBodyBytes: 100, Metrics: oshttp.MetricDuration | oshttp.MetricRequestBodySize}), func(s *httptest.Server) {
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
	})
	base := &http.Transport{Protocols: new(http.Protocols)}
	base.Protocols.SetUnencryptedHTTP2(true)
	defer base.CloseIdleConnections()
	c := newRig(t)
	client := &http.Client{Transport: oshttp.NewTransport(base, &oshttp.TransportOptions{Telemetry: c.providers()})}
	hints := 0
	r := newRequest(t, http.MethodPost, srv.URL, io.MultiReader(strings.NewReader("hello")))
	r.Trailer = http.Header{"Sum": {"5"}}
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(int, textproto.MIMEHeader) error { hints++; return nil },
	}))
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	g.wait()
	if err != nil || string(body) != "hello" || res.Trailer.Get("Sum") != "5" || hints != 1 || res.ProtoMajor != 2 {
		t.Errorf("%s: %q, trailer %v, %d hints, %v", res.Proto, body, res.Trailer, hints, err)
	}
	for side, r := range map[string]*rig{"server": g, "client": c} {
		if got := plain(r.span().Attributes()); got["network.protocol.version"] != "2" || got["http.response.status_code"] != "200" {
			t.Errorf("%s: %v", side, got)
		}
	}
}

// A client that resets an HTTP/2 stream midway has cancelled; the connection serves other requests.
func TestHTTP2StreamIsReset(t *testing.T) {
	g := newRig(t)
	srv := g.serve(g.handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "begun")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		for range 1000 { // until the reset reaches the writer
			if _, err := io.WriteString(w, strings.Repeat("more", 1000)); err != nil {
				return
			}
			w.(http.Flusher).Flush()
		}
		t.Error("writing to a reset stream never fails")
	}), oshttp.HandlerOptions{AccessLog: true, MaxConcurrent: 1}), func(s *httptest.Server) { s.EnableHTTP2 = true })
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		res, err := srv.Client().Do(newRequest(t, http.MethodGet, srv.URL, nil).WithContext(ctx))
		if err != nil || res.StatusCode != 200 {
			t.Fatal(res, err)
		}
		_, _ = io.ReadFull(res.Body, make([]byte, 5))
		cancel()
		res.Body.Close()
		g.wait()
	}
	for _, span := range g.spans.Ended() {
		if attrs := plain(span.Attributes()); span.Status().Code != codes.Unset || attrs["error.type"] != "" || attrs["network.protocol.version"] != "2" {
			t.Errorf("status %v, %v", span.Status(), attrs)
		}
	}
	if n := len(g.spans.Ended()); n != 3 || g.active("http.server.active_requests") != 0 {
		t.Errorf("%d spans, %d active", n, g.active("http.server.active_requests"))
	}
}

// After hijacking, calls of the writer are not a response.
func TestWriterAfterHijack(t *testing.T) {
	for name, use := range map[string]func(http.ResponseWriter) error{
		"Write":       func(w http.ResponseWriter) error { _, err := io.WriteString(w, "late"); return err },
		"WriteHeader": func(w http.ResponseWriter) error { w.WriteHeader(http.StatusTeapot); return http.ErrHijacked },
		"Flush":       func(w http.ResponseWriter) error { w.(http.Flusher).Flush(); return http.ErrHijacked },
		"ReadFrom": func(w http.ResponseWriter) error {
			_, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader("late"))
			return err
		},
	} {
		g := newRig(t)
		srv := g.serve(g.handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
			if err := use(w); !errors.Is(err, http.ErrHijacked) {
				t.Errorf("%s: %v", name, err)
			}
		}), oshttp.HandlerOptions{AccessLog: true}))
		if got := exchangeRaw(t, srv, "GET / HTTP/1.1\r\nHost: test\r\n\r\n"); !strings.HasSuffix(got, "ok") {
			t.Errorf("%s: %q", name, got)
		}
		g.wait()
		attrs := plain(g.span().Attributes())
		if status := attrs["http.response.status_code"]; status != "" || strings.Contains(g.lines.String(), "status_code") {
			t.Errorf("%s: status %q is invented, the log is %q", name, status, g.lines.String())
		}
	}
}

// A base that panics ends the call: no request stays active.
func TestBaseThatPanics(t *testing.T) {
	g := newRig(t)
	transport := oshttp.NewTransport(carry(func(*http.Request) { panic("broken base") }),
		&oshttp.TransportOptions{Telemetry: g.providers(), Metrics: oshttp.MetricDuration | oshttp.MetricActiveRequests})
	func() {
		defer func() {
			if v := recover(); v != "broken base" {
				t.Errorf("the panic is %v", v)
			}
		}()
		_, _ = transport.RoundTrip(newRequest(t, http.MethodGet, "http://test.example/", nil))
	}()
	if span := g.span(); span.Status().Code != codes.Error || plain(span.Attributes())["error.type"] != "panic" {
		t.Errorf("status %v, %v", span.Status(), plain(span.Attributes()))
	}
	if n := g.active("http.client.active_requests"); n != 0 {
		t.Errorf("%d calls are active", n)
	}
}

// A request that no RoundTripper can send returns the error of the base.
func TestRequestWithoutURL(t *testing.T) {
	g := newRig(t)
	body := &closing{Reader: strings.NewReader("x")}
	_, err := oshttp.NewTransport(nil, &oshttp.TransportOptions{Telemetry: g.providers()}).RoundTrip(&http.Request{Body: body})
	if err == nil || !strings.Contains(err.Error(), "URL") || !body.closed {
		t.Errorf("error %v, body closed: %t", err, body.closed)
	}
}

type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error {
	c.closed = true
	return nil
}

// http.TimeoutHandler inside answers for its handler, which continues to write after that.
func TestTimeoutHandlerInside(t *testing.T) {
	g := newRig(t)
	late := make(chan error, 1)
	inner := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		time.Sleep(10 * time.Millisecond) // most likely after the answer; any order must work
		_, err := io.WriteString(w, "late")
		late <- err
	})
	srv := g.serve(g.handler(http.TimeoutHandler(inner, 5*time.Millisecond, "slow"), oshttp.HandlerOptions{Timeout: time.Minute}))
	res, err := http.Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if err := <-late; !errors.Is(err, http.ErrHandlerTimeout) || string(body) != "slow" || res.StatusCode != 503 {
		t.Errorf("%d %q, late write: %v", res.StatusCode, body, err)
	}
	g.wait()
	if got := plain(g.span().Attributes())["error.type"]; got != "503" {
		t.Errorf("error.type %q", got)
	}
}

// A flush after the deadline does not turn a late answer into a cut one.
func TestFlushAfterTheDeadline(t *testing.T) {
	g := newRig(t)
	srv := g.serve(g.handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(w, "late and whole")
	}), oshttp.HandlerOptions{Timeout: time.Millisecond}))
	res, err := http.Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	g.wait()
	if err != nil || string(body) != "late and whole" || plain(g.span().Attributes())["error.type"] != "" {
		t.Errorf("%q, %v, error.type %q", body, err, plain(g.span().Attributes())["error.type"])
	}
}

// Pipelined requests are answered in order, each with its own span.
func TestPipelinedRequests(t *testing.T) {
	g := newRig(t)
	srv := g.serve(g.handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.URL.Path)
	}), oshttp.HandlerOptions{MaxConcurrent: 1}))
	got := exchangeRaw(t, srv, "GET /1 HTTP/1.1\r\nHost: t\r\n\r\nGET /2 HTTP/1.1\r\nHost: t\r\n\r\nGET /3 HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
	in := bufio.NewReader(strings.NewReader(got))
	for i := 1; i <= 3; i++ {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		if res.StatusCode != 200 || string(body) != fmt.Sprint("/", i) {
			t.Errorf("answer %d: %d %q", i, res.StatusCode, body)
		}
	}
	g.wait()
	if n := len(g.spans.Ended()); n != 3 {
		t.Errorf("%d spans", n)
	}
}
