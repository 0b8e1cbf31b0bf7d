package oshttp_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry"
)

// route lets the clients of the fleet choose instances by a Router with a policy.
func (f *fleet) route(p router.Policy) *router.Router {
	f.Helper()
	r, err := router.New(f.resolver, &router.Options{Policies: map[string]router.Policy{"*": p}, Telemetry: telemetry.Off()})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = r.Close() })
	f.router = r
	return r
}

// TestThroughARouter has the tests of Services that hold with a Router too: newFleet makes one for it.
func TestThroughARouter(t *testing.T) {
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"drained", TestDrainedUnderLoad},
		{"address reused", TestAddressReused},
		{"all misdirected", TestAllMisdirected},
		{"relayed refusal", TestRelayedRefusal},
		{"repeats", TestRepeats},
		{"body closed", TestBodyClosed},
		{"TLS", TestTLS},
		{"failed handshake", TestFailedHandshake},
		{"HTTP/2", TestHTTP2OfTheBase},
		{"no proxy", TestNoProxy},
		{"redirect", TestRedirectToAService},
		{"upgrade", TestUpgradeOfAService},
		{"forwarded names", TestForwardedNames},
		{"only services", TestOnlyServices},
		{"service telemetry", TestServiceTelemetry},
		{"transport per request", TestTransportPerRequest},
	} {
		t.Run(test.name, test.run)
	}
}

func TestNewServicesWithARouter(t *testing.T) {
	f := newFleet(t)
	r := f.route(router.Policy{})
	if _, err := oshttp.NewServices(nil, &oshttp.ServicesOptions{Names: []string{"orders"}, Router: r}); err != nil {
		t.Errorf("without a resolver of its own: %v", err)
	}
	for want, opts := range map[string]oshttp.ServicesOptions{
		"use router.Options.Filters and Wait": {Router: r, Timeout: time.Second},
		"Filters and Timeout beside a Router": {Router: r, Filters: []discovery.Filter{discovery.Available}},
		"Request without a Router":            {Request: func(*http.Request, *router.Request) {}},
	} {
		opts.Names = []string{"orders"}
		_, err := oshttp.NewServices(f.resolver, &opts)
		if !errors.Is(err, discovery.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want ErrInvalid with %q", err, want)
		}
	}
}

// firstSlow returns a handler whose first request waits for a signal, or until it is cancelled. It counts both.
func firstSlow(release <-chan struct{}, arrived, cancelled *atomic.Int64) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if arrived.Add(1) == 1 {
			select {
			case <-release:
			case <-r.Context().Done():
				cancelled.Add(1)
				return
			}
		}
		_, _ = io.WriteString(w, strings.Repeat("answer ", 10_000)) // more than a buffer: it is read after the race
	}
}

// TestHedge sends a second attempt. The first answer wins and can be read, and the loser is cancelled.
func TestHedge(t *testing.T) {
	f := newFleet(t)
	var arrived, cancelled atomic.Int64
	h := firstSlow(nil, &arrived, &cancelled)
	f.start("orders", "a", h)
	f.start("orders", "b", h)
	client, r := f.clientThrough(router.Policy{Hedge: router.Hedge{After: 20 * time.Millisecond}})
	body, err := get(client, "http://orders/")
	if err != nil || len(body) != 70_000 {
		t.Fatalf("%d bytes, %v", len(body), err)
	}
	testenv.Eventually(t, 5*time.Second, "the loser is cancelled", func() error {
		if n := cancelled.Load(); n != 1 {
			return fmt.Errorf("%d cancelled", n)
		}
		for _, e := range r.Status()[0].Endpoints {
			if e.InFlight != 0 || e.State != "available" {
				return fmt.Errorf("%s: %d in flight, %s", e.ID, e.InFlight, e.State)
			}
		}
		return nil
	})
}

