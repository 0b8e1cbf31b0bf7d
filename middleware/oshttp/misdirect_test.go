package oshttp_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/internal/tooling/servicetest"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry"
)

// of wraps the handler of a node, which provides these services.
func of(services ...string) func(*httptest.Server, *discovery.Instance) {
	return func(s *httptest.Server, _ *discovery.Instance) {
		s.Config.Handler = oshttp.NewHandler(s.Config.Handler, &oshttp.HandlerOptions{Services: services, Telemetry: telemetry.Off()})
	}
}

// TestRefusedByAll sends one request to three instances at most, although all sixty refuse it.
func TestRefusedByAll(t *testing.T) {
	f := newFleet(t)
	var arrived atomic.Int64
	count := func(s *httptest.Server, _ *discovery.Instance) {
		next := s.Config.Handler
		s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			arrived.Add(1)
			next.ServeHTTP(w, r)
		})
	}
	for i := range 60 {
		f.start("orders", fmt.Sprint("i", i), answer("never"), of("misspelled"), count)
	}
	client := f.client("orders")
	for n := range 40 { // also when all refusals are known
		arrived.Store(0)
		res, err := client.Post("http://orders/", "text/plain", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if got := arrived.Load(); got > 3 || res.StatusCode != http.StatusMisdirectedRequest {
			t.Errorf("request %d was sent %d times: %s", n, got, res.Status)
		}
	}
}

// TestRelayedRefusal relays a refusal of another server. The client does not repeat a request that a handler has seen.
func TestRelayedRefusal(t *testing.T) {
	f := newFleet(t)
	var handled atomic.Int64
	for i := range 3 {
		f.start("orders", fmt.Sprint("i", i), func(w http.ResponseWriter, _ *http.Request) {
			handled.Add(1)
			w.Header().Set("Goos-Misdirected", "orders")
			w.WriteHeader(http.StatusMisdirectedRequest)
		}, of("orders"))
	}
	res, err := f.client("orders").Post("http://orders/", "text/plain", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if got := handled.Load(); got != 1 || res.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("a POST was handled %d times: %s", got, res.Status)
	}
}

// TestRefusalIsUnmarked returns refusals to the caller without the mark, which a reverse proxy would relay.
func TestRefusalIsUnmarked(t *testing.T) {
	f := newFleet(t)
	a := f.start("orders", "a", answer("never"), of("payments"))
	client := f.client("orders")
	for _, target := range []string{"http://orders/", a.URL} {
		r, _ := http.NewRequest(http.MethodGet, target, nil)
		r.Header.Set("Goos-Service", "orders")
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if mark := res.Header.Get("Goos-Misdirected"); res.StatusCode != http.StatusMisdirectedRequest || mark != "" {
			t.Errorf("%s: %s with the mark %q, want none", target, res.Status, mark)
		}
	}
}

// TestRedirectFromOutside refuses redirects from other hosts to a service, and follows those between services and to other hosts.
func TestRedirectFromOutside(t *testing.T) {
	f := newFleet(t)
	target := ""
	redirect := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, target, http.StatusTemporaryRedirect)
	}
	orders := f.start("orders", "a", answer("order"))
	f.start("payments", "a", redirect)
	outside := httptest.NewServer(http.HandlerFunc(redirect))
	t.Cleanup(outside.Close)
	public := httptest.NewServer(answer("public"))
	t.Cleanup(public.Close)
	services := f.services(oshttp.ServicesOptions{}, "orders", "payments")
	for name, transport := range map[string]http.RoundTripper{
		"Services": services, "Transport": oshttp.NewTransport(services, &oshttp.TransportOptions{Telemetry: newRig(t).providers()}),
	} {
		client := &http.Client{Transport: transport}
		for _, tt := range []struct{ from, to, want string }{
			{"http://payments/", "http://orders/", "order"},
			{"http://payments/", public.URL, "public"},
			{outside.URL, public.URL, "public"},
		} {
			target = tt.to
			if got, err := get(client, tt.from); got != tt.want || err != nil {
				t.Errorf("%s: from %s to %s: %q, %v", name, tt.from, tt.to, got, err)
			}
		}
		target = "http://orders/admin"
		before := orders.served.Load()
		body := &countedBody{Reader: strings.NewReader("body"), closed: new(atomic.Int64)}
		r, _ := http.NewRequest(http.MethodPost, outside.URL, strings.NewReader("body"))
		bodies := 0
		r.GetBody = func() (io.ReadCloser, error) { bodies++; return body, nil }
		res, err := client.Do(r)
		if err == nil {
			_ = res.Body.Close()
		}
		host := strings.TrimPrefix(outside.URL, "http://")
		want := fmt.Sprintf("redirect from host %q, which is not a service, to service %q: send the request to the service itself", host, "orders")
		if !errors.Is(err, discovery.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
		if n := orders.served.Load(); n != before {
			t.Errorf("%s: %d requests from outside reached the service", name, n-before)
		}
		if bodies != 1 || body.closed.Load() != 1 {
			t.Errorf("%s: %d bodies, %d closed", name, bodies, body.closed.Load())
		}
	}
}

// exactBody counts each Close, and reports a Read after it.
type exactBody struct {
	io.Reader
	closed atomic.Int64
}

func (b *exactBody) Close() error { b.closed.Add(1); return nil }
func (b *exactBody) Read(p []byte) (int, error) {
	if b.closed.Load() > 0 {
		return 0, errors.New("read after close")
	}
	return b.Reader.Read(p)
}

