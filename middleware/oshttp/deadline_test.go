package oshttp_test

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry"
)

func TestServerDeadline(t *testing.T) {
	const none = -1 * time.Millisecond
	trusting := oshttp.HandlerOptions{DeadlineHeader: oshttp.DefaultDeadlineHeader}
	limited := trusting
	limited.Timeout = time.Second
	byDefault := trusting
	byDefault.Timeout, byDefault.DefaultTimeout = time.Minute, time.Second
	for _, test := range []struct {
		name   string
		opts   oshttp.HandlerOptions
		header string
		want   time.Duration
	}{
		{"no limit", trusting, "", none},
		{"own limit", limited, "", time.Second},
		{"asked for", trusting, "250", 250 * time.Millisecond},
		{"shortens", limited, "250", 250 * time.Millisecond},
		{"never extends", limited, "5000", time.Second},
		{"malformed", limited, "25m", time.Second},
		{"negative", trusting, "-5", none},
		{"signed", trusting, "+5", none},
		{"too long", trusting, "00000000005", none},
		{"nobody is trusted by default", oshttp.HandlerOptions{}, "250", none},
		{"nobody is trusted by default, own limit", oshttp.HandlerOptions{Timeout: time.Second}, "250", time.Second},
		{"strangers are not trusted", oshttp.HandlerOptions{DeadlineHeader: oshttp.DefaultDeadlineHeader, Public: true}, "250", none},
		{"the default", byDefault, "", time.Second},
		{"the default, asked for less", byDefault, "250", 250 * time.Millisecond},
		{"the default, asked for more", byDefault, "5000", 5 * time.Second},
		{"the default, asked for too much", byDefault, "90000", time.Minute},
		{"the default, malformed", byDefault, "25m", time.Second},
		{"a default over the limit", oshttp.HandlerOptions{Timeout: time.Second, DefaultTimeout: time.Minute}, "", time.Second},
		{"only a default", oshttp.HandlerOptions{DefaultTimeout: time.Second}, "", time.Second},
		{"the default of strangers", oshttp.HandlerOptions{DeadlineHeader: oshttp.DefaultDeadlineHeader, Public: true, DefaultTimeout: time.Second}, "250", time.Second},
		{"no time at all", byDefault, "0", none},
		{"negative options", oshttp.HandlerOptions{Timeout: -1, DefaultTimeout: -1}, "", none},
		{"other name", oshttp.HandlerOptions{DeadlineHeader: "connect-timeout-ms"}, "250", none},
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

// A request without time left is answered without work.
func TestSpentDeadlineIsRefused(t *testing.T) {
	g := newRig(t)
	h := g.handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the handler was called") }),
		oshttp.HandlerOptions{DeadlineHeader: oshttp.DefaultDeadlineHeader})
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

// carry is a transport that shows each request and returns an empty answer.
type carry func(*http.Request)

func (f carry) RoundTrip(r *http.Request) (*http.Response, error) {
	f(r)
	return &http.Response{StatusCode: 200, Body: http.NoBody, ProtoMajor: 1, ProtoMinor: 1, Request: r}, nil
}

func TestClientSendsTheTimeItHasLeft(t *testing.T) {
	const key = oshttp.DefaultDeadlineHeader
	trusting := oshttp.TransportOptions{DeadlineHeader: key}
	for _, test := range []struct {
		name string
		opts oshttp.TransportOptions
		key  string
		left time.Duration // 0: no deadline
		own  string        // already on the request
		want string
	}{
		{"whole", trusting, key, 250 * time.Millisecond, "", "250"},
		{"rounded up", trusting, key, 250*time.Millisecond + 1, "", "251"},
		{"spent", trusting, key, -time.Second, "", "0"},
		{"ten digits", trusting, key, 1e4 * time.Hour, "", "9999999999"},
		{"replaces what a proxy copied", trusting, key, time.Second, "7000", "1000"},
		{"removes what a proxy copied", trusting, key, 0, "7000", ""},
		{"servers are not trusted by default", oshttp.TransportOptions{}, key, time.Second, "", ""},
		{"the caller's own business by default", oshttp.TransportOptions{}, key, time.Second, "7", "7"},
		{"other header", oshttp.TransportOptions{DeadlineHeader: "connect-timeout-ms"}, "Connect-Timeout-Ms", time.Second, "", "1000"},
	} {
		synctest.Test(t, func(t *testing.T) {
			test.opts.Telemetry = telemetry.Off()
			var got string
			transport := oshttp.NewTransport(carry(func(r *http.Request) { got = r.Header.Get(test.key) }), &test.opts)
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			if test.left != 0 {
				ctx, cancel := context.WithTimeout(t.Context(), test.left)
				defer cancel()
				r = r.WithContext(ctx)
			}
			if test.own != "" {
				r.Header.Set(test.key, test.own)
			}
			if _, err := transport.RoundTrip(r); err != nil {
				t.Fatal(err)
			}
			if got != test.want {
				t.Errorf("%s: sent %q, want %q", test.name, got, test.want)
			}
			if r.Header.Get(test.key) != test.own {
				t.Errorf("%s: the caller's request was changed", test.name)
			}
		})
	}
}

// A trusted server may redirect to an untrusted one.
func TestDeadlinesDoNotFollowRedirects(t *testing.T) {
	got := map[string]bool{}
	base := roundTripper(func(r *http.Request) (*http.Response, error) {
		got[r.URL.String()] = r.Header.Get(oshttp.DefaultDeadlineHeader) != ""
		res := &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r, Header: http.Header{}}
		if next := map[string]string{"/a": "/b", "/b": "http://other.invalid/c", "/c": "/d"}[r.URL.Path]; next != "" {
			res.StatusCode = http.StatusFound
			res.Header.Set("Location", next)
		}
		return res, nil
	})
	client := &http.Client{Transport: oshttp.NewTransport(base, &oshttp.TransportOptions{
		Telemetry: telemetry.Off(), DeadlineHeader: oshttp.DefaultDeadlineHeader})}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	fetch(t, client, newRequest(t, http.MethodGet, "http://x.invalid/a", nil).WithContext(ctx))
	want := map[string]bool{"http://x.invalid/a": true, "http://x.invalid/b": true, "http://other.invalid/c": false, "http://other.invalid/d": false}
	if !maps.Equal(got, want) {
		t.Errorf("the deadline was sent to %v, want %v", got, want)
	}
}

// inProcess returns a RoundTripper that serves the request with a handler.
func inProcess(h http.Handler) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		res := rec.Result()
		res.Request = r
		return res, nil
	})
}

