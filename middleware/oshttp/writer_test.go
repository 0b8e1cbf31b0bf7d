package oshttp_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry"
)

// The optional methods of a ResponseWriter, each counting its calls.
type (
	doesFlush    struct{ n *int }
	doesHijack   struct{ n *int }
	doesReadFrom struct{ n *int }
)

func (f doesFlush) Flush() { *f.n++ }
func (h doesHijack) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	*h.n++
	return nil, nil, nil
}
func (r doesReadFrom) ReadFrom(io.Reader) (int64, error) { *r.n++; return 7, nil }

func newNull() *nullWriter { return &nullWriter{header: http.Header{}} }

func has[T any](w http.ResponseWriter) bool {
	_, ok := w.(T)
	return ok
}

// wrapper is the writer of another middleware, which only adds Unwrap.
type wrapper struct{ http.ResponseWriter }

func (w wrapper) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Below the writer of another middleware, flushing and hijacking are still noticed; its changes to the body are not bypassed.
func TestWriterUnderAnotherMiddleware(t *testing.T) {
	n := 0
	under := wrapper{struct {
		http.ResponseWriter
		doesFlush
		doesHijack
		doesReadFrom
	}{newNull(), doesFlush{&n}, doesHijack{&n}, doesReadFrom{&n}}}
	g := newRig(t)
	h := g.handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if flush, hijack, read := has[http.Flusher](w), has[http.Hijacker](w), has[io.ReaderFrom](w); !flush || !hijack || read {
			t.Errorf("the writer can flush: %t, hijack: %t, read: %t; want the first two", flush, hijack, read)
		}
		if _, _, err := http.NewResponseController(w).Hijack(); err != nil {
			t.Error(err)
		}
	}), oshttp.HandlerOptions{})
	h.ServeHTTP(under, httptest.NewRequest(http.MethodGet, "/", nil))
	if got := plain(g.span().Attributes())["http.response.status_code"]; n != 1 || got != "" {
		t.Errorf("%d calls, status %q, want 1 and no status", n, got)
	}
}

// protocols runs a test on each kind of server for which the middleware must be transparent.
func protocols(t *testing.T, f func(t *testing.T, g *rig, serve func(http.Handler) (*httptest.Server, *http.Client))) {
	t.Run("HTTP/1.1", func(t *testing.T) {
		g := newRig(t)
		f(t, g, func(h http.Handler) (*httptest.Server, *http.Client) {
			srv := g.serve(h)
			return srv, srv.Client()
		})
	})
	t.Run("HTTP/2", func(t *testing.T) {
		g := newRig(t)
		f(t, g, func(h http.Handler) (*httptest.Server, *http.Client) {
			srv := g.serve(h, func(s *httptest.Server) { s.EnableHTTP2 = true })
			return srv, srv.Client()
		})
	})
	t.Run("h2c", func(t *testing.T) {
		g := newRig(t)
		f(t, g, func(h http.Handler) (*httptest.Server, *http.Client) {
			var p http.Protocols
			p.SetUnencryptedHTTP2(true)
			srv := g.serve(h, func(s *httptest.Server) { s.Config.Protocols = &p })
			transport := &http.Transport{Protocols: &p}
			t.Cleanup(transport.CloseIdleConnections)
			return srv, &http.Client{Transport: transport}
		})
	})
}

// On every server the handler's writer has the methods of the server's own, including those for which a handler should use
// http.ResponseController.
func TestWriterHasTheMethodsOfTheServers(t *testing.T) {
	protocols(t, func(t *testing.T, g *rig, serve func(http.Handler) (*httptest.Server, *http.Client)) {
		var own http.ResponseWriter
		inner := g.handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			ours, theirs := reflect.TypeOf(w), reflect.TypeOf(own)
			for i := range theirs.NumMethod() {
				if name := theirs.Method(i).Name; name != "Unwrap" && !hasMethod(ours, name) {
					t.Errorf("the server's writer has a method %s, the handler's has not", name)
				}
			}
			d, ok := w.(interface{ SetWriteDeadline(time.Time) error })
			if !ok || d.SetWriteDeadline(time.Now().Add(time.Minute)) != nil {
				t.Error("the write deadline cannot be set")
			}
		}), oshttp.HandlerOptions{})
		srv, client := serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			own = w
			inner.ServeHTTP(w, r)
		}))
		fetch(t, client, newRequest(t, http.MethodGet, srv.URL, nil))
	})
}

