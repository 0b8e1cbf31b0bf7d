package oshttp_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/go-os/go-os/middleware/oshttp"
)

func TestProxies(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}
	const direct = "http direct.example  192.0.2.7"
	for _, test := range []struct {
		name       string
		xForwarded bool
		peer       string
		header     http.Header
		want       string // url.scheme, server.address, server.port, client.address
	}{
		{"no header", false, "10.0.0.1:1", nil, "http direct.example  10.0.0.1"},
		{"one proxy", false, "10.0.0.1:1", http.Header{"Forwarded": {"for=198.51.100.1;proto=https;host=shop.example"}}, "https shop.example  198.51.100.1"},
		{"case, spaces, quotes, ports", false, "10.0.0.1:1", http.Header{"Forwarded": {`For="[2001:db9::1]:4711" ; Proto=HTTPS;Host="shop.example:8443"`}}, "https shop.example 8443 2001:db9::1"},
		{"a stranger", false, "192.0.2.7:1", http.Header{"Forwarded": {"for=198.51.100.1;proto=https;host=shop.example"}}, direct},
		{"a chain, its left part forged", false, "10.0.0.1:1",
			http.Header{"Forwarded": {"for=1.2.3.4;proto=https;host=evil.example, for=198.51.100.1;proto=https;host=shop.example", "for=10.0.0.2;proto=http;host=inner.example"}},
			"https shop.example  198.51.100.1"},
		{"all are proxies", false, "10.0.0.1:1", http.Header{"Forwarded": {"for=10.0.0.3;proto=https;host=shop.example, for=10.0.0.2;proto=http"}}, "https shop.example  10.0.0.3"},
		{"a client that is not named", false, "10.0.0.1:1", http.Header{"Forwarded": {"for=unknown;proto=https, for=_hidden;proto=http;host=a.example"}}, "http a.example  10.0.0.1"},
		{"a separator in quotes", false, "10.0.0.1:1", http.Header{"Forwarded": {`for="198.51.100.1";host="a,b;c\"d";proto=https`}}, `https a,b;c"d  198.51.100.1`},
		{"no such scheme", false, "10.0.0.1:1", http.Header{"Forwarded": {"for=198.51.100.1;proto=gopher"}}, "http direct.example  198.51.100.1"},
		{"garbage", false, "10.0.0.1:1", http.Header{"Forwarded": {`"=;,,;=`}}, "http direct.example  10.0.0.1"},
		{"too long", false, "10.0.0.1:1", http.Header{"Forwarded": {"proto=https;x=" + strings.Repeat("x", 5000)}}, "http direct.example  10.0.0.1"},
		{"the other header", false, "10.0.0.1:1", http.Header{"X-Forwarded-Proto": {"https"}}, "http direct.example  10.0.0.1"},
		{"a Unix socket", false, "@", http.Header{"Forwarded": {"for=198.51.100.1;proto=https;host=shop.example"}}, "https shop.example  198.51.100.1"},
		{"an IPv4 peer on an IPv6 socket", false, "[::ffff:10.0.0.1]:1", http.Header{"Forwarded": {"proto=https"}}, "https direct.example  ::ffff:10.0.0.1"},

		{"X-Forwarded", true, "10.0.0.1:1", http.Header{"X-Forwarded-For": {"198.51.100.1"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"shop.example"}}, "https shop.example  198.51.100.1"},
		{"X-Forwarded, a chain", true, "10.0.0.1:1",
			http.Header{"X-Forwarded-For": {"1.2.3.4, 198.51.100.1", "10.0.0.2"}, "X-Forwarded-Proto": {"gopher, https, http"}, "X-Forwarded-Host": {"shop.example"}},
			"https shop.example  198.51.100.1"},
		{"X-Forwarded, without the client", true, "10.0.0.1:1", http.Header{"X-Forwarded-Proto": {"https"}}, "https direct.example  10.0.0.1"},
		{"X-Forwarded, from a stranger", true, "192.0.2.7:1", http.Header{"X-Forwarded-For": {"198.51.100.1"}, "X-Forwarded-Proto": {"https"}}, direct},
		{"X-Forwarded, the other header", true, "10.0.0.1:1", http.Header{"Forwarded": {"proto=https"}}, "http direct.example  10.0.0.1"},
	} {
		got := attributesOf(t, oshttp.HandlerOptions{Proxies: &oshttp.Proxies{Trusted: trusted, XForwarded: test.xForwarded}}, func(r *http.Request) {
			r.Host, r.RemoteAddr = "direct.example", test.peer
			for key, values := range test.header {
				r.Header[key] = values
			}
		})
		if s := strings.Join([]string{got["url.scheme"], got["server.address"], got["server.port"], got["client.address"]}, " "); s != test.want {
			t.Errorf("%s: %q, want %q", test.name, s, test.want)
		}
	}
}

// Without the option no header is trusted.
func TestNoProxiesByDefault(t *testing.T) {
	got := attributesOf(t, oshttp.HandlerOptions{}, func(r *http.Request) {
		r.Header.Set("Forwarded", "for=198.51.100.1;proto=https;host=evil.example")
		r.Header.Set("X-Forwarded-Proto", "https")
	})
	if got["url.scheme"] != "http" || got["server.address"] != "example.com" || got["client.address"] != "192.0.2.1" {
		t.Errorf("the span has %v", got)
	}
}

func FuzzForwarded(f *testing.F) {
	f.Add(`for="[2001:db8::1]:4711";proto=https;host="a\"b"`, "10.0.0.1, 10.0.0.2")
	f.Add(`"`, ",")
	f.Add(`for=;;,=,"\`, "[::1")
	f.Fuzz(func(t *testing.T, forwarded, x string) {
		for _, xForwarded := range []bool{false, true} {
			got := attributesOf(t, oshttp.HandlerOptions{Proxies: &oshttp.Proxies{
				Trusted: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}, XForwarded: xForwarded,
			}}, func(r *http.Request) {
				for _, key := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"} {
					r.Header.Set(key, x)
				}
				r.Header.Set("Forwarded", forwarded)
			})
			if scheme := got["url.scheme"]; scheme != "http" && scheme != "https" {
				t.Errorf("url.scheme %q", scheme)
			}
			if len(got["server.address"]) > 255 || len(got["client.address"]) > 255 {
				t.Errorf("unbounded: %v", got)
			}
		}
	})
}
