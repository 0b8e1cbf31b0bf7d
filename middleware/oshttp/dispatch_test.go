package oshttp_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/internal/tooling/servicetest"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry"
)

// TestKilledUnderLoad kills one of three instances: no request that can be repeated fails.
func TestKilledUnderLoad(t *testing.T) {
	f := newFleet(t)
	slow := func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(time.Millisecond) // so that requests are in flight when the instance dies
		_, _ = io.Copy(w, r.Body)
	}
	nodes := []*node{f.start("orders", "a", slow), f.start("orders", "b", slow), f.start("orders", "c", slow)}
	client := f.client("orders")
	stop := servicetest.Load(8, func() error {
		_, err := get(client, "http://orders/")
		return err
	})
	idempotent := servicetest.Load(2, func() error {
		r, _ := http.NewRequest(http.MethodPost, "http://orders/", strings.NewReader("an order"))
		r.Header.Set("Idempotency-Key", "7")
		res, err := client.Do(r)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(res.Body)
		if cerr := res.Body.Close(); err != nil || cerr != nil || string(body) != "an order" {
			return fmt.Errorf("%q, %w, %w", body, err, cerr)
		}
		return nil
	})
	for _, n := range nodes {
		testenv.Eventually(t, 10*time.Second, "all instances serve", func() error {
			if n.served.Load() < 20 {
				return errors.New("few requests yet")
			}
			return nil
		})
	}
	nodes[1].kill()
	before := nodes[0].served.Load()
	testenv.Eventually(t, 10*time.Second, "the others serve", func() error {
		if nodes[0].served.Load() < before+200 {
			return errors.New("few requests yet")
		}
		return nil
	})
	for _, stop := range []func() (int64, []error){stop, idempotent} {
		if n, failed := stop(); len(failed) > 0 {
			t.Errorf("%d of %d requests failed: %v", len(failed), n, failed[0])
		}
	}
}

