package config_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/driver"
	"github.com/go-os/go-os/internal/tooling/configtesting"
	"github.com/go-os/go-os/telemetry"
)

// answers is a transport that responds at once, so that requests take no time in a synctest bubble.
type answers struct {
	mu       sync.Mutex
	code     int
	header   http.Header
	text     string
	requests int
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests++
	header := a.header.Clone()
	if header == nil {
		header = http.Header{}
	}
	header.Set("Content-Type", "application/yaml")
	return &http.Response{StatusCode: a.code, Status: http.StatusText(a.code), Header: header, Body: io.NopCloser(strings.NewReader(a.text)), Request: r}, nil
}

func (a *answers) set(code int, text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.code, a.text = code, text
}

func (a *answers) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.requests
}

// TestURLSchedule counts the requests of a good and of a failing URL. Backoff and Recheck are much shorter than its Interval.
func TestURLSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &answers{code: 200, text: "retries: 1\n"}
		cfg, err := config.Load[service](t.Context(), &config.Options{
			Telemetry: telemetry.Off(), Backoff: 50 * time.Millisecond, MaxBackoff: 50 * time.Millisecond, Recheck: 200 * time.Millisecond,
			Sources: []config.Source{config.URL("http://config.example/a", &config.URLOptions{Interval: time.Second, Client: &http.Client{Transport: server}})},
		})
		must(t, err)
		defer configtesting.Start(t, cfg)()
		during := func(what string, d time.Duration, least, most int) {
			t.Helper()
			before := server.count()
			time.Sleep(d)
			synctest.Wait()
			if n := server.count() - before; n < least || n > most {
				t.Errorf("%s: %d requests in %v, want %d to %d", what, n, d, least, most)
			}
		}
		during("good", time.Minute, 59, 68)
		server.set(200, "retries: 2\n")
		during("a change", 10*time.Second, 9, 12)
		if got := cfg.Get().Retries; got != 2 {
			t.Errorf("retries: %d", got)
		}
		server.set(200, "retries: many\n")
		during("refused", 10*time.Second, 9, 12) // the server answers, so the interval stays the same
		server.set(500, "")
		during("failing", 2*time.Second, 1, 3)
		during("failing for longer", 100*time.Second, 9, 16) // up to ten times Interval apart
		if !errors.Is(cfg.Err(), config.ErrUnavailable) {
			t.Errorf("problems: %v", cfg.Err())
		}
		server.set(200, "retries: 3\n")
		during("back", 10*time.Second, 1, 12)
		if got := cfg.Get().Retries; got != 3 || cfg.Err() != nil {
			t.Errorf("recovered: %d, %v", got, cfg.Err())
		}
	})
}

