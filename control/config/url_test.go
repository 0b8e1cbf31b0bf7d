package config_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/internal/tooling/configtesting"
	"github.com/go-os/go-os/telemetry"
)

// serve starts a server that answers every request with one document.
func serve(t testing.TB, contentType, text string) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = fmt.Fprint(w, text)
	}))
	t.Cleanup(server.Close)
	return server
}

// scripted is a server whose answer a test can change.
type scripted struct {
	*httptest.Server
	mu          sync.Mutex
	answer      http.HandlerFunc
	requests    atomic.Int64
	conditional atomic.Int64
}

func newScripted(t testing.TB) *scripted {
	m := &scripted{}
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.requests.Add(1)
		if r.Header.Get("If-None-Match") != "" {
			m.conditional.Add(1)
		}
		m.mu.Lock()
		answer := m.answer
		m.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(m.Close)
	return m
}

func (m *scripted) say(answer http.HandlerFunc) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answer = answer
}

// tagged returns the handler of a correct server with an ETag.
func tagged(tag, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", tag)
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("Content-Type", "application/yaml")
		_, _ = fmt.Fprint(w, text)
	}
}

// TestURL follows a server that is slow, fails or sends wrong responses, and recovers each time.
func TestURL(t *testing.T) {
	server := newScripted(t)
	server.say(tagged(`"1"`, "retries: 1\n"))
	cfg, err := config.Load[service](t.Context(), &config.Options{
		Telemetry: telemetry.Off(), Timeout: 200 * time.Millisecond, Backoff: 20 * time.Millisecond, MaxBackoff: 50 * time.Millisecond,
		Sources: []config.Source{config.URL(server.URL+"/orders?token=hunter2", &config.URLOptions{Interval: 20 * time.Millisecond, MaxSize: 10_000})},
	})
	must(t, err)
	configtesting.Follow(t, cfg)
	configtesting.Eventually(t, "conditional requests", func() bool { return server.conditional.Load() > 5 })
	stop := make(chan struct{})
	defer close(stop)
	n := 1
	for _, bad := range []struct {
		name   string
		answer http.HandlerFunc
		want   string
	}{
		{"500", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, "500 Internal Server Error"},
		{"404", http.NotFound, "404 Not Found"},
		{"401", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, "401 Unauthorized"},
		{"login page", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "<html><body>Please log in") }, "is it a login page?"},
		{"204", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, "204 No Content"},
		{"empty", tagged(`"empty"`, ""), "is empty"},
		{"cut short", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/yaml")
			w.Header().Set("Content-Length", "1000")
			_, _ = fmt.Fprint(w, "retries: 9\n")
		}, "is truncated"},
		{"another format", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprint(w, "retries: 9\n")
		}, "syntax"},
		{"no format", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/octet-stream")
			_, _ = fmt.Fprint(w, "retries: 9\n")
		}, "set URLOptions.Format"},
		{"too large", tagged(`"large"`, "name: "+strings.Repeat("x", 20_000)), "over the limit"},
		{"bad", tagged(`"bad"`, "retries: 99\n"), "must be at most 10"},
		{"slow", func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-stop:
			case <-r.Context().Done():
			}
		}, "deadline exceeded"},
		{"hangs up", func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
	} {
		server.say(bad.answer)
		configtesting.Eventually(t, bad.name, func() bool { err := cfg.Err(); return err != nil && strings.Contains(err.Error(), bad.want) })
		if cfg.Get().Retries != n {
			t.Errorf("%s: retries = %d, want %d", bad.name, cfg.Get().Retries, n)
		}
		if strings.Contains(cfg.Err().Error(), "hunter2") {
			t.Errorf("%s: the error holds the token: %v", bad.name, cfg.Err())
		}
		n = n%9 + 1
		server.say(tagged(fmt.Sprintf("%q", "good after "+bad.name), fmt.Sprintf("retries: %d\n", n)))
		configtesting.Eventually(t, "recovered after "+bad.name, func() bool { return cfg.Get().Retries == n && cfg.Err() == nil })
	}
}