// TestNeverHedged has requests that must be sent once, however slow they are.
func TestNeverHedged(t *testing.T) {
	for _, test := range []struct {
		name    string
		request func() *http.Request
	}{
		{"POST", func() *http.Request {
			r, _ := http.NewRequest("POST", "http://orders/", strings.NewReader("body"))
			return r
		}},
		{"body that can be read once", func() *http.Request {
			r, _ := http.NewRequest("POST", "http://orders/", io.MultiReader(strings.NewReader("body")))
			r.Header.Set("Idempotency-Key", "7")
			return r
		}},
		{"stream of events", func() *http.Request {
			r, _ := http.NewRequest("GET", "http://orders/", nil)
			r.Header.Set("Accept", "text/event-stream")
			return r
		}},
		{"a chain's retry", func() *http.Request {
			r, _ := http.NewRequestWithContext(router.WithoutRetries(context.Background()), "GET", "http://orders/", nil)
			return r
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFleet(t)
			var arrived, cancelled atomic.Int64
			release := make(chan struct{})
			h := firstSlow(release, &arrived, &cancelled)
			f.start("orders", "a", h)
			f.start("orders", "b", h)
			client, _ := f.clientThrough(router.Policy{Hedge: router.Hedge{After: time.Millisecond}})
			time.AfterFunc(50*time.Millisecond, func() { close(release) })
			res, err := client.Do(test.request())
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			if n := arrived.Load(); n != 1 || cancelled.Load() != 0 {
				t.Errorf("sent %d times, want once", n)
			}
		})
	}
}

// TestUpgradeWithHedges upgrades slowly. The connection is neither repeated nor cut, and counts as in flight for its life.
func TestUpgradeWithHedges(t *testing.T) {
	f := newFleet(t)
	var arrived atomic.Int64
	h := func(w http.ResponseWriter, _ *http.Request) {
		arrived.Add(1)
		time.Sleep(30 * time.Millisecond)
		conn, buffer, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		for {
			line, err := buffer.ReadString('\n')
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, line)
		}
	}
	f.start("orders", "a", h)
	f.start("orders", "b", h)
	client, r := f.clientThrough(router.Policy{
		Timeout: 20 * time.Millisecond, Hedge: router.Hedge{After: time.Millisecond}, Retry: router.Retry{Timeout: 10 * time.Millisecond},
	})
	request, _ := http.NewRequest("GET", "http://orders/", nil)
	request.Header.Set("Connection", "Upgrade")
	request.Header.Set("Upgrade", "echo")
	res, err := client.Transport.RoundTrip(request)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(res, err)
	}
	conn := res.Body.(io.ReadWriteCloser)
	lines := bufio.NewReader(conn)
	for range 3 {
		time.Sleep(20 * time.Millisecond)
		_, _ = io.WriteString(conn, "hello\n")
		if line, err := lines.ReadString('\n'); err != nil || line != "hello\n" {
			t.Fatalf("%q, %v", line, err)
		}
	}
	if n := r.Status()[0].InFlight; n != 1 || arrived.Load() != 1 {
		t.Errorf("%d in flight and %d requests, want 1 of both", n, arrived.Load())
	}
	_ = conn.Close()
	if n := r.Status()[0].InFlight; n != 0 {
		t.Errorf("%d in flight after Close, want 0", n)
	}
}

