package oshttp_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry"
)

func TestStrangersMakeNoSeries(t *testing.T) {
	g := newRig(t)
	mux := http.NewServeMux()
	mux.HandleFunc("/users/{id}", nothing)
	h := g.handler(mux, oshttp.HandlerOptions{Metrics: everyMetric})
	for i := range 10_000 {
		r := httptest.NewRequest(fmt.Sprintf("METHOD%d", i), fmt.Sprintf("/users/%d?n=%d", i, i), nil)
		r.Host = fmt.Sprintf("host%d.example:%d", i, i)
		r.Header.Set("User-Agent", fmt.Sprint("agent", i))
		r.Header.Set("X-Forwarded-For", fmt.Sprint("10.0.0.", i))
		h.ServeHTTP(httptest.NewRecorder(), r)
		if i%1000 == 0 {
			g.spans.Reset() // keep the recorder small
		}
	}
	points := g.durations("http.server.request.duration")
	if len(points) != 1 || points[0].Count != 10_000 {
		t.Fatalf("%d series, want one with 10,000 measurements", len(points))
	}
	sameAttributes(t, "the series", plain(points[0].Attributes.ToSlice()), map[string]string{
		"http.request.method": "_OTHER", "http.route": "/users/{id}", "url.scheme": "http",
		"http.response.status_code": "200", "network.protocol.version": "1.1",
	})
	for name, m := range g.metrics() {
		if n := seriesOf(m); n != 1 {
			t.Errorf("%s has %d series, want 1", name, n)
		}
	}
	spans := g.spans.Ended()
	last := spans[len(spans)-1]
	if got := plain(last.Attributes())["http.request.method_original"]; got != "METHOD9999" || last.Name() != "HTTP /users/{id}" {
		t.Errorf("span %q has the original method %q", last.Name(), got)
	}
}

func seriesOf(m metricdata.Metrics) int {
	switch data := m.Data.(type) {
	case metricdata.Histogram[float64]:
		return len(data.DataPoints)
	case metricdata.Histogram[int64]:
		return len(data.DataPoints)
	case metricdata.Sum[int64]:
		return len(data.DataPoints)
	}
	return -1
}

// Every attribute of a span must be bounded and UTF-8: an exporter refuses a whole batch for one bad byte.
func TestAttributesAreBoundedText(t *testing.T) {
	const mebibyte = 1 << 20
	long := strings.Repeat("\xffü", mebibyte/3)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Method = "M" + long
	r.URL.Path = "/" + long
	r.URL.RawQuery = "a=" + long + "&sig=secret"
	r.Host = long
	r.RemoteAddr = "[::1]:99999"
	for _, header := range []string{"User-Agent", "Traceparent", "Tracestate", "Baggage", oshttp.DefaultDeadlineHeader} {
		r.Header.Set(header, long)
	}
	g := newRig(t)
	g.handler(http.HandlerFunc(nothing), oshttp.HandlerOptions{
		AccessLog: true, ClientAddress: func(r *http.Request) string { return r.Header.Get("User-Agent") },
	}).ServeHTTP(httptest.NewRecorder(), r)
	attrs := g.span().Attributes()
	bounded(t, attrs)
	if len(plain(attrs)) < 8 {
		t.Errorf("attributes are missing: %v", plain(attrs))
	}
	if n := len(g.lines.String()); n > 16<<10 {
		t.Errorf("the access log's line has %d bytes", n)
	}
}

func bounded(t *testing.T, attrs []attribute.KeyValue) {
	t.Helper()
	for _, a := range attrs {
		if s := a.Value.String(); len(s) > 2048 || !utf8.ValidString(s) {
			t.Errorf("%s has %d bytes, UTF-8: %t", a.Key, len(s), utf8.ValidString(s))
		}
	}
}

// A mebibyte of headers passes the server's own limit and is bounded by the parsers; a larger one does not pass.
func TestHugeHeadersOnTheWire(t *testing.T) {
	g := newRig(t)
	srv := g.serve(g.handler(http.HandlerFunc(nothing), oshttp.HandlerOptions{}))
	for _, test := range []struct{ size, status int }{{2 << 20, 431}, {1 << 20, 200}} {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nTracestate: %s\r\nTraceparent: %s\r\n\r\n",
			strings.Repeat("x", test.size), sampledParent)
		answer := make([]byte, 12)
		_, _ = conn.Read(answer)
		if want := fmt.Sprintf("HTTP/1.1 %d", test.status); string(answer) != want {
			t.Errorf("%d bytes of headers: %q, want %q", test.size, answer, want)
		}
		conn.Close()
	}
	g.wait()
	if span := g.span(); span.Parent().TraceID().String() != sampledParent[3:35] || span.SpanContext().TraceState().Len() != 0 {
		t.Errorf("parent %v: a bad tracestate must not lose the trace", span.Parent())
	}
}