// TestDrainedUnderLoad restarts all instances one by one, as a deployment does: no request fails, not even one that cannot be repeated.
func TestDrainedUnderLoad(t *testing.T) {
	f := newFleet(t)
	handler := answer("ok")
	nodes := []*node{f.start("orders", "a", handler), f.start("orders", "b", handler), f.start("orders", "c", handler)}
	client := f.client("orders")
	stop := servicetest.Load(8, func() error {
		res, err := client.Post("http://orders/", "text/plain", io.MultiReader(strings.NewReader("can be read once")))
		if err != nil {
			return err
		}
		return res.Body.Close()
	})
	for i, n := range nodes {
		if err := n.registration.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.see("orders", func(s *discovery.Snapshot) bool {
			for _, i := range s.Instances {
				if i.ID == n.registration.Instance().ID {
					return i.State == discovery.Draining
				}
			}
			return false
		})
		if i == len(nodes)-1 {
			f.start("orders", "d", handler)
			f.see("orders", func(s *discovery.Snapshot) bool { return s.Instances[len(s.Instances)-1].ID == "d" })
		}
		n.idle(t)
		if err := n.registration.Close(); err != nil {
			t.Fatal(err)
		}
		if err := n.Config.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n, failed := stop(); len(failed) > 0 {
		t.Errorf("%d of %d requests failed: %v", len(failed), n, failed[0])
	}
}

// idle waits until clients have closed their connections to a drained node, and a while longer: a request that chose the node before the drain
// may still connect.
func (n *node) idle(t *testing.T) {
	t.Helper()
	last := time.Now()
	testenv.Eventually(t, 10*time.Second, "clients leave", func() error {
		if open := n.open.Load(); open > 0 {
			last = time.Now()
			return fmt.Errorf("%d connections", open)
		}
		if quiet := time.Since(last); quiet < 200*time.Millisecond {
			return fmt.Errorf("no connection for %v", quiet)
		}
		return nil
	})
}

// TestAddressReused starts payments on the port of an instance of orders that died. Its registry still lists it.
func TestAddressReused(t *testing.T) {
	f := newFleet(t)
	ours := func(services ...string) func(*httptest.Server, *discovery.Instance) {
		return func(s *httptest.Server, i *discovery.Instance) {
			next := s.Config.Handler
			s.Config.Handler = oshttp.NewHandler(next, &oshttp.HandlerOptions{Services: services, Instance: i.ID, Telemetry: telemetry.Off()})
		}
	}
	wrong := make(chan string, 100)
	paying := func(w http.ResponseWriter, r *http.Request) {
		if r.Host == "orders" {
			wrong <- r.URL.Path
		}
	}
	a := f.start("orders", "a", answer("order"), ours("orders"))
	f.start("orders", "b", answer("order"), ours("orders"))
	a.kill()
	listener, err := net.Listen("tcp", a.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	payments := f.start("payments", "p", paying, ours("payments", "refunds"), func(s *httptest.Server, _ *discovery.Instance) {
		_ = s.Listener.Close()
		s.Listener = listener
	})
	rig := newRig(t)
	services := f.services(oshttp.ServicesOptions{Telemetry: rig.providers()}, "orders", "payments")
	client := &http.Client{Transport: oshttp.NewTransport(services, &oshttp.TransportOptions{Telemetry: rig.providers(), Filter: oshttp.Everything})}
	for i := range 50 {
		path := []string{"/orders/1", "/healthz"}[i%2]
		if got, err := get(client, "http://orders"+path); err != nil || got != "order" {
			t.Fatalf("%q, %v", got, err)
		}
		res, err := client.Post("http://orders"+path, "text/plain", strings.NewReader("a body"))
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%v, %v", res, err)
		}
		_ = res.Body.Close()
	}
	if len(wrong) > 0 {
		t.Errorf("payments handled %s of orders", <-wrong)
	}
	if got := len(payments.registration.Instance().Addresses); got != 1 {
		t.Fatal(got)
	}
	if _, err := get(client, "http://payments/pay"); err != nil {
		t.Error(err)
	}
	if n := payments.served.Load(); n != 1 {
		t.Errorf("payments handled %d requests, want 1", n)
	}
	if got := rig.happened(); len(got) != 1 || got[0].EventName != "goos.http.client.instance.misdirected" {
		t.Errorf("events %v, want one of the misdirected instance", got)
	}

	plain, err := get(http.DefaultClient, payments.URL+"/orders") // names no service
	if err != nil {
		t.Error(plain, err)
	}
	r, _ := http.NewRequest(http.MethodGet, payments.URL, nil)
	r.Header.Set("Goos-Service", "orders")
	r.Header.Set("Goos-Instance", "a")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	want := "misdirected: this server is not instance \"a\" of service \"orders\": retry at another one\n"
	if res.StatusCode != http.StatusMisdirectedRequest || string(body) != want || res.Header.Get("Goos-Misdirected") != "orders" {
		t.Errorf("%s %q %v", res.Status, body, res.Header)
	}
}

// TestAllMisdirected returns the refusal if no other instance is left.
func TestAllMisdirected(t *testing.T) {
	f := newFleet(t)
	for _, id := range []string{"a", "b", "c"} {
		f.start("orders", id, answer("wrong"), func(s *httptest.Server, _ *discovery.Instance) {
			s.Config.Handler = oshttp.NewHandler(s.Config.Handler, &oshttp.HandlerOptions{Services: []string{"payments"}, Telemetry: telemetry.Off()})
		})
	}
	client := f.client("orders")
	for range 3 {
		_, err := get(client, "http://orders/")
		if err == nil || !strings.Contains(err.Error(), `421 Misdirected Request: misdirected: this server is not instance "`) {
			t.Errorf("%v", err)
		}
	}
}

// TestRepeats resends a request only when that is safe.
func TestRepeats(t *testing.T) {
	broken := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	refusing := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusMisdirectedRequest)
	}
	once := func() io.Reader { return io.MultiReader(strings.NewReader("body")) }
	again := func() io.Reader { return strings.NewReader("body") }
	tests := []struct {
		name    string
		handler http.HandlerFunc // nil: the instance is dead
		method  string
		body    func() io.Reader
		key     string
		repeats bool
	}{
		{"dead, GET", nil, http.MethodGet, nil, "", true},
		{"dead, POST", nil, http.MethodPost, again, "", true},
		{"dead, POST of a stream", nil, http.MethodPost, once, "", true},
		{"broken, GET", broken, http.MethodGet, nil, "", true},
		{"broken, DELETE", broken, http.MethodDelete, nil, "", false},
		{"broken, POST", broken, http.MethodPost, again, "", false},
		{"broken, POST with a key", broken, http.MethodPost, again, "7", true},
		{"broken, POST of a stream with a key", broken, http.MethodPost, once, "7", false},
		{"421 of its own, GET", refusing, http.MethodGet, nil, "", true},
		{"421 of its own, POST", refusing, http.MethodPost, again, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFleet(t)
			handler := tt.handler
			if handler == nil {
				handler = answer("")
			}
			var bad []*node
			for _, id := range []string{"a", "b"} { // the good one is the last that is tried
				bad = append(bad, f.start("orders", id, handler))
			}
			if tt.handler == nil {
				bad[0].kill()
				bad[1].kill()
			}
			var got atomic.Pointer[string]
			good := f.start("orders", "c", func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				text := string(body)
				got.Store(&text)
			})
			client := f.client("orders")
			for range 3 { // each begins at another instance
				var body io.Reader
				if tt.body != nil {
					body = tt.body()
				}
				r, err := http.NewRequest(tt.method, "http://orders/", body)
				if err != nil {
					t.Fatal(err)
				}
				if tt.key != "" {
					r.Header.Set("Idempotency-Key", tt.key)
				}
				res, err := client.Do(r)
				if err == nil {
					_ = res.Body.Close()
				}
				if ok := err == nil && res.StatusCode == http.StatusOK; tt.repeats && !ok {
					t.Errorf("%v, %v", res, err)
				}
			}
			total := bad[0].served.Load() + bad[1].served.Load() + good.served.Load()
			if !tt.repeats && total != 3 {
				t.Errorf("3 requests were sent %d times", total)
			}
			if text := got.Load(); text != nil && tt.body != nil && *text != "body" {
				t.Errorf("the body became %q", *text)
			}
		})
	}
}