// TestPushback obeys Retry-After, and marks the retry.
func TestPushback(t *testing.T) {
	f := newFleet(t)
	var attempts atomic.Int64
	marks := make(chan string, 3)
	h := func(w http.ResponseWriter, r *http.Request) {
		marks <- r.Header.Get("Goos-Attempt") + " " + r.Header.Get(oshttp.DefaultDeadlineHeader)
		if attempts.Add(1) == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}
	f.start("orders", "a", h)
	f.start("orders", "b", h)
	router := f.route(router.Policy{})
	rig := newRig(t)
	transport := oshttp.NewTransport(f.services(oshttp.ServicesOptions{Router: router}, "orders"), &oshttp.TransportOptions{
		Telemetry: rig.providers(), DeadlineHeader: oshttp.DefaultDeadlineHeader,
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, _ := http.NewRequestWithContext(ctx, "GET", "http://orders/", nil)
	began := time.Now()
	res, err := transport.RoundTrip(r)
	if err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	_ = res.Body.Close()
	if took := time.Since(began); took < time.Second {
		t.Errorf("retried after %v, want the second that the server asked for", took)
	}
	var first, second int
	if _, err := fmt.Sscanf(<-marks+" "+<-marks, "%d 2 %d", &first, &second); err != nil || second > first-900 {
		t.Errorf("the deadlines were %d and %d ms, want that of the second attempt a second shorter (%v)", first, second, err)
	}
	if got := plain(rig.span().Attributes())["http.request.resend_count"]; got != "1" {
		t.Errorf("http.request.resend_count is %q, want 1", got)
	}
}

// TestOwnFault makes requests that fail for their own sake. They charge no instance, and are not repeated.
func TestOwnFault(t *testing.T) {
	put := func(body io.Reader, change func(*http.Request)) *http.Request {
		r, _ := http.NewRequest("PUT", "http://orders/", body)
		r.Header.Set("Idempotency-Key", "7")
		change(r)
		return r
	}
	failing := func() io.Reader { return io.MultiReader(strings.NewReader("body"), failingReader{}) }
	for name, request := range map[string]func() *http.Request{
		"invalid header": func() *http.Request { return put(nil, func(r *http.Request) { r.Header["Bad Name"] = []string{"v"} }) },
		"invalid value":  func() *http.Request { return put(nil, func(r *http.Request) { r.Header["Name"] = []string{"a\nb"} }) },
		"invalid URL":    func() *http.Request { return put(nil, func(r *http.Request) { r.URL.RawQuery = "a=\n" }) },
		"invalid trailer": func() *http.Request {
			return put(failing(), func(r *http.Request) { r.Trailer = http.Header{"Content-Length": {"1"}} })
		},
		"body too short": func() *http.Request {
			return put(strings.NewReader("abc"), func(r *http.Request) { r.ContentLength = 9 })
		},
		"body too long": func() *http.Request {
			return put(strings.NewReader("abc"), func(r *http.Request) { r.ContentLength = 2 })
		},
		"too short, read once": func() *http.Request {
			return put(io.MultiReader(strings.NewReader("abc")), func(r *http.Request) { r.ContentLength = 9 })
		},
		"broken body, read once": func() *http.Request { return put(failing(), func(*http.Request) {}) },
		"broken body": func() *http.Request {
			return put(failing(), func(r *http.Request) {
				r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(failing()), nil }
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t)
			drain := func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }
			f.start("orders", "a", drain)
			f.start("orders", "b", drain)
			rt := f.route(router.Policy{Balance: router.Balance{Algorithm: router.RoundRobin}})
			transport := f.services(oshttp.ServicesOptions{}, "orders")
			failed := 0
			for range 10 {
				res, err := transport.RoundTrip(request())
				if err != nil {
					failed++
				} else {
					_ = res.Body.Close() // the server was faster than the check of the body
				}
			}
			if failed == 0 {
				t.Error("no request failed: the test shows nothing")
			}
			for _, e := range rt.Status()[0].Endpoints {
				if e.Failures != 0 || e.State != "available" || e.InFlight != 0 {
					t.Errorf("%s is %s with %v failures and %d in flight", e.ID, e.State, e.Failures, e.InFlight)
				}
			}
		})
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errors.New("of a test") }

// TestRoutedErrors has the error.type of requests without an answer.
func TestRoutedErrors(t *testing.T) {
	f := newFleet(t)
	f.start("orders", "a", answer("ok"))
	rt := f.route(router.Policy{Limits: router.Limits{Rate: 0.001, Burst: 1}})
	rig := newRig(t)
	transport := oshttp.NewTransport(f.services(oshttp.ServicesOptions{Router: rt}, "orders"), &oshttp.TransportOptions{Telemetry: rig.providers()})
	client := &http.Client{Transport: transport}
	if _, err := get(client, "http://orders/"); err != nil {
		t.Fatal(err)
	}
	if _, err := get(client, "http://orders/"); !errors.Is(err, router.ErrRejected) || !errors.Is(err, router.ErrLimited) {
		t.Errorf("error is %v, want ErrRejected and ErrLimited", err)
	}
	_ = rt.Close()
	if _, err := get(client, "http://orders/"); !errors.Is(err, router.ErrClosed) {
		t.Errorf("error is %v, want ErrClosed", err)
	}
	var types []string
	for _, span := range rig.spans.Ended() {
		types = append(types, plain(span.Attributes())["error.type"])
	}
	if got := strings.Join(types, " "); got != " limited closed" {
		t.Errorf("error.type of the three requests: %q", got)
	}
}
