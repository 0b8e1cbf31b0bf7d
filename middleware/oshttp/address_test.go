package oshttp_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/go-os/go-os/middleware/oshttp"
)

// attributesOf serves one request and returns the attributes of its span.
func attributesOf(t *testing.T, opts oshttp.HandlerOptions, change func(*http.Request)) map[string]string {
	t.Helper()
	g := newRig(t)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	change(r)
	g.handler(http.HandlerFunc(nothing), opts).ServeHTTP(httptest.NewRecorder(), r)
	return plain(g.span().Attributes())
}

// Hosts and peers come in every form, from any client.
func TestServerAddress(t *testing.T) {
	for host, want := range map[string][2]string{
		"shop.example":         {"shop.example", ""},
		"shop.example:8080":    {"shop.example", "8080"},
		"10.0.0.1:80":          {"10.0.0.1", "80"},
		"[::1]":                {"::1", ""},
		"[::1]:8080":           {"::1", "8080"},
		"::1":                  {"::1", ""},
		"[fe80::1":             {"[fe80::1", ""},
		"[fe80::1:80":          {"[fe80::1:80", ""},
		"[::1]x:80":            {"[::1]x:80", ""},
		"[::1]:80:90":          {"[::1]:80:90", ""},
		"[]:80":                {"[]:80", ""},
		"shop.example:":        {"shop.example", ""},
		"shop.example:http":    {"shop.example", ""},
		"shop.example:99999":   {"shop.example", ""},
		"shop.example:-1":      {"shop.example", ""},
		"":                     {"", ""},
		"/run/shop:1.sock":     {"/run/shop:1.sock", ""},
		"[fe80::1%25en0]:8080": {"fe80::1%25en0", "8080"},
	} {
		got := attributesOf(t, oshttp.HandlerOptions{}, func(r *http.Request) { r.Host = host })
		if got["server.address"] != want[0] || got["server.port"] != want[1] {
			t.Errorf("Host %q: server.address %q, server.port %q, want %q", host, got["server.address"], got["server.port"], want)
		}
	}
	for peer, want := range map[string][2]string{
		"192.0.2.1:1234": {"192.0.2.1", "1234"}, "[2001:db8::1]:1234": {"2001:db8::1", "1234"},
		"@": {"", ""}, "": {"", ""}, "/tmp/client:1.sock": {"/tmp/client:1.sock", ""}, "@abstract": {"@abstract", ""},
	} {
		got := attributesOf(t, oshttp.HandlerOptions{}, func(r *http.Request) { r.RemoteAddr = peer })
		if got["network.peer.address"] != want[0] || got["network.peer.port"] != want[1] || got["client.address"] != want[0] {
			t.Errorf("peer %q: network.peer.address %q, network.peer.port %q, client.address %q, want %q",
				peer, got["network.peer.address"], got["network.peer.port"], got["client.address"], want)
		}
	}
}

// A client's end of a Unix socket has no name.
func TestUnixSocket(t *testing.T) {
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	g, c := newRig(t), newRig(t)
	g.serve(g.handler(http.HandlerFunc(nothing), oshttp.HandlerOptions{AccessLog: true}), func(srv *httptest.Server) {
		_ = srv.Listener.Close()
		srv.Listener = listener
	})
	base := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", listener.Addr().String())
	}}
	defer base.CloseIdleConnections()
	fetch(t, &http.Client{Transport: c.transport(base, oshttp.TransportOptions{})}, newRequest(t, http.MethodGet, "http://shop.internal/", nil))
	g.wait()
	got := plain(g.span().Attributes())
	if _, named := got["network.peer.address"]; named || got["client.address"] != "" || got["server.address"] != "shop.internal" {
		t.Errorf("the server's span has %v", got)
	}
	if got := plain(c.span().Attributes()); got["server.address"] != "shop.internal" || got["server.port"] != "80" {
		t.Errorf("the client's span has %v", got)
	}
}