// A proxy that has used up part of the time passes on the rest, although it copies the header that it received.
func TestProxyPassesOnWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trusting := &oshttp.HandlerOptions{Telemetry: telemetry.Off(), DeadlineHeader: oshttp.DefaultDeadlineHeader}
		sending := &oshttp.TransportOptions{Telemetry: telemetry.Off(), DeadlineHeader: oshttp.DefaultDeadlineHeader}
		var left time.Duration
		inner := oshttp.NewHandler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			deadline, _ := r.Context().Deadline()
			left = time.Until(deadline)
		}), trusting)
		proxy := &httputil.ReverseProxy{
			Rewrite:   func(r *httputil.ProxyRequest) { r.Out.URL.Host, r.Out.URL.Scheme = "inner.invalid", "http" },
			Transport: oshttp.NewTransport(inProcess(inner), sending),
		}
		edge := oshttp.NewHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(600 * time.Millisecond)
			proxy.ServeHTTP(w, r)
		}), trusting)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r := httptest.NewRequest(http.MethodGet, "http://edge.invalid/", nil).WithContext(ctx)
		if _, err := oshttp.NewTransport(inProcess(edge), sending).RoundTrip(r); err != nil {
			t.Fatal(err)
		}
		if left != 400*time.Millisecond {
			t.Errorf("the inner service has %v, want the 400ms that are left", left)
		}
	})
}

// From one service to the next, over the network.
func TestDeadlinePropagates(t *testing.T) {
	g := newRig(t)
	left := make(chan time.Duration, 1)
	srv := g.serve(g.handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		deadline, _ := r.Context().Deadline()
		left <- time.Until(deadline)
	}), oshttp.HandlerOptions{Timeout: time.Hour, DeadlineHeader: oshttp.DefaultDeadlineHeader}))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client := &http.Client{Transport: oshttp.NewTransport(nil, &oshttp.TransportOptions{
		Telemetry: telemetry.Off(), DeadlineHeader: oshttp.DefaultDeadlineHeader})}
	fetch(t, client, newRequest(t, http.MethodGet, srv.URL, nil).WithContext(ctx))
	if got := <-left; got <= 0 || got > time.Minute {
		t.Errorf("the server has %s, want the minute that its caller has", strconv.FormatFloat(got.Seconds(), 'f', 3, 64))
	}
}