// TestBodyClosed closes the body of a request once, however it ends.
func TestBodyClosed(t *testing.T) {
	f := newFleet(t)
	f.start("dead", "a", answer("")).kill()
	f.start("dead", "b", answer("")).kill()
	f.start("orders", "a", answer("")).kill()
	f.start("orders", "b", func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	f.start("early", "a", answer("no need to read it"))
	client := f.client("dead", "orders", "early", "unknown")
	for _, target := range []string{"http://dead/", "http://orders/", "http://orders/", "http://early/", "http://unknown/"} {
		for _, replayable := range []bool{false, true} {
			var closed, opened atomic.Int64
			open := func() (io.ReadCloser, error) {
				opened.Add(1)
				return &countedBody{Reader: strings.NewReader("body"), closed: &closed}, nil
			}
			r, err := http.NewRequest(http.MethodPost, target, nil)
			if err != nil {
				t.Fatal(err)
			}
			if r.Body, _ = open(); replayable {
				r.GetBody = open
			}
			if res, err := client.Do(r); err == nil {
				_ = res.Body.Close()
			}
			testenv.Eventually(t, 10*time.Second, target, func() error {
				if closed.Load() != opened.Load() {
					return fmt.Errorf("replayable %v: %d bodies, %d closed", replayable, opened.Load(), closed.Load())
				}
				return nil
			})
		}
	}
}

type countedBody struct {
	io.Reader
	done   atomic.Bool
	closed *atomic.Int64
}

func (b *countedBody) Close() error {
	if !b.done.Swap(true) {
		b.closed.Add(1)
	}
	return nil
}

// TestTLS verifies the name of the service, not the address, over HTTP/1.1 and HTTP/2, and shares no connection between services.
func TestTLS(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		f := newFleet(t)
		encrypted := func(s *httptest.Server, _ *discovery.Instance) { s.EnableHTTP2, s.TLS = http2, &tls.Config{} }
		n := f.start("example.com", "a", func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprint(w, r.Proto, " ", r.TLS.ServerName, " ", r.Host)
		}, encrypted)
		n.register(f, discovery.Instance{Service: "orders", ID: "a", Weight: 1, Addresses: n.registration.Instance().Addresses})
		roots := x509.NewCertPool()
		roots.AddCert(n.Certificate())
		base := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: http2}
		client := &http.Client{Transport: f.services(oshttp.ServicesOptions{Base: base}, "example.com", "orders")}
		want := map[bool]string{false: "HTTP/1.1 example.com example.com", true: "HTTP/2.0 example.com example.com"}[http2]
		for range 3 {
			if got, err := get(client, "https://example.com/"); err != nil || got != want {
				t.Errorf("%q, %v, want %q", got, err, want)
			}
		}
		if got := n.opened.Load(); got != 1 {
			t.Errorf("%d connections, want 1", got)
		}
		var name x509.HostnameError
		if _, err := get(client, "https://orders/"); !errors.As(err, &name) {
			t.Errorf("https://orders/: %v, want that the certificate is for another name", err)
		}
	}
}

