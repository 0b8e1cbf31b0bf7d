package exporters

import (
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// hostile starts an endpoint that reads every request and answers by its number, from 1.
func hostile(t *testing.T, serve func(request int64, w http.ResponseWriter, r *http.Request)) string {
	t.Helper()
	var n atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", protobufType)
		serve(n.Add(1), w, r)
	}))
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return srv.URL
}

// onlyTraces exports one span over HTTP and returns its account and the error of Shutdown.
func onlyTraces(t *testing.T, o Options, within time.Duration) (SignalHealth, string, error) {
	t.Helper()
	o.Environ = append(o.Environ, "OTEL_METRICS_EXPORTER=none", "OTEL_LOGS_EXPORTER=none")
	o.NoRuntimeMetrics = true
	p, lines := setup(t, o)
	_, span := p.Providers().Tracer("t").Start(t.Context(), "s")
	span.End()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	start := time.Now()
	err := p.Shutdown(ctx)
	if took := time.Since(start); took > within+2*time.Second {
		t.Errorf("Shutdown took %v of %v", took, within)
	}
	h := p.Health().Traces
	balanced(t, Traces, h)
	return h, lines.String(), err
}

// A peer that requests a wait until a date gets its request at that time, and no sooner.
func TestRetryAfterADate(t *testing.T) {
	var first, second atomic.Int64
	url := hostile(t, func(n int64, w http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			first.Store(time.Now().UnixNano())
			w.Header().Set("Retry-After", time.Now().Add(2*time.Second).UTC().Format(http.TimeFormat))
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		second.Store(time.Now().UnixNano())
	})
	h, lines, err := onlyTraces(t, Options{Endpoint: url}, 20*time.Second)
	if waited := time.Duration(second.Load() - first.Load()); err != nil || h.Exported != 1 || waited < 900*time.Millisecond { // a date has whole seconds
		t.Errorf("exported %d after %v, %v\n%s", h.Exported, waited, err, lines)
	}
}

// Intermediaries between an exporter and its collector do not change which answers count.
func TestAnswersOnTheWay(t *testing.T) {
	zipped := func(w http.ResponseWriter, r *http.Request, status int, body string) {
		if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			t.Error("the exporter does not accept gzip")
		}
		w.Header().Set("Content-Encoding", "gzip")
		w.WriteHeader(status)
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, body)
		_ = z.Close()
	}
	for name, test := range map[string]struct {
		serve    func(n int64, w http.ResponseWriter, r *http.Request)
		exported int64
		says     string
	}{
		"an empty answer, compressed": {func(_ int64, w http.ResponseWriter, r *http.Request) { zipped(w, r, 200, "") }, 1, ""},
		"a page, compressed": {func(_ int64, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			zipped(w, r, 200, "<html>welcome</html>")
		}, 0, "no OTLP answer"},
		"a refusal, compressed": {func(_ int64, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			zipped(w, r, 400, "the tenant is unknown")
		}, 0, "the tenant is unknown"},
		"early hints": {func(_ int64, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "</style.css>")
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusOK)
		}, 1, ""},
		"a proxy whose upstream is late, once": {func(n int64, w http.ResponseWriter, _ *http.Request) {
			if n == 1 {
				w.Header().Set("Content-Type", "text/html")
				w.WriteHeader(http.StatusGatewayTimeout)
				_, _ = io.WriteString(w, "<html>504</html>")
			}
		}, 1, ""},
		"an answer that breaks off, once": {func(n int64, w http.ResponseWriter, _ *http.Request) {
			if n == 1 {
				w.Header().Set("Content-Length", "100")
				_, _ = io.WriteString(w, "x")
			}
		}, 1, ""},
		"a proxy that asks for a password": {func(_ int64, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Proxy-Authenticate", "Basic")
			w.WriteHeader(http.StatusProxyAuthRequired)
		}, 0, "407"},
		"a bomb": {func(_ int64, w http.ResponseWriter, r *http.Request) {
			zipped(w, r, 200, strings.Repeat("\x00", maxConfirmation+1))
		}, 0, "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			h, lines, err := onlyTraces(t, Options{Endpoint: hostile(t, test.serve)}, 20*time.Second)
			if h.Exported != test.exported || (err == nil) != (test.exported == 1) || !strings.Contains(lines, test.says) {
				t.Errorf("exported %d, want %d with %q: %v\n%s", h.Exported, test.exported, test.says, err, lines)
			}
		})
	}
}