func hasMethod(of reflect.Type, name string) bool {
	_, ok := of.MethodByName(name)
	return ok
}

// A writer without deadlines returns an error, by the rule of http.ResponseController.
func TestWriterWithoutDeadlines(t *testing.T) {
	h := oshttp.NewHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c := http.NewResponseController(w)
		for _, err := range []error{c.SetReadDeadline(time.Time{}), c.SetWriteDeadline(time.Time{}), c.EnableFullDuplex()} {
			if !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("got %v, want errors.ErrUnsupported", err)
			}
		}
	}), &oshttp.HandlerOptions{Telemetry: telemetry.Off()})
	h.ServeHTTP(newNull(), httptest.NewRequest(http.MethodGet, "/", nil))
}

// A response to HEAD has no body, whatever its handler writes.
func TestBodySize(t *testing.T) {
	for method, want := range map[string]int64{http.MethodGet: 3000, http.MethodHead: 0} {
		g := newRig(t)
		srv := g.serve(g.handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(make([]byte, 1000))
			_, _ = io.WriteString(w, strings.Repeat("x", 1000))
			_, _ = w.(io.ReaderFrom).ReadFrom(strings.NewReader(strings.Repeat("x", 1000)))
		}), oshttp.HandlerOptions{AccessLog: true, Metrics: everyMetric}))
		fetch(t, srv.Client(), newRequest(t, method, srv.URL, nil))
		g.wait()
		sizes := g.metrics()["http.server.response.body.size"].Data.(metricdata.Histogram[int64]).DataPoints
		if len(sizes) != 1 || sizes[0].Sum != want || !strings.Contains(g.lines.String(), fmt.Sprintf("http.response.body.size=%d ", want)) {
			t.Errorf("%s: the metric has %v, the log %q; want %d", method, sizes, g.lines, want)
		}
	}
}

// A request body with WriteTo keeps it, and is counted. With a limit it has no WriteTo, which would bypass the limit.
func TestRequestBodyThatWritesItself(t *testing.T) {
	for _, limit := range []int64{0, 100} {
		g := newRig(t)
		h := g.handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if _, ok := r.Body.(io.WriterTo); ok != (limit == 0) {
				t.Errorf("with the limit %d the body can write itself: %t", limit, ok)
			}
			_, _ = io.Copy(io.Discard, r.Body)
		}), oshttp.HandlerOptions{Metrics: everyMetric, MaxBodyBytes: limit})
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Body = struct {
			io.Reader
			io.WriterTo
			io.Closer
		}{nil, strings.NewReader("hello"), io.NopCloser(nil)}
		if limit > 0 {
			r.Body = io.NopCloser(strings.NewReader("hello"))
		}
		h.ServeHTTP(httptest.NewRecorder(), r)
		if sizes := g.metrics()["http.server.request.body.size"].Data.(metricdata.Histogram[int64]).DataPoints; sizes[0].Sum != 5 {
			t.Errorf("with the limit %d the body has %d bytes, want 5", limit, sizes[0].Sum)
		}
	}
}