// TestHTTP2OfTheBase uses HTTP/2 if the base would, although the connections are made by a dialer.
func TestHTTP2OfTheBase(t *testing.T) {
	f := newFleet(t)
	n := f.start("example.com", "a", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) },
		func(s *httptest.Server, _ *discovery.Instance) { s.EnableHTTP2 = true })
	base := &http.Transport{}
	_ = base.Clone() // creates the TLSClientConfig of a Transport without one
	base.TLSClientConfig.RootCAs = x509.NewCertPool()
	base.TLSClientConfig.RootCAs.AddCert(n.Certificate())
	client := &http.Client{Transport: f.services(oshttp.ServicesOptions{Base: base}, "example.com")}
	if got, err := get(client, "https://example.com/"); err != nil || got != "HTTP/2.0" {
		t.Errorf("%q, %v, want HTTP/2.0", got, err)
	}
}

// TestNoProxy uses no proxy for a service, and the base's proxy for other hosts.
func TestNoProxy(t *testing.T) {
	f := newFleet(t)
	f.start("orders", "a", answer("direct"))
	proxy := httptest.NewServer(answer("proxied"))
	t.Cleanup(proxy.Close)
	at, _ := url.Parse(proxy.URL)
	base := &http.Transport{Proxy: http.ProxyURL(at)}
	client := &http.Client{Transport: f.services(oshttp.ServicesOptions{Base: base}, "orders")}
	for target, want := range map[string]string{"http://orders/": "direct", "http://example.com/": "proxied"} {
		if got, err := get(client, target); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", target, got, err, want)
		}
	}
}

// TestRedirectToAService follows a redirect from one service to another.
func TestRedirectToAService(t *testing.T) {
	f := newFleet(t)
	f.start("orders", "a", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://payments/pay", http.StatusFound)
	})
	f.start("payments", "b", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, r.Host, r.URL.Path, " ", r.Header.Get("Goos-Service"), " ", r.Header.Get("Goos-Instance"))
	})
	got, err := get(&http.Client{Transport: oshttp.NewTransport(f.services(oshttp.ServicesOptions{}, "orders", "payments"), nil)}, "http://orders/")
	if want := "payments/pay payments b"; err != nil || got != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}