// The server of a client's request is the one in the Host header, on spans, metrics and events.
func TestClientFollowsTheHostHeader(t *testing.T) {
	for _, test := range []struct{ url, host, address, port string }{
		{"http://127.0.0.1:8080/", "", "127.0.0.1", "8080"},
		{"https://shop.example/", "", "shop.example", "443"},
		{"http://127.0.0.1:8080/", "virtual.example", "virtual.example", "80"},
		{"https://127.0.0.1:8080/", "virtual.example", "virtual.example", "443"},
		{"http://127.0.0.1:8080/", "virtual.example:8443", "virtual.example", "8443"},
		{"http://127.0.0.1:8080/", "[::1]:8443", "::1", "8443"},
		{"http://[::1]/", "", "::1", "80"},
		{"http://127.0.0.1:8080/", "virtual.example:http", "virtual.example", "0"},
	} {
		g := newRig(t)
		r := newRequest(t, http.MethodGet, test.url, nil)
		r.Host = test.host
		_, err := g.transport(failing{net.ErrClosed}, oshttp.TransportOptions{}).RoundTrip(r)
		if err == nil {
			t.Fatal("no error")
		}
		events := g.happened()
		if len(events) != 1 {
			t.Fatalf("%d events", len(events))
		}
		for what, got := range map[string]map[string]string{
			"span": plain(g.span().Attributes()), "metric": g.duration("http.client.request.duration"), "event": plain(events[0].Attributes),
		} {
			if got["server.address"] != test.address || got["server.port"] != test.port {
				t.Errorf("%s with Host %q: the %s has server.address %q, server.port %q, want %s and %s",
					test.url, test.host, what, got["server.address"], got["server.port"], test.address, test.port)
			}
		}
	}
}

// Several tracestate lines are one list; two parents are none, even if they are equal.
func TestRepeatedHeaders(t *testing.T) {
	const one, two = "00-12345678901234567890123456789011-1234567890123456-01", "00-12345678901234567890123456789012-1234567890123456-01"
	for _, test := range []struct {
		parents, states []string
		trace, state    string
	}{
		{[]string{one}, []string{"a=1", "b=2"}, one[3:35], "a=1,b=2"},
		{[]string{one, two}, []string{"a=1"}, "", ""},
		{[]string{one, one}, nil, "", ""},
		{[]string{"01" + one[2:], "01" + one[2:]}, nil, "", ""}, // a later version may have more fields
		{[]string{one, ""}, nil, "", ""},
	} {
		g := newRig(t)
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["Traceparent"], r.Header["Tracestate"] = test.parents, test.states
		g.handler(http.HandlerFunc(nothing), oshttp.HandlerOptions{}).ServeHTTP(httptest.NewRecorder(), r)
		parent := g.span().Parent()
		if got := parent.TraceID().String(); parent.IsValid() != (test.trace != "") || test.trace != "" && got != test.trace || parent.TraceState().String() != test.state {
			t.Errorf("%q with %q continues the trace %s with the state %q, want %q and %q",
				test.parents, test.states, got, parent.TraceState(), test.trace, test.state)
		}
	}
}

// The list of known methods replaces the default, on both sides.
func TestKnownMethods(t *testing.T) {
	for _, test := range []struct {
		list, method, want, span string
	}{
		{"", "GET", "GET", "GET"},
		{"", "QUERY", "QUERY", "QUERY"},
		{"", "PROPFIND", "_OTHER", "HTTP"},
		{"GET, PROPFIND ,", "PROPFIND", "PROPFIND", "PROPFIND"},
		{"GET,PROPFIND", "GET", "GET", "GET"},
		{"GET,PROPFIND", "POST", "_OTHER", "HTTP"},
		{"GET,PROPFIND", "propfind", "_OTHER", "HTTP"},
	} {
		known := oshttp.ParseMethods(test.list)
		g, c := newRig(t), newRig(t)
		r := httptest.NewRequest(test.method, "http://x.invalid/", nil)
		g.handler(http.HandlerFunc(nothing), oshttp.HandlerOptions{KnownMethods: known}).ServeHTTP(httptest.NewRecorder(), r)
		if _, err := c.transport(carry(func(*http.Request) {}), oshttp.TransportOptions{KnownMethods: known}).RoundTrip(r); err != nil {
			t.Fatal(err)
		}
		for side, at := range map[string]*rig{"server": g, "client": c} {
			span, point := at.span(), at.duration("http."+side+".request.duration")
			if got := plain(span.Attributes())["http.request.method"]; got != test.want || point["http.request.method"] != test.want || span.Name() != test.span {
				t.Errorf("%s, %q with %q known: method %q on the span, %q on the metric, name %q, want %q and %q",
					side, test.method, test.list, got, point["http.request.method"], span.Name(), test.want, test.span)
			}
		}
	}
}