// One side of an upgraded connection can be closed, as in package net.
func TestUpgradedBodyClosesOneSide(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
		all, _ := io.ReadAll(buf) // until the client closes its side
		_, _ = conn.Write(all)
	}))
	defer srv.Close()
	g := newRig(t)
	r := newRequest(t, http.MethodGet, srv.URL, nil)
	r.Header = http.Header{"Connection": {"upgrade"}, "Upgrade": {"echo"}}
	res, err := g.transport(nil, oshttp.TransportOptions{}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, ok := res.Body.(interface {
		io.ReadWriteCloser
		CloseWrite() error
	})
	if !ok {
		t.Fatalf("a %T cannot be closed for writing", res.Body)
	}
	_, _ = io.WriteString(body, "hello")
	if err := body.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(body); err != nil || string(got) != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestServerSentEvents(t *testing.T) {
	protocols(t, func(t *testing.T, g *rig, serve func(http.Handler) (*httptest.Server, *http.Client)) {
		next := make(chan struct{})
		srv, client := serve(g.handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for i := range 3 {
				fmt.Fprintf(w, "data: %d\n\n", i)
				w.(http.Flusher).Flush()
				<-next // the client has seen it: nothing was delayed
			}
		}), oshttp.HandlerOptions{}))
		res, err := client.Get(srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		lines := bufio.NewScanner(res.Body)
		for i := range 3 {
			lines.Scan()
			if want := fmt.Sprintf("data: %d", i); lines.Text() != want {
				t.Errorf("got %q, want %q", lines.Text(), want)
			}
			lines.Scan()
			next <- struct{}{}
		}
		g.wait()
		if got := plain(g.span().Attributes())["http.response.status_code"]; got != "200" {
			t.Errorf("status %s, want 200", got)
		}
	})
}

func TestTrailersAndInformationalResponses(t *testing.T) {
	protocols(t, func(t *testing.T, g *rig, serve func(http.Handler) (*httptest.Server, *http.Client)) {
		srv, client := serve(g.handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "</style.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Set("Trailer", "Declared")
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, "body")
			w.Header().Set("Declared", "1")
			w.Header().Set(http.TrailerPrefix+"Late", "2")
		}), oshttp.HandlerOptions{}))
		var hints []int
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, _ textproto.MIMEHeader) error { hints = append(hints, code); return nil },
		})
		r := newRequest(t, http.MethodGet, srv.URL, nil).WithContext(ctx)
		res, body := fetch(t, client, r)
		g.wait()
		if len(hints) != 1 || hints[0] != 103 || res.StatusCode != 201 || body != "body" {
			t.Errorf("hints %v, status %d, body %q", hints, res.StatusCode, body)
		}
		if res.Trailer.Get("Declared") != "1" || res.Trailer.Get("Late") != "2" {
			t.Errorf("trailers %v", res.Trailer)
		}
		span := plain(g.span().Attributes())
		if want := strings.TrimSuffix(strings.TrimPrefix(res.Proto, "HTTP/"), ".0"); span["http.response.status_code"] != "201" ||
			span["network.protocol.version"] != want {
			t.Errorf("span has %v, want status 201 and protocol %s", span, want)
		}
	})
}

func TestFullDuplexAndDeadlines(t *testing.T) {
	protocols(t, func(t *testing.T, g *rig, serve func(http.Handler) (*httptest.Server, *http.Client)) {
		srv, client := serve(g.handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, far := http.NewResponseController(w), time.Now().Add(time.Minute)
			if err := c.EnableFullDuplex(); err != nil && r.ProtoMajor == 1 {
				t.Error(err)
			}
			if err := errors.Join(c.SetReadDeadline(far), c.SetWriteDeadline(far), c.Flush()); err != nil {
				t.Error(err)
			}
			lines := bufio.NewScanner(r.Body)
			for lines.Scan() {
				fmt.Fprintln(w, lines.Text())
				_ = c.Flush()
			}
		}), oshttp.HandlerOptions{}))
		body, pen := io.Pipe()
		res, err := client.Do(newRequest(t, http.MethodPost, srv.URL, body))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		echo := bufio.NewScanner(res.Body)
		for _, word := range []string{"one", "two"} {
			fmt.Fprintln(pen, word)
			if echo.Scan(); echo.Text() != word {
				t.Errorf("sent %q while the answer was open, got %q", word, echo.Text())
			}
		}
		pen.Close()
		g.wait()
	})
}

