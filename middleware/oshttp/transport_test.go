package oshttp_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/go-os/go-os/middleware/oshttp"
)

func (g *rig) transport(base http.RoundTripper, opts oshttp.TransportOptions) *oshttp.Transport {
	opts.Telemetry = g.providers()
	return oshttp.NewTransport(base, &opts)
}

// failing is a transport that never gets an answer.
type failing struct{ err error }

func (f failing) RoundTrip(*http.Request) (*http.Response, error) { return nil, f.err }

// badServers are servers that each fail in a different way.
type badServers struct{ refused, selfSigned, plainText, hangUp, stuck string }

func startBadServers(t *testing.T) badServers {
	start := func(h http.HandlerFunc) *httptest.Server {
		srv := httptest.NewServer(h)
		t.Cleanup(srv.Close)
		return srv
	}
	refused := start(nothing)
	refused.Close()
	selfSigned := httptest.NewUnstartedServer(http.HandlerFunc(nothing))
	selfSigned.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	selfSigned.StartTLS()
	t.Cleanup(selfSigned.Close)
	return badServers{
		refused:    refused.URL,
		selfSigned: selfSigned.URL,
		plainText:  start(nothing).URL,
		hangUp:     start(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }).URL,
		stuck:      start(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }).URL,
	}
}

func TestClientFailures(t *testing.T) {
	bad := startBadServers(t)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	caused, cancelWith := context.WithCancelCause(t.Context())
	cancelWith(errors.New("changed my mind"))
	short, stop := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer stop()

	for _, test := range []struct {
		name  string
		base  http.RoundTripper
		ctx   context.Context
		url   string
		fault string
		event bool
	}{
		{"refused", nil, t.Context(), bad.refused, "connection_refused", true},
		{"canceled by the caller", nil, canceled, bad.plainText, "", false},
		{"canceled by the caller, with a cause", nil, caused, bad.plainText, "", false},
		{"canceled by nobody we know", failing{context.Canceled}, t.Context(), "http://x.invalid", "canceled", true},
		{"deadline", nil, short, bad.stuck, "timeout", true},
		{"timeout of the transport", &http.Transport{ResponseHeaderTimeout: time.Millisecond}, t.Context(), bad.stuck, "timeout", true},
		{"closed", nil, t.Context(), bad.hangUp, "connection_closed", true},
		{"unknown name", failing{&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", IsNotFound: true}}},
			t.Context(), "http://nowhere.invalid", "name_resolution_error", true},
		{"certificate", nil, t.Context(), bad.selfSigned, "server_certificate_invalid", true},
		{"not TLS", nil, t.Context(), strings.Replace(bad.plainText, "http:", "https:", 1), "tls_error", true},
		{"alert", failing{tls.AlertError(40)}, t.Context(), "https://x.invalid", "tls_error", true},
		{"anything else", failing{errors.New("odd")}, t.Context(), "http://x.invalid", "_OTHER", true},
		{"nothing at all", failing{}, t.Context(), "http://x.invalid", "_OTHER", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := newRig(t)
			if test.base == nil {
				base := &http.Transport{}
				t.Cleanup(base.CloseIdleConnections)
				test.base = base
			}
			res, err := g.transport(test.base, oshttp.TransportOptions{}).RoundTrip(newRequest(t, http.MethodGet, test.url, nil).WithContext(test.ctx))
			if err == nil {
				res.Body.Close()
				t.Fatal("no error")
			}
			span, point := g.span(), g.duration("http.client.request.duration")
			if got := plain(span.Attributes())["error.type"]; got != test.fault || point["error.type"] != test.fault {
				t.Errorf("error.type %q on the span, %q on the metric, want %q (%v)", got, point["error.type"], test.fault, err)
			}
			if failed := test.fault != ""; (span.Status().Code == codes.Error) != failed || (span.Status().Description != "") != failed {
				t.Errorf("span status %v", span.Status())
			}
			if _, ok := point["http.response.status_code"]; ok {
				t.Error("a status code, though there was no answer")
			}
			events := g.happened()
			if (len(events) == 1) != test.event {
				t.Fatalf("%d events, want one: %t", len(events), test.event)
			}
			if test.event && (events[0].EventName != "http.client.request.exception" || events[0].Error == nil ||
				trace.SpanContextFromContext(events[0].Context).SpanID() != span.SpanContext().SpanID()) {
				t.Errorf("event %+v", events[0])
			}
		})
	}
}

