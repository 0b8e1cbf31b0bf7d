package exporters

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
)

// liar is an HTTP server that reads every request and always gives the same answer. It counts the requests that a redirect sends
// to a separate path.
type liar struct {
	*httptest.Server
	requests, redirected atomic.Int64
}

func startLiar(t *testing.T, status int, contentType, body string) *liar {
	t.Helper()
	l := &liar{}
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { l.redirected.Add(1) }))
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.requests.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		if status >= 300 && status < 400 {
			w.Header().Set("Location", other.URL+"/elsewhere?token=SECRET")
		}
		if contentType != "" {
			w.Header().Set("Content-Type", contentType)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(func() { l.Close(); other.Close() })
	return l
}

// sendOne exports a single item of a signal, and returns its account, the log and the error of Shutdown.
func sendOne(t *testing.T, which Signal, protocol, endpoint string) (SignalHealth, *logBuffer, error) {
	t.Helper()
	environ := []string{"OTEL_TRACES_EXPORTER=none", "OTEL_METRICS_EXPORTER=none", "OTEL_LOGS_EXPORTER=none"}
	environ = append(environ, "OTEL_"+which.env()+"EXPORTER=otlp")
	p, log := setup(t, Options{Endpoint: endpoint, Protocol: protocol, Environ: environ, NoRuntimeMetrics: true})
	_, span := p.Providers().Tracer("t").Start(t.Context(), "s")
	span.End()
	p.Logger().Info("line")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := p.Shutdown(ctx)
	all := p.Health()
	return map[Signal]SignalHealth{Traces: all.Traces, Metrics: all.Metrics, Logs: all.Logs}[which], log, err
}

// TestOnlyAnOTLPAnswerConfirms sends each signal to servers that answer but accept nothing.
func TestOnlyAnOTLPAnswerConfirms(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status            int
		contentType, body string
		confirms          bool
	}{
		{200, "", "", true}, {202, "", "", true}, {204, "", "", true},
		{200, "application/x-protobuf", "", true}, {200, "application/x-protobuf; charset=utf-8", "", true},
		{200, "application/json", "{}", true}, {200, "application/json", "", true}, {200, "application/json", `{"partialSuccess":{},"later":1}`, true},
		{200, "text/html", "<html>log in first</html>", false}, {200, "text/plain", "ok", false}, {202, "text/plain", "queued", false},
		{200, "application/x-protobuf", "\xff\xff\xff", false}, {200, "application/x-protobuf", "\x1a\x02hi", false},
		{200, "application/json", `{"error":"no quota"}`, false}, {200, "application/json", `[]`, false}, {200, "application/json", `<`, false},
		{200, "application/json", `{"partialSuccess":7}`, false},
		{201, "", "", false}, {203, "", "", false}, {205, "", "", false}, {206, "", "", false}, {226, "", "", false},
		{300, "", "", false}, {301, "", "", false}, {302, "", "", false}, {303, "", "", false}, {304, "", "", false}, {305, "", "", false},
		{307, "", "", false}, {308, "", "", false},
		{400, "", "bad", false}, {404, "text/html", "<html>", false}, {500, "", "", false},
	} {
		name := strings.NewReplacer("/", "-", "\xff", "x").Replace(fmt.Sprint(c.status, c.contentType, len(c.body)))
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, which := range []Signal{Traces, Metrics, Logs} {
				l := startLiar(t, c.status, c.contentType, c.body)
				h, log, err := sendOne(t, which, HTTP, l.URL)
				balanced(t, which, h)
				confirmed := h.Emitted > 0 && h.Exported == h.Emitted && h.Dropped == 0 && err == nil
				failed := h.Emitted > 0 && h.Exported == 0 && h.Dropped == h.Emitted && err != nil
				if c.confirms && !confirmed || !c.confirms && !failed {
					t.Errorf("%s: %+v, %v, want confirmed %t", which, h, err, c.confirms)
				}
				if l.redirected.Load() > 0 {
					t.Errorf("%s: a redirect was followed", which)
				}
				if !c.confirms && (len(log.lines("WARN", fmt.Sprint("HTTP ", c.status), "remedy=")) == 0 || strings.Contains(log.String(), "SECRET")) {
					t.Errorf("%s: the log says %s", which, log)
				}
			}
		})
	}
}

// TestARedirectIsNamedWithItsRemedy expects the location that the endpoint should name, without its secrets.
func TestARedirectIsNamedWithItsRemedy(t *testing.T) {
	t.Parallel()
	l := startLiar(t, 308, "", "")
	_, log, err := sendOne(t, Traces, HTTPJSON, l.URL)
	for _, text := range []string{"/elsewhere", "not followed"} {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%q is not in %v", text, err)
		}
	}
	if len(log.lines("remedy=\"the endpoint redirects")) != 1 {
		t.Error(log)
	}
}

// TestPartialSuccessInEveryEncoding uses a peer whose answer rejects one item, in the encodings and content types that peers
// use.
func TestPartialSuccessInEveryEncoding(t *testing.T) {
	t.Parallel()
	field := map[Signal]string{Traces: "rejectedSpans", Logs: "rejectedLogRecords", Metrics: "rejectedDataPoints"}
	for which, name := range field {
		for contentType, body := range map[string]string{
			"application/x-protobuf; v=1": "\x0a\x02\x08\x01", "application/protobuf": "\x0a\x02\x08\x01",
			"application/json": `{"partialSuccess":{"` + name + `":"1"}}`,
		} {
			l := startLiar(t, 200, contentType, body)
			h, _, err := sendOne(t, which, HTTP, l.URL)
			if h.Dropped != 1 || err == nil {
				t.Errorf("%s, %s: %+v, %v; want one dropped", which, contentType, h, err)
			}
		}
	}
}

// TestTheReasonOfARefusalIsShortAndReadable uses peers that refuse with the Status that OTLP requires, and with a page of HTML.
func TestTheReasonOfARefusalIsShortAndReadable(t *testing.T) {
	t.Parallel()
	encoded, err := proto.Marshal(&status.Status{Code: 3, Message: "span has no name"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ contentType, body, want string }{
		{"application/x-protobuf", string(encoded), "HTTP 400 Bad Request: span has no name"},
		{"text/html", "<html>\n\x1b[2J\t" + strings.Repeat("x", 1<<20), "HTTP 400 Bad Request: <html> [2J xxx"},
	} {
		l := startLiar(t, 400, c.contentType, c.body)
		_, log, err := sendOne(t, Logs, HTTP, l.URL)
		if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 2*maxReason || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.300q, want %q", fmt.Sprint(err), c.want)
		}
		if n := len(log.String()); n > 2000 {
			t.Errorf("the log has %d bytes", n)
		}
	}
}