// TestBodyOfASecondAttempt closes a body that can be read only once, and that an attempt without a connection has closed before.
func TestBodyOfASecondAttempt(t *testing.T) {
	f := newFleet(t)
	f.start("orders", "a", answer("")).kill()
	f.start("orders", "b", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	client := f.client("orders")
	for n := range 4 { // the dead instance is the first of every other request, unless it cools down
		body := &exactBody{Reader: strings.NewReader("a body")}
		res, err := client.Post("http://orders/", "text/plain", body)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if string(got) != "a body" {
			t.Errorf("request %d: the body became %q", n, got)
		}
		testenv.Eventually(t, 10*time.Second, "the body is closed", func() error {
			if got := body.closed.Load(); got != 1 {
				return fmt.Errorf("request %d: closed %d times, want 1", n, got)
			}
			return nil
		})
	}
}

// TestFailedHandshake sends requests elsewhere if an instance accepts connections without a TLS handshake: it is paused, or closes them at
// once. This includes requests that can be sent only once. A request that has been sent is not repeated.
func TestFailedHandshake(t *testing.T) {
	for name, accept := range map[string]func(net.Conn){
		"paused": func(net.Conn) {},
		"ends":   func(c net.Conn) { _ = c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t)
			bad, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = bad.Close() })
			var accepted atomic.Int64
			go func() {
				for {
					c, err := bad.Accept()
					if err != nil {
						return
					}
					t.Cleanup(func() { _ = c.Close() })
					accepted.Add(1)
					accept(c)
				}
			}()
			encrypted := func(s *httptest.Server, _ *discovery.Instance) { s.TLS = &tls.Config{} }
			elsewhere := func(_ *httptest.Server, i *discovery.Instance) {
				i.Addresses = map[string]string{"https": bad.Addr().String()}
			}
			n := f.start("example.com", "b", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }, encrypted)
			f.start("example.com", "a", answer("never"), elsewhere)
			roots := x509.NewCertPool()
			roots.AddCert(n.Certificate())
			base := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, TLSHandshakeTimeout: 500 * time.Millisecond}
			client := &http.Client{Transport: f.services(oshttp.ServicesOptions{Base: base}, "example.com")}
			for range 3 {
				res, err := client.Post("https://example.com/", "text/plain", io.MultiReader(strings.NewReader("once")))
				if err != nil {
					t.Fatal(err)
				}
				got, _ := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if string(got) != "once" {
					t.Errorf("the body became %q", got)
				}
			}
			if accepted.Load() == 0 {
				t.Error("the bad instance was not tried")
			}
		})
	}
	t.Run("breaks later", func(t *testing.T) {
		f := newFleet(t)
		encrypted := func(s *httptest.Server, _ *discovery.Instance) { s.TLS = &tls.Config{} }
		broken := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
		a, b := f.start("example.com", "a", broken, encrypted), f.start("example.com", "b", broken, encrypted)
		roots := x509.NewCertPool()
		roots.AddCert(a.Certificate())
		base := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
		client := &http.Client{Transport: f.services(oshttp.ServicesOptions{Base: base}, "example.com")}
		if res, err := client.Post("https://example.com/", "text/plain", strings.NewReader("body")); err == nil {
			_ = res.Body.Close()
			t.Error("no error")
		}
		if got := a.served.Load() + b.served.Load(); got != 1 {
			t.Errorf("a POST was sent %d times", got)
		}
	})
}

// TestForeignID serves an instance with an ID that is invalid in a header, and exports the ID as short UTF-8.
func TestForeignID(t *testing.T) {
	for _, id := range []string{"i\xff\n", strings.Repeat("i", 1<<20)} {
		f := newFleet(t)
		var named http.Header
		n := f.start("orders", "a", func(w http.ResponseWriter, r *http.Request) {
			named = r.Header
			if r.URL.Path == "/refused" {
				w.Header().Set("Goos-Misdirected", "orders")
				w.WriteHeader(http.StatusMisdirectedRequest)
			}
		})
		var err error
		if f.resolver, err = discovery.NewResolver(servicetest.Foreign{ID: id, Addresses: map[string]string{"http": n.Listener.Addr().String()}}, &discovery.ResolverOptions{Telemetry: telemetry.Off()}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.resolver.Close() })
		rig := newRig(t)
		services := f.services(oshttp.ServicesOptions{Telemetry: rig.providers()}, "orders")
		client := &http.Client{Transport: oshttp.NewTransport(services, &oshttp.TransportOptions{Telemetry: rig.providers()})}
		r, _ := http.NewRequest(http.MethodGet, "http://orders/", nil)
		r.Header.Set("Goos-Instance", "of a proxy")
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if named.Get("Goos-Service") != "orders" || named["Goos-Instance"] != nil {
			t.Errorf("sent %q of %q", named["Goos-Instance"], named["Goos-Service"])
		}
		exported := func(kind, value string) {
			t.Helper()
			if len(value) == 0 || len(value) > 256 || !utf8.ValidString(value) {
				t.Errorf("%s: an instance of %d bytes, valid %v", kind, len(value), utf8.ValidString(value))
			}
		}
		for _, a := range rig.span().Attributes() {
			if a.Key == "goos.discovery.instance" {
				exported("span", a.Value.AsString())
			}
		}
		if _, err := get(client, "http://orders/refused"); err == nil {
			t.Error("no refusal")
		}
		events := rig.happened()
		if len(events) != 1 {
			t.Fatalf("%d events", len(events))
		}
		exported("event", plain(events[0].Attributes)["goos.discovery.instance"])
	}
}