func TestMalformedContextStartsAFreshTrace(t *testing.T) {
	for _, header := range []string{
		"", "00", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", strings.ToUpper(sampledParent),
		"ff" + sampledParent[2:], sampledParent + "-extra", sampledParent[:40], "\x00\xff",
		"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
	} {
		g := newRig(t)
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["Traceparent"] = []string{header}
		g.handler(http.HandlerFunc(nothing), oshttp.HandlerOptions{}).ServeHTTP(httptest.NewRecorder(), r)
		if span := g.span(); span.Parent().IsValid() || !span.SpanContext().IsValid() {
			t.Errorf("traceparent %q: parent %v", header, span.Parent())
		}
	}
}

func TestTracestateOfSeveralLinesIsJoined(t *testing.T) {
	g := newRig(t)
	r := benchRequest(sampledParent)
	r.Header["Tracestate"] = []string{"a=1", "b=2"}
	g.handler(http.HandlerFunc(nothing), oshttp.HandlerOptions{}).ServeHTTP(httptest.NewRecorder(), r)
	if got := g.span().SpanContext().TraceState().String(); got != "a=1,b=2" {
		t.Errorf("tracestate %q, want a=1,b=2", got)
	}
}

func TestPublicEndpoint(t *testing.T) {
	g := newRig(t)
	r := benchRequest(sampledParent)
	r.Header.Set("Baggage", "tenant=stranger")
	r.Header.Set(oshttp.DefaultDeadlineHeader, "1000")
	g.handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if n := baggage.FromContext(r.Context()).Len(); n != 0 {
			t.Errorf("%d baggage members reached the handler", n)
		}
		if _, ok := r.Context().Deadline(); ok {
			t.Error("a stranger set the deadline")
		}
	}), oshttp.HandlerOptions{Public: true}).ServeHTTP(httptest.NewRecorder(), r)
	span := g.span()
	links := span.Links()
	if span.Parent().IsValid() || len(links) != 1 || links[0].SpanContext.TraceID().String() != sampledParent[3:35] {
		t.Errorf("parent %v, links %v, want none and the stranger's trace", span.Parent(), links)
	}
	if span.SpanContext().TraceID() == links[0].SpanContext.TraceID() {
		t.Error("the span is in the stranger's trace")
	}
}

// FuzzRequest sends arbitrary requests. They cause no panic and no new series, and attributes are valid text. The trace is
// the sender's only if the traceparent is valid.
func FuzzRequest(f *testing.F) {
	f.Add("GET", "/a", "x=1", "host:80", sampledParent, "a=1", "k=v", "250")
	f.Add("BREW", "/\xff", "sig=s&%73ig=t", "[::1", unsampledParent, "=,=", "k=%zz;;", "-1")
	f.Add("", "", "&&==&", ":", "00--", strings.Repeat("a=1,", 40), strings.Repeat("k=v,", 200), "99999999999")
	f.Add("GET", "/", "", "\xff:80", "", "", "", "")
	f.Add("GET", "/", "", "a:b:c]", sampledParent+"x", "\x00", "\xff=\xfe", "0")
	recorder := tracetest.NewSpanRecorder()
	p := telemetry.Off()
	p.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	p.Propagator = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	var inside trace.SpanContext
	h := oshttp.NewHandler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		inside = trace.SpanContextFromContext(r.Context())
	}), &oshttp.HandlerOptions{Telemetry: p, AccessLog: true})
	f.Fuzz(func(t *testing.T, method, path, query, host, parent, state, bag, deadline string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Method, r.URL.Path, r.URL.RawQuery, r.Host, r.RemoteAddr = method, path, query, host, host
		for key, value := range map[string]string{"Traceparent": parent, "Tracestate": state, "Baggage": bag,
			oshttp.DefaultDeadlineHeader: deadline, "User-Agent": bag} {
			r.Header[http.CanonicalHeaderKey(key)] = []string{value}
		}
		inside = trace.SpanContext{}
		h.ServeHTTP(httptest.NewRecorder(), r)
		spans := recorder.Ended()
		recorder.Reset()
		if len(spans) != 0 { // zero when the trace was continued as unsampled
			bounded(t, spans[0].Attributes())
			inside = spans[0].SpanContext()
		}
		if inside.IsValid() && len(parent) >= 35 && inside.TraceID().String() == parent[3:35] && !goodParent(parent) {
			t.Errorf("traceparent %q was continued", parent)
		}
	})
}

// goodParent reports by the grammar whether a traceparent may be continued.
func goodParent(s string) bool {
	if len(s) < 55 || s[:2] == "ff" || (s[:2] == "00" && len(s) != 55) || (len(s) > 55 && s[55] != '-') {
		return false
	}
	for i := range 55 {
		dash := i == 2 || i == 35 || i == 52
		if dash != (s[i] == '-') || (!dash && !strings.ContainsRune("0123456789abcdef", rune(s[i]))) {
			return false
		}
	}
	return strings.Trim(s[3:35], "0") != "" && strings.Trim(s[36:52], "0") != ""
}