func TestFileGoesThroughReadFrom(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file.txt")
	if err := os.WriteFile(path, []byte(strings.Repeat("0123456789", 10_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	g := newRig(t)
	var sawReaderFrom bool
	srv := g.serve(g.handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sawReaderFrom = has[io.ReaderFrom](w)
		http.ServeFile(w, r, path)
	}), oshttp.HandlerOptions{AccessLog: true}))
	_, body := fetch(t, srv.Client(), newRequest(t, http.MethodGet, srv.URL, nil))
	g.wait()
	if len(body) != 100_000 || !sawReaderFrom {
		t.Errorf("%d bytes, ReaderFrom: %t", len(body), sawReaderFrom)
	}
	if !strings.Contains(g.lines.String(), "http.response.body.size=100000 ") {
		t.Errorf("access log %q lacks the size", g.lines)
	}
}

func TestWebsocket(t *testing.T) {
	g, c := newRig(t), newRig(t)
	srv := g.serve(g.handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		kind, message, err := conn.Read(r.Context())
		if err == nil {
			err = conn.Write(r.Context(), kind, append([]byte("echo "), message...))
		}
		if err != nil {
			t.Error(err)
		}
		<-conn.CloseRead(r.Context()).Done()
	}), oshttp.HandlerOptions{}))
	client := &http.Client{Transport: oshttp.NewTransport(nil, &oshttp.TransportOptions{Telemetry: c.providers()})}
	conn, _, err := websocket.Dial(t.Context(), srv.URL, &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, got, err := conn.Read(t.Context()); err != nil || string(got) != "echo hello" {
		t.Errorf("got %q, %v", got, err)
	}
	if n := len(c.spans.Ended()); n != 0 {
		t.Errorf("%d client spans ended with the connection open, want 0", n)
	}
	conn.CloseNow()
	g.wait()
	for name, side := range map[string]*rig{"server": g, "client": c} {
		if got := plain(side.span().Attributes())["http.response.status_code"]; got != "101" {
			t.Errorf("%s span has status %s, want 101", name, got)
		}
	}
}

// A handler that keeps its ResponseWriter after it returned must not reach the next request with it.
func TestLateWritesReachNobodyElse(t *testing.T) {
	var kept http.ResponseWriter
	g := newRig(t)
	h := g.handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/keeps" {
			kept = w
			return
		}
		if w == kept {
			t.Error("two requests share a ResponseWriter")
		}
		kept.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(kept, "late")
		oshttp.SetRoute(kept, "/late")
		_, _ = io.WriteString(w, "mine")
	}), oshttp.HandlerOptions{})
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/keeps", nil))
	for range 100 {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil))
		if rec.Code != 200 || rec.Body.String() != "mine" {
			t.Fatalf("got %d %q", rec.Code, rec.Body)
		}
	}
	for _, s := range g.spans.Ended() {
		if got := plain(s.Attributes()); got["http.response.status_code"] != "200" || got["http.route"] != "" {
			t.Fatalf("span has %v", got)
		}
	}
}

// The server removes a form's temporary files on its own request, which is not the one that the handler parsed.
func TestTemporaryFilesOfFormsAreRemoved(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	g := newRig(t)
	inHandler := 0
	srv := g.serve(g.handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if err := r.ParseMultipartForm(1); err != nil {
			t.Error(err)
		}
		files, _ := os.ReadDir(dir)
		inHandler = len(files)
	}), oshttp.HandlerOptions{}))
	body, pen := io.Pipe()
	form := multipart.NewWriter(pen)
	go func() {
		file, _ := form.CreateFormFile("file", "name")
		_, _ = io.WriteString(file, strings.Repeat("x", 1<<20))
		pen.CloseWithError(form.Close())
	}()
	r := newRequest(t, http.MethodPost, srv.URL, body)
	r.Header.Set("Content-Type", form.FormDataContentType())
	fetch(t, srv.Client(), r)
	srv.Close() // waits for the server's work after the handler
	if files, _ := os.ReadDir(dir); inHandler == 0 || len(files) != 0 {
		t.Errorf("%d temporary files in the handler, %d left, want some and none", inHandler, len(files))
	}
}