func TestClientStatus(t *testing.T) {
	for status, want := range map[int]outcome{
		200: {code: codes.Unset}, 304: {code: codes.Unset},
		404: {code: codes.Error, fault: "404"}, 503: {code: codes.Error, fault: "503"}, 799: {code: codes.Error, fault: "_OTHER"},
	} {
		g := newRig(t)
		base := roundTripper(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Body: http.NoBody, ProtoMajor: 2, Request: r}, nil
		})
		if _, err := g.transport(base, oshttp.TransportOptions{}).RoundTrip(httptest.NewRequest(http.MethodGet, "http://x.invalid/", nil)); err != nil {
			t.Fatal(err)
		}
		span := g.span()
		if got := plain(span.Attributes()); got["error.type"] != want.fault || span.Status().Code != want.code ||
			got["http.response.status_code"] != fmt.Sprint(status) || got["network.protocol.version"] != "2" {
			t.Errorf("%d: span has %v, status %v", status, got, span.Status())
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// pieces is a body that returns its parts one by one and then its error, and records its Close.
type pieces struct {
	parts  []string
	err    error
	pause  time.Duration
	closed int
}

func (p *pieces) Read(b []byte) (int, error) {
	<-time.After(p.pause)
	if len(p.parts) == 0 {
		return 0, p.err
	}
	n := copy(b, p.parts[0])
	p.parts = p.parts[1:]
	return n, nil
}

func (p *pieces) Close() error { p.closed++; return nil }

// The call lasts until its body ends, fails or is closed, whichever comes first, and ends once.
func TestCallEndsWithItsBody(t *testing.T) {
	for _, test := range []struct {
		name  string
		err   error
		read  int // number of reads before closing
		took  time.Duration
		fault string
	}{
		{"read to the end", io.EOF, 3, 3 * time.Second, ""},
		{"closed early", io.EOF, 1, time.Second, ""},
		{"broken", io.ErrUnexpectedEOF, 3, 3 * time.Second, "connection_closed"},
	} {
		synctest.Test(t, func(t *testing.T) {
			g := newRig(t)
			body := &pieces{parts: []string{"a", "b"}, err: test.err, pause: time.Second}
			res, err := g.transport(roundTripper(func(r *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: 200, Body: body, ProtoMajor: 1, ProtoMinor: 1, Request: r}, nil
			}), oshttp.TransportOptions{}).RoundTrip(httptest.NewRequest(http.MethodGet, "http://x.invalid/", nil))
			if err != nil {
				t.Fatal(err)
			}
			if n := len(g.spans.Ended()); n != 0 {
				t.Errorf("%s: the span ended before the body", test.name)
			}
			if _, ok := res.Body.(io.Writer); ok {
				t.Errorf("%s: the body can be written to", test.name)
			}
			for range test.read {
				_, _ = res.Body.Read(make([]byte, 8))
			}
			_ = res.Body.Close()
			_ = res.Body.Close()
			point := g.durations("http.client.request.duration")[0]
			if got := plain(point.Attributes.ToSlice())["error.type"]; point.Count != 1 || got != test.fault || point.Sum != test.took.Seconds() {
				t.Errorf("%s: %d measurements, %v s, error.type %q, want 1, %v, %q", test.name, point.Count, point.Sum, got, test.took, test.fault)
			}
			if span := g.span(); span.EndTime().Sub(span.StartTime()) != test.took {
				t.Errorf("%s: the span took %v, want %v", test.name, span.EndTime().Sub(span.StartTime()), test.took)
			}
			if body.closed != 2 {
				t.Errorf("%s: closing did not reach the body", test.name)
			}
		})
	}
}