// TestUpgradeOfAService upgrades a connection to an instance.
func TestUpgradeOfAService(t *testing.T) {
	f := newFleet(t)
	f.start("orders", "a", func(w http.ResponseWriter, _ *http.Request) {
		conn, buffer, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		line, _ := buffer.ReadString('\n')
		_, _ = io.WriteString(conn, line)
	})
	r, _ := http.NewRequest(http.MethodGet, "http://orders/", nil)
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "echo")
	res, err := f.services(oshttp.ServicesOptions{}, "orders").RoundTrip(r)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(res, err)
	}
	conn := res.Body.(io.ReadWriteCloser)
	_, _ = io.WriteString(conn, "hello\n")
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || line != "hello\n" {
		t.Errorf("%q, %v", line, err)
	}
	_ = conn.Close()
}

// TestServiceTelemetry keeps the service as the server, and has the instance on the span.
func TestServiceTelemetry(t *testing.T) {
	f := newFleet(t)
	n := f.start("orders", "i-7", answer(""))
	rig := newRig(t)
	transport := oshttp.NewTransport(f.services(oshttp.ServicesOptions{}, "orders"), &oshttp.TransportOptions{Telemetry: rig.providers()})
	if _, err := get(&http.Client{Transport: transport}, "http://orders/path"); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(n.Listener.Addr().String())
	text := fmt.Sprint(plain(rig.span().Attributes()))
	for _, want := range []string{"server.address:orders", "url.full:http://orders/path", "goos.discovery.instance:i-7", "network.peer.address:127.0.0.1", "network.peer.port:" + port} {
		if !strings.Contains(text, want) {
			t.Errorf("the span lacks %s: %s", want, text)
		}
	}
	for _, p := range rig.durations("http.client.request.duration") {
		if set := fmt.Sprint(plain(p.Attributes.ToSlice())); !strings.Contains(set, "server.address:orders") || strings.Contains(set, "i-7") {
			t.Errorf("the metric has %s", set)
		}
	}
}

// TestForwardedNames does not forward the name of the service that a proxy was called by.
func TestForwardedNames(t *testing.T) {
	var got http.Header
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header }))
	t.Cleanup(srv.Close)
	r, _ := http.NewRequest(http.MethodGet, srv.URL, nil)
	r.Header.Set("Goos-Service", "gateway")
	r.Header.Set("Goos-Instance", "g")
	res, err := oshttp.NewTransport(nil, &oshttp.TransportOptions{Telemetry: telemetry.Off()}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if got.Get("Goos-Service") != "" || got.Get("Goos-Instance") != "" || r.Header.Get("Goos-Service") != "gateway" {
		t.Errorf("sent %v, and the request became %v", got, r.Header)
	}
}

// TestTransportPerRequest makes a Transport for each request on one Services: nothing is left behind.
func TestTransportPerRequest(t *testing.T) {
	f := newFleet(t)
	n := f.start("orders", "a", answer(""))
	services := f.services(oshttp.ServicesOptions{}, "orders")
	send := func() {
		if _, err := get(&http.Client{Transport: oshttp.NewTransport(services, &oshttp.TransportOptions{Telemetry: telemetry.Off()})}, "http://orders/"); err != nil {
			t.Fatal(err)
		}
	}
	send()
	before := runtime.NumGoroutine()
	for range 200 {
		send()
	}
	if after := runtime.NumGoroutine(); after > before+2 {
		t.Errorf("%d goroutines became %d", before, after)
	}
	if got := n.opened.Load(); got != 1 {
		t.Errorf("%d connections, want 1", got)
	}
}

// TestNothingIsLeft ends all goroutines.
func TestNothingIsLeft(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("use", func(t *testing.T) {
		f := newFleet(t)
		f.start("orders", "a", answer(""))
		client := f.client("orders")
		for range 10 {
			if _, err := get(client, "http://orders/"); err != nil {
				t.Fatal(err)
			}
		}
	})
	testenv.Eventually(t, 10*time.Second, "goroutines end", func() error {
		if n := runtime.NumGoroutine(); n > before {
			var stacks bytes.Buffer
			buffer := make([]byte, 1<<16)
			stacks.Write(buffer[:runtime.Stack(buffer, true)])
			return fmt.Errorf("%d goroutines became %d:\n%s", before, n, stacks.String())
		}
		return nil
	})
}
