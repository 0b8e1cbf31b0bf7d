package oshttp_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry"
)

// The deadline of a handshake does not apply to the connection, whoever set it.
func TestWebsocketOutlivesTheDeadlineOfItsHandshake(t *testing.T) {
	const handshake = 250 * time.Millisecond
	for name, opts := range map[string]oshttp.HandlerOptions{
		"Timeout":             {Timeout: handshake},
		"the caller's header": {DeadlineHeader: oshttp.DefaultDeadlineHeader},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			srv := g.serve(g.handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				conn, err := websocket.Accept(w, r, nil)
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.CloseNow()
				for kind, message, err := conn.Read(r.Context()); err == nil; kind, message, err = conn.Read(r.Context()) {
					if conn.Write(r.Context(), kind, message) != nil {
						return
					}
				}
			}), opts))
			ctx, cancel := context.WithTimeout(t.Context(), handshake)
			defer cancel()
			conn, _, err := websocket.Dial(ctx, srv.URL, &websocket.DialOptions{HTTPClient: &http.Client{
				Transport: oshttp.NewTransport(nil, &oshttp.TransportOptions{
					Telemetry: telemetry.Off(), DeadlineHeader: oshttp.DefaultDeadlineHeader}),
			}})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.CloseNow()
			time.Sleep(2 * handshake)
			if err := conn.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
				t.Fatal(err)
			}
			if _, got, err := conn.Read(t.Context()); err != nil || string(got) != "hello" {
				t.Errorf("after the deadline of the handshake the connection gives %q, %v", got, err)
			}
			conn.CloseNow()
			g.wait()
			if got := plain(g.span().Attributes()); got["error.type"] != "" || got["http.response.status_code"] != "101" {
				t.Errorf("the span has %v", got)
			}
		})
	}
}

// upgradable is a ResponseWriter whose connection can be hijacked.
type upgradable struct{ *httptest.ResponseRecorder }

func (upgradable) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, nil }

// An upgrade request has its deadline until it is upgraded.
func TestHandshakeContext(t *testing.T) {
	const limit = time.Second
	upgrade := func(w http.ResponseWriter, _ *http.Request) { _, _, _ = http.NewResponseController(w).Hijack() }
	for _, test := range []struct {
		name    string
		change  func(*http.Request)
		upgrade func(http.ResponseWriter, *http.Request)
		outer   time.Duration // the deadline of the server's context
		want    error         // what the context ends with, after two seconds
		after   time.Duration
	}{
		{"no upgrade", func(r *http.Request) {}, func(http.ResponseWriter, *http.Request) {}, 0, context.DeadlineExceeded, limit},
		{"asked for, not done", func(r *http.Request) { r.Header.Set("Upgrade", "x") }, func(http.ResponseWriter, *http.Request) {}, 0, context.DeadlineExceeded, limit},
		{"hijacked", func(r *http.Request) { r.Header.Set("Upgrade", "x") }, upgrade, 0, nil, 2 * limit},
		{"switching protocols", func(r *http.Request) { r.Header.Set("Upgrade", "x") },
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusSwitchingProtocols) }, 0, nil, 2 * limit},
		{"refused", func(r *http.Request) { r.Header.Set("Upgrade", "x") },
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, 0, context.DeadlineExceeded, limit},
		{"tunnel", func(r *http.Request) { r.Method = http.MethodConnect },
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }, 0, nil, 2 * limit},
		{"tunnel refused", func(r *http.Request) { r.Method = http.MethodConnect },
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, 0, context.DeadlineExceeded, limit},
		{"the server's own deadline stays", func(r *http.Request) { r.Header.Set("Upgrade", "x") }, upgrade, limit + limit/2, context.DeadlineExceeded, limit + limit/2},
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			h := oshttp.NewHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if at, ok := r.Context().Deadline(); !ok || at.Sub(start) != limit {
					t.Errorf("%s: the deadline of the handshake is %v, %t", test.name, at, ok)
				}
				child, cancel := context.WithCancel(context.WithValue(r.Context(), nameless{}, 1))
				defer cancel()
				test.upgrade(w, r)
				select {
				case <-r.Context().Done():
				case <-time.After(2 * limit):
				}
				synctest.Wait()
				if err := r.Context().Err(); !errors.Is(err, test.want) || time.Since(start) != test.after || !errors.Is(child.Err(), test.want) {
					t.Errorf("%s: after %v the context has ended with %v, and its child with %v; want %v after %v",
						test.name, time.Since(start), err, child.Err(), test.want, test.after)
				}
				if _, limited := r.Context().Deadline(); limited != (test.want != nil) {
					t.Errorf("%s: there is a deadline: %t", test.name, limited)
				}
			}), &oshttp.HandlerOptions{Telemetry: telemetry.Off(), Timeout: limit})
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			test.change(r)
			if test.outer > 0 {
				ctx, cancel := context.WithTimeout(t.Context(), test.outer)
				defer cancel()
				r = r.WithContext(ctx)
			}
			defer func() { _ = recover() }() // a refusal that is cut is aborted
			h.ServeHTTP(upgradable{httptest.NewRecorder()}, r)
		})
	}
}

type nameless struct{}

// A context whose deadline was lifted still ends with the request, and so do its goroutines.
func TestHandshakeContextEndsWithTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ctx context.Context
		h := oshttp.NewHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx = r.Context()
			_, _, _ = http.NewResponseController(w).Hijack()
		}), &oshttp.HandlerOptions{Telemetry: telemetry.Off(), Timeout: time.Second})
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Upgrade", "x")
		h.ServeHTTP(upgradable{httptest.NewRecorder()}, r)
		if !errors.Is(ctx.Err(), context.Canceled) {
			t.Errorf("after the request its context has %v", ctx.Err())
		}
	})
}

// A request without time left is refused even if it asks for an upgrade.
func TestSpentHandshakeIsRefused(t *testing.T) {
	h := oshttp.NewHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "served") }),
		&oshttp.HandlerOptions{Telemetry: telemetry.Off(), DeadlineHeader: oshttp.DefaultDeadlineHeader})
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Upgrade", "x")
	r.Header.Set(oshttp.DefaultDeadlineHeader, "0")
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	if rec.Code != http.StatusGatewayTimeout {
		t.Errorf("answer %d, want 504", rec.Code)
	}
}