func TestTransportLeavesTheRequestAlone(t *testing.T) {
	g := newRig(t)
	r := newRequest(t, http.MethodGet, "http://x.invalid/", nil)
	r.Header.Set("X-Mine", "1")
	ctx := r.Context()
	var sent *http.Request
	_, err := g.transport(carry(func(r *http.Request) { sent = r }), oshttp.TransportOptions{}).RoundTrip(r)
	if err != nil || len(r.Header) != 1 || r.Context() != ctx {
		t.Errorf("the caller's request has headers %v, error %v", r.Header, err)
	}
	if sent.Header.Get("Traceparent") == "" || sent.Header.Get("X-Mine") != "1" {
		t.Errorf("sent headers %v", sent.Header)
	}
	r.Header = nil
	if _, err := g.transport(carry(func(*http.Request) {}), oshttp.TransportOptions{}).RoundTrip(r); err != nil || r.Header != nil {
		t.Errorf("a request without headers has %v, error %v", r.Header, err)
	}
}

// A caller may set the value of a trailer while the body is being sent.
func TestRequestTrailers(t *testing.T) {
	got := make(chan string, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		got <- r.Trailer.Get("Checksum")
	}))
	defer srv.Close()
	g := newRig(t)
	body, pen := io.Pipe()
	r := newRequest(t, http.MethodPost, srv.URL, body)
	r.Trailer = http.Header{"Checksum": nil}
	go func() {
		_, _ = io.WriteString(pen, "data")
		r.Trailer.Set("Checksum", "abc")
		pen.Close()
	}()
	fetch(t, &http.Client{Transport: g.transport(nil, oshttp.TransportOptions{})}, r)
	if sum := <-got; sum != "abc" {
		t.Errorf("the server got trailer %q, want abc", sum)
	}
}

func TestRedirectsAreCounted(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle("/a", http.RedirectHandler("/b", http.StatusFound))
	mux.Handle("/b", http.RedirectHandler("/c", http.StatusFound))
	mux.HandleFunc("/c", nothing)
	srv := httptest.NewServer(mux)
	defer srv.Close()
	g := newRig(t)
	fetch(t, &http.Client{Transport: g.transport(nil, oshttp.TransportOptions{})}, newRequest(t, http.MethodGet, srv.URL+"/a", nil))
	spans := g.spans.Ended()
	if len(spans) != 3 {
		t.Fatalf("%d spans, want 3", len(spans))
	}
	for i, want := range []string{"", "1", "2"} {
		if got := plain(spans[i].Attributes())["http.request.resend_count"]; got != want {
			t.Errorf("request %d has resend_count %q, want %q", i, got, want)
		}
	}
}

func TestTemplateNamesSpanAndSeries(t *testing.T) {
	g := newRig(t)
	transport := g.transport(carry(func(*http.Request) {}), oshttp.TransportOptions{
		Template: func(*http.Request) string { return "/users/{id}" }})
	if _, err := transport.RoundTrip(httptest.NewRequest(http.MethodGet, "http://x.invalid/users/1", nil)); err != nil {
		t.Fatal(err)
	}
	span, point := g.span(), g.duration("http.client.request.duration")
	if span.Name() != "GET /users/{id}" || plain(span.Attributes())["url.template"] != "/users/{id}" || point["url.template"] != "/users/{id}" {
		t.Errorf("span %q with %v, series %v", span.Name(), plain(span.Attributes()), point)
	}
}