// TestURLLies follows a server whose ETag does not change with the document, and one that answers 304 to an unconditional request.
func TestURLLies(t *testing.T) {
	server := newScripted(t)
	text := atomic.Pointer[string]{}
	first, second := "retries: 1\n", "retries: 2\n"
	text.Store(&first)
	server.say(func(w http.ResponseWriter, r *http.Request) { tagged(`"same"`, *text.Load())(w, r) })
	cfg := load(t, config.URL(server.URL, &config.URLOptions{Interval: 10 * time.Millisecond, Full: 300 * time.Millisecond}))
	configtesting.Follow(t, cfg)
	text.Store(&second)
	configtesting.Eventually(t, "the document behind a wrong ETag", func() bool { return cfg.Get().Retries == 2 })

	server.say(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) })
	configtesting.Eventually(t, "a 304 to a request without a condition is a problem", func() bool { return cfg.Err() != nil })
	_, err := config.Load[service](t.Context(), options(config.Required(config.URL(server.URL, nil))))
	if !errors.Is(err, config.ErrUnavailable) || !strings.Contains(err.Error(), "to a request without a condition") {
		t.Errorf("a 304 to the first request: %v", err)
	}
}

// TestURLRetryAfter: the source sends no request during Retry-After, up to ten times Interval.
func TestURLRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &answers{code: 200, text: "retries: 1\n"}
		cfg, err := config.Load[service](t.Context(), &config.Options{
			Telemetry: telemetry.Off(), Backoff: 5 * time.Millisecond, MaxBackoff: 5 * time.Millisecond,
			Sources: []config.Source{config.URL("http://config.example/a", &config.URLOptions{Interval: time.Second, Client: &http.Client{Transport: server}})},
		})
		must(t, err)
		defer configtesting.Start(t, cfg)()
		server.mu.Lock()
		server.header = http.Header{"Retry-After": {"3600"}} // more than ten times Interval
		server.mu.Unlock()
		server.set(503, "")
		time.Sleep(time.Second)
		synctest.Wait()
		if cfg.Err() == nil {
			t.Fatal("no problem")
		}
		before := server.count()
		time.Sleep(8 * time.Second)
		if n := server.count() - before; n > 0 {
			t.Errorf("%d requests during Retry-After", n)
		}
		server.set(200, "retries: 2\n")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if cfg.Get().Retries != 2 {
			t.Errorf("not followed after ten times Interval: %v", cfg.Err())
		}
	})
}

// TestURLDenied: rejected credentials are ErrDenied, not ErrUnavailable.
func TestURLDenied(t *testing.T) {
	for code, want := range map[int]error{401: config.ErrDenied, 403: config.ErrDenied, 404: config.ErrNotFound, 500: config.ErrUnavailable} {
		server := newScripted(t)
		server.say(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
		_, err := config.Load[service](t.Context(), options(config.Required(config.URL(server.URL, nil))))
		for _, class := range []error{config.ErrDenied, config.ErrNotFound, config.ErrUnavailable} {
			if errors.Is(err, class) != (class == want) {
				t.Errorf("%d: %v", code, err)
			}
		}
		if _, err := config.Load[service](t.Context(), options(config.URL(server.URL, nil))); err != nil {
			t.Errorf("%d: the source is not left out: %v", code, err)
		}
	}
}

// TestURLHeader: requests have URLOptions.Header.
func TestURLHeader(t *testing.T) {
	server := newScripted(t)
	server.say(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer x" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		tagged(`"1"`, "retries: 1\n")(w, r)
	})
	cfg := load(t, config.Required(config.URL(server.URL, &config.URLOptions{Header: http.Header{"Authorization": {"Bearer x"}}})))
	if cfg.Get().Retries != 1 {
		t.Error("not read")
	}
}