// A peer that sends headers and then nothing holds an export no longer than its timeout.
func TestAnswerWithoutAnEnd(t *testing.T) {
	url := hostile(t, func(_ int64, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "10")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	h, lines, err := onlyTraces(t, Options{Endpoint: url}, time.Second)
	if err == nil || h.Exported != 0 || h.Dropped != 1 {
		t.Errorf("exported %d, dropped %d, %v\n%s", h.Exported, h.Dropped, err, lines)
	}
}

// A destination that hangs does not affect the other one.
func TestOneDestinationOfTwoHangs(t *testing.T) {
	url := hostile(t, func(_ int64, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	out := new(logBuffer)
	p, _ := setup(t, Options{Endpoint: url, Console: out, BatchDelay: time.Millisecond, NoRuntimeMetrics: true, Environ: []string{
		"OTEL_TRACES_EXPORTER=otlp,console", "OTEL_METRICS_EXPORTER=none", "OTEL_LOGS_EXPORTER=otlp,console",
	}})
	_, span := p.Providers().Tracer("t").Start(t.Context(), "the span")
	span.End()
	p.Logger().Info("the line")
	deadline := time.Now().Add(10 * time.Second)
	for !strings.Contains(out.String(), "the span") || !strings.Contains(out.String(), "the line") {
		if time.Now().After(deadline) {
			t.Fatalf("the console has %q", out.String())
		}
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := p.Shutdown(ctx); err == nil {
		t.Error("Shutdown reports no loss")
	}
	h := p.Health()
	for signal, s := range map[Signal]SignalHealth{Traces: h.Traces, Logs: h.Logs} {
		balanced(t, signal, s)
		if s.Exported != 1 || s.Dropped != 1 {
			t.Errorf("%s: exported %d, dropped %d, want 1 each", signal, s.Exported, s.Dropped)
		}
	}
}

// A console on a full disk loses its items, with the account and the remedy.
func TestConsoleOnAFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("needs /dev/full: ", err)
	}
	defer full.Close()
	h, lines, err := onlyTraces(t, Options{Console: full, ShutdownTimeout: 300 * time.Millisecond, Environ: []string{"OTEL_TRACES_EXPORTER=console"}}, 10*time.Second)
	if err == nil || h.Dropped != 1 || h.Exported != 0 || !strings.Contains(lines, "no space left") || !strings.Contains(lines, "Options.Console") {
		t.Errorf("dropped %d, exported %d, %v\n%s", h.Dropped, h.Exported, err, lines)
	}
}

// Each subset of the signals works without the others.
func TestEverySetOfSignals(t *testing.T) {
	for set := range 8 {
		peer := startPeer(t)
		environ := []string{}
		for i, signal := range []Signal{Traces, Metrics, Logs} {
			to := "none"
			if set&(1<<i) != 0 {
				to = "otlp"
			}
			environ = append(environ, "OTEL_"+signal.env()+"EXPORTER="+to)
		}
		p, lines := setup(t, Options{Endpoint: "http://" + peer.httpAddr, Environ: environ})
		emit(t, p, 3)
		h := drained(t, p, 10*time.Second, peer)
		for i, s := range []SignalHealth{h.Traces, h.Metrics, h.Logs} {
			if on := set&(1<<i) != 0; (s.Exported > 0) != on || s.Dropped != 0 {
				t.Errorf("%v: signal %d exported %d and dropped %d\n%s", environ, i, s.Exported, s.Dropped, lines)
			}
		}
	}
}