func TestServersAreBounded(t *testing.T) {
	g := newRig(t)
	transport := g.transport(carry(func(*http.Request) {}), oshttp.TransportOptions{MaxServers: 3})
	for range 2 {
		for i := range 1000 {
			r := httptest.NewRequest(http.MethodGet, fmt.Sprintf("https://host%d.invalid/", i), nil)
			if _, err := transport.RoundTrip(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	counts := map[string]uint64{}
	for _, p := range g.durations("http.client.request.duration") {
		attrs := plain(p.Attributes.ToSlice())
		counts[attrs["server.address"]+":"+attrs["server.port"]] += p.Count
	}
	want := map[string]uint64{"host0.invalid:443": 2, "host1.invalid:443": 2, "host2.invalid:443": 2, "_OTHER:0": 1994}
	if fmt.Sprint(counts) != fmt.Sprint(want) {
		t.Errorf("series %v, want %v", counts, want)
	}
}

func TestClientSpansHoldNoCredentials(t *testing.T) {
	for in, want := range map[string]string{
		"http://user:pass@x.invalid/p?a=1":             "http://REDACTED:REDACTED@x.invalid/p?a=1",
		"http://user@x.invalid/":                       "http://REDACTED@x.invalid/",
		"http://x.invalid/?X-Amz-Signature=abc&b=2#f":  "http://x.invalid/?X-Amz-Signature=REDACTED&b=2#f",
		"http://x.invalid/?%73ig=abc&access_token=def": "http://x.invalid/?%73ig=REDACTED&access_token=REDACTED",
		"http://x.invalid/?a&=b&sig&sig=&x=sig=1":      "http://x.invalid/?a&=b&sig&sig=REDACTED&x=sig=1",
	} {
		g := newRig(t)
		r := newRequest(t, http.MethodGet, in, nil)
		if _, err := g.transport(carry(func(*http.Request) {}), oshttp.TransportOptions{}).RoundTrip(r); err != nil {
			t.Fatal(err)
		}
		if got := plain(g.span().Attributes())["url.full"]; got != want {
			t.Errorf("url.full of %s is %s, want %s", in, got, want)
		}
	}
}

func FuzzRedaction(f *testing.F) {
	f.Add("a=1&sig=topsecret")
	f.Add("%73ig=topsecret&&=&password=topsecret")
	f.Add("sig==topsecret;&token=%zztopsecret")
	f.Fuzz(func(t *testing.T, query string) {
		g := newRig(t)
		r := httptest.NewRequest(http.MethodGet, "http://x.invalid/", nil)
		r.URL = &url.URL{Scheme: "http", Host: "x.invalid", RawQuery: query}
		if _, err := g.transport(carry(func(*http.Request) {}), oshttp.TransportOptions{}).RoundTrip(r); err != nil {
			t.Fatal(err)
		}
		bounded(t, g.span().Attributes())
		shown, err := url.Parse(plain(g.span().Attributes())["url.full"])
		if err != nil {
			return // an unparsable result was not a URL before either
		}
		for _, key := range []string{"sig", "password", "token"} {
			for _, v := range shown.Query()[key] {
				if v != "" && !strings.HasPrefix("REDACTED", v) { // the bound may cut the word
					t.Errorf("query %q shows %s=%q", query, key, v)
				}
			}
		}
	})
}

func TestFilteredCallsPassUntouched(t *testing.T) {
	g := newRig(t)
	r := httptest.NewRequest(http.MethodGet, "http://x.invalid/", nil)
	var sent *http.Request
	transport := g.transport(carry(func(r *http.Request) { sent = r }), oshttp.TransportOptions{
		Filter: func(*http.Request) bool { return false }})
	if _, err := transport.RoundTrip(r); err != nil || sent != r || len(g.spans.Started()) != 0 || len(g.metrics()) != 0 {
		t.Errorf("a filtered call was observed: same request %t, %d spans, error %v", sent == r, len(g.spans.Started()), err)
	}
}

type idle struct {
	http.RoundTripper
	closed bool
}

func (i *idle) CloseIdleConnections() { i.closed = true }

func TestCloseIdleConnectionsReachesTheBase(t *testing.T) {
	base := &idle{}
	(&http.Client{Transport: oshttp.NewTransport(base, nil)}).CloseIdleConnections()
	if !base.closed {
		t.Error("the base's idle connections stay open")
	}
	oshttp.NewTransport(failing{}, nil).CloseIdleConnections() // has none
}

// Without options, and without an SDK behind the process-wide providers, everything is passed on.
func TestNoOptions(t *testing.T) {
	srv := httptest.NewServer(oshttp.NewHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}), nil))
	defer srv.Close()
	client := &http.Client{Transport: oshttp.NewTransport(nil, nil)}
	res, body := fetch(t, client, newRequest(t, http.MethodPost, srv.URL, strings.NewReader("echo")))
	if res.StatusCode != 200 || body != "echo" {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
}