// TestURLRetryAfterDate: a date in Retry-After is relative to the clock of the server, which is an hour fast.
func TestURLRetryAfterDate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		theirs := time.Now().Add(time.Hour).UTC()
		server := &answers{code: 503, header: http.Header{
			"Date": {theirs.Format(http.TimeFormat)}, "Retry-After": {theirs.Add(5 * time.Second).Format(http.TimeFormat)},
		}}
		source := config.URL("http://config.example/a.yaml", &config.URLOptions{Interval: time.Second, Client: &http.Client{Transport: server}})
		if _, err := source.Read(t.Context()); !errors.Is(err, driver.ErrUnavailable) {
			t.Fatal(err)
		}
		if wait := source.(driver.Poller).Next(1); wait < 4*time.Second || wait > 5*time.Second {
			t.Errorf("it waits %v", wait)
		}
		server.set(200, "a: 1\n")
		time.Sleep(5 * time.Second)
		if _, err := source.Read(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestURLRedirects: redirects to the same server are followed. Neither requests nor headers reach another server.
func TestURLRedirects(t *testing.T) {
	var elsewhere atomic.Int64
	reached := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		elsewhere.Add(1)
		tagged(`"1"`, "retries: 9\n")(w, r)
	})
	other, encrypted := httptest.NewServer(reached), httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusFound)
	}))
	defer other.Close()
	defer encrypted.Close()
	own := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if to := r.URL.Query().Get("to"); to == "itself" {
			http.Redirect(w, r, r.URL.String(), http.StatusFound)
			return
		} else if to != "" {
			http.Redirect(w, r, to, http.StatusTemporaryRedirect)
			return
		}
		if r.Header.Get("X-Token") != "hunter2" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		tagged(`"1"`, "retries: 4\n")(w, r)
	}))
	defer own.Close()
	localhost := "http://localhost" + strings.TrimPrefix(own.URL, "http://127.0.0.1")
	for name, test := range map[string]struct {
		from, to string
		client   *http.Client
		want     error
	}{
		"same server":               {own.URL, "/other.yaml", nil, nil},
		"same server, whole URL":    {own.URL, own.URL + "/other.yaml", nil, nil},
		"another port":              {own.URL, other.URL + "/other.yaml", nil, config.ErrUnavailable},
		"another host":              {own.URL, localhost + "/other.yaml", nil, config.ErrUnavailable},
		"a client of the user":      {own.URL, other.URL + "/other.yaml", &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}, config.ErrUnavailable},
		"its own rule counts too":   {own.URL, "/other.yaml", &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("no") }}, config.ErrUnavailable},
		"to itself for ever":        {own.URL, "itself", nil, config.ErrUnavailable},
		"from https to http":        {encrypted.URL, other.URL, encrypted.Client(), config.ErrUnavailable},
		"from https to http, again": {encrypted.URL, "http" + strings.TrimPrefix(encrypted.URL, "https"), encrypted.Client(), config.ErrUnavailable},
	} {
		source := config.URL(test.from+"/a.yaml?to="+url.QueryEscape(test.to), &config.URLOptions{Header: http.Header{"X-Token": {"hunter2"}}, Client: test.client})
		docs, err := source.Read(t.Context())
		if !errors.Is(err, test.want) || err == nil && string(docs[0].Data) != "retries: 4\n" {
			t.Errorf("%s: %q, %v", name, docs, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error shows the token: %v", name, err)
		}
	}
	if n := elsewhere.Load(); n > 0 {
		t.Errorf("%d requests reached another server", n)
	}
}

// TestURLUpgrade: a redirect from http to https is followed on the default ports.
func TestURLUpgrade(t *testing.T) {
	hops := roundTripper(func(r *http.Request) (*http.Response, error) {
		a := &answers{code: 200, text: "retries: 4\n"}
		if r.URL.Scheme == "http" {
			a = &answers{code: 301, header: http.Header{"Location": {r.URL.Query().Get("to")}}}
		}
		return a.RoundTrip(r)
	})
	for to, want := range map[string]error{
		"https://config.example/a": nil, "https://CONFIG.example:443/a": nil, "https://config.example:8443/a": config.ErrUnavailable, "https://other.example/a": config.ErrUnavailable,
	} {
		source := config.URL("http://config.example/a?to="+url.QueryEscape(to), &config.URLOptions{Client: &http.Client{Transport: hops}})
		if _, err := source.Read(t.Context()); !errors.Is(err, want) {
			t.Errorf("%s: %v", to, err)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// stuck is a source that ignores its context until let is closed.
type stuck struct {
	reads atomic.Int64
	let   chan struct{}
}

func (*stuck) Name() string { return "stuck" }

func (s *stuck) Read(context.Context) ([]driver.Document, error) {
	s.reads.Add(1)
	<-s.let
	return []driver.Document{{Name: "stuck", Format: config.YAML, Data: []byte("retries: 7\n")}}, nil
}

// TestStuckSource: Load and Reload end in time although a source ignores its context. No second read starts meanwhile, and the source takes
// effect as soon as it answers.
func TestStuckSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stuck{let: make(chan struct{})}
		begun := time.Now()
		cfg, err := config.Load[service](t.Context(), &config.Options{Telemetry: telemetry.Off(), Timeout: time.Second, Sources: []config.Source{s}})
		must(t, err)
		if took := time.Since(begun); took > 2*time.Second || !errors.Is(cfg.Err(), config.ErrUnavailable) {
			t.Errorf("Load took %v: %v", took, cfg.Err())
		}
		begun = time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := cfg.Reload(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) > time.Second {
			t.Errorf("Reload took %v: %v", time.Since(begun), err)
		}
		stop := configtesting.Start(t, cfg)
		time.Sleep(time.Hour)
		if n := s.reads.Load(); n != 1 {
			t.Errorf("%d reads at the same time", n)
		}
		close(s.let)
		time.Sleep(time.Minute)
		if cfg.Get().Retries != 7 || cfg.Err() != nil {
			t.Errorf("%d, %v", cfg.Get().Retries, cfg.Err())
		}
		stop()
	})
}
