package oshttp_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry"
)

func TestServerDeadline(t *testing.T) {
	const none = -1 * time.Millisecond
	for _, test := range []struct {
		name   string
		opts   oshttp.HandlerOptions
		header string
		want   time.Duration
	}{
		{"no limit", oshttp.HandlerOptions{}, "", none},
		{"own limit", oshttp.HandlerOptions{Timeout: time.Second}, "", time.Second},
		{"asked for", oshttp.HandlerOptions{}, "250", 250 * time.Millisecond},
		{"shortens", oshttp.HandlerOptions{Timeout: time.Second}, "250", 250 * time.Millisecond},
		{"never extends", oshttp.HandlerOptions{Timeout: time.Second}, "5000", time.Second},
		{"malformed", oshttp.HandlerOptions{Timeout: time.Second}, "25m", time.Second},
		{"negative", oshttp.HandlerOptions{}, "-5", none},
		{"signed", oshttp.HandlerOptions{}, "+5", none},
		{"too long", oshttp.HandlerOptions{}, "00000000005", none},
		{"off", oshttp.HandlerOptions{NoDeadline: true}, "250", none},
		{"off, own limit", oshttp.HandlerOptions{NoDeadline: true, Timeout: time.Second}, "250", time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			got := none
			test.opts.Telemetry = telemetry.Off()
			h := oshttp.NewHandler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if deadline, ok := r.Context().Deadline(); ok {
					got = time.Until(deadline)
				}
			}), &test.opts)
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			if test.header != "" {
				r.Header.Set(oshttp.DefaultDeadlineHeader, test.header)
			}
			h.ServeHTTP(httptest.NewRecorder(), r)
			if got != test.want {
				t.Errorf("%s: the handler has %v, want %v", test.name, got, test.want)
			}
		})
	}
}

// A caller without time left is answered without work.
func TestSpentDeadlineIsRefused(t *testing.T) {
	g := newRig(t)
	h := g.handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the handler was called") }), oshttp.HandlerOptions{})
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set(oshttp.DefaultDeadlineHeader, "0")
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	if got := plain(g.span().Attributes())["error.type"]; rec.Code != 504 || got != "timeout" {
		t.Errorf("answer %d, error.type %q, want 504 and timeout", rec.Code, got)
	}
}

// The deadline's timer does not outlive the request.
func TestDeadlineIsReleased(t *testing.T) {
	var ctx context.Context
	h := oshttp.NewHandler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { ctx = r.Context() }),
		&oshttp.HandlerOptions{Telemetry: telemetry.Off(), Timeout: time.Hour})
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	if ctx.Err() == nil {
		t.Error("the context is alive after the request")
	}
}

// carry returns a transport that shows what it was asked to send and answers with nothing.
type carry func(*http.Request)

func (f carry) RoundTrip(r *http.Request) (*http.Response, error) {
	f(r)
	return &http.Response{StatusCode: 200, Body: http.NoBody, ProtoMajor: 1, ProtoMinor: 1, Request: r}, nil
}

func TestClientSendsTheTimeItHasLeft(t *testing.T) {
	for _, test := range []struct {
		name string
		opts oshttp.TransportOptions
		key  string
		left time.Duration
		own  string
		want string
	}{
		{"whole", oshttp.TransportOptions{}, oshttp.DefaultDeadlineHeader, 250 * time.Millisecond, "", "250"},
		{"rounded up", oshttp.TransportOptions{}, oshttp.DefaultDeadlineHeader, 250*time.Millisecond + 1, "", "251"},
		{"spent", oshttp.TransportOptions{}, oshttp.DefaultDeadlineHeader, -time.Second, "", "0"},
		{"ten digits", oshttp.TransportOptions{}, oshttp.DefaultDeadlineHeader, 1e4 * time.Hour, "", "9999999999"},
		{"set by the caller", oshttp.TransportOptions{}, oshttp.DefaultDeadlineHeader, time.Second, "7", "7"},
		{"off", oshttp.TransportOptions{NoDeadline: true}, oshttp.DefaultDeadlineHeader, time.Second, "", ""},
		{"other header", oshttp.TransportOptions{DeadlineHeader: "connect-timeout-ms"}, "Connect-Timeout-Ms", time.Second, "", "1000"},
	} {
		synctest.Test(t, func(t *testing.T) {
			test.opts.Telemetry = telemetry.Off()
			var got string
			transport := oshttp.NewTransport(carry(func(r *http.Request) { got = r.Header.Get(test.key) }), &test.opts)
			ctx, cancel := context.WithTimeout(t.Context(), test.left)
			defer cancel()
			r := httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx)
			if test.own != "" {
				r.Header.Set(test.key, test.own)
			}
			if _, err := transport.RoundTrip(r); err != nil {
				t.Fatal(err)
			}
			if got != test.want {
				t.Errorf("%s: sent %q, want %q", test.name, got, test.want)
			}
		})
	}
}

// From one service to the next, over the network.
func TestDeadlinePropagates(t *testing.T) {
	g := newRig(t)
	left := make(chan time.Duration, 1)
	srv := g.serve(g.handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		deadline, _ := r.Context().Deadline()
		left <- time.Until(deadline)
	}), oshttp.HandlerOptions{Timeout: time.Hour}))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client := &http.Client{Transport: oshttp.NewTransport(nil, &oshttp.TransportOptions{Telemetry: telemetry.Off()})}
	fetch(t, client, newRequest(t, http.MethodGet, srv.URL, nil).WithContext(ctx))
	if got := <-left; got <= 0 || got > time.Minute {
		t.Errorf("the server has %s, want the minute that its caller has", strconv.FormatFloat(got.Seconds(), 'f', 3, 64))
	}
}
