package oshttp_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/semconv/v1.43.0/httpconv"
	"go.opentelemetry.io/otel/trace"

	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry"
)

// described is implemented by the typed instruments of httpconv.
type described interface {
	Name() string
	Unit() string
	Description() string
}

const everyMetric = oshttp.MetricDuration | oshttp.MetricActiveRequests |
	oshttp.MetricRequestBodySize | oshttp.MetricResponseBodySize

// exchangeOnce sends one request through an instrumented client and an instrumented server, each with its own rig.
func exchangeOnce(t *testing.T) (server, client *rig) {
	t.Helper()
	server, client = newRig(t), newRig(t)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /users/{id}", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusBadGateway)
		_, _ = io.WriteString(w, "12345")
	})
	srv := server.serve(server.handler(mux, oshttp.HandlerOptions{Metrics: everyMetric}))
	transport := oshttp.NewTransport(srv.Client().Transport, &oshttp.TransportOptions{
		Telemetry: client.providers(), Metrics: oshttp.MetricDuration | oshttp.MetricActiveRequests})
	r := newRequest(t, http.MethodPost, srv.URL+"/users/42?sig=secret&q=1",
		io.MultiReader(strings.NewReader("123"))) // of unknown length
	r.Header.Set("User-Agent", "test/1")
	fetch(t, &http.Client{Transport: transport}, r)
	server.wait()
	return server, client
}

func TestMetricsFollowTheConventions(t *testing.T) {
	server, client := exchangeOnce(t)
	seconds := []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}
	ended := []string{"error.type", "http.request.method", "http.response.status_code", "network.protocol.version"}
	served := append([]string{"http.route", "url.scheme"}, ended...)
	called := append([]string{"server.address", "server.port"}, ended...)
	for _, test := range []struct {
		rig    *rig
		conv   described
		name   string
		unit   string
		keys   []string
		bounds []float64
	}{
		{server, httpconv.ServerRequestDuration{}, "http.server.request.duration", "s", served, seconds},
		{server, httpconv.ServerActiveRequests{}, "http.server.active_requests", "{request}",
			[]string{"http.request.method", "url.scheme"}, nil},
		{server, httpconv.ServerRequestBodySize{}, "http.server.request.body.size", "By", served, nil},
		{server, httpconv.ServerResponseBodySize{}, "http.server.response.body.size", "By", served, nil},
		{client, httpconv.ClientRequestDuration{}, "http.client.request.duration", "s", called, seconds},
		{client, httpconv.ClientActiveRequests{}, "http.client.active_requests", "{request}",
			[]string{"http.request.method", "server.address", "server.port", "url.scheme"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.conv.Name() != test.name || test.conv.Unit() != test.unit {
				t.Fatalf("httpconv says %s in %s, the test %s in %s", test.conv.Name(), test.conv.Unit(), test.name, test.unit)
			}
			m, ok := test.rig.metrics()[test.name]
			if !ok {
				t.Fatal("no such metric")
			}
			if m.Unit != test.unit || m.Description != test.conv.Description() {
				t.Errorf("unit %q, description %q, want %q, %q", m.Unit, m.Description, test.unit, test.conv.Description())
			}
			keys, bounds := keysOf(t, m)
			slices.Sort(test.keys)
			if !slices.Equal(keys, test.keys) {
				t.Errorf("attributes %v, want %v", keys, test.keys)
			}
			if test.bounds != nil && !slices.Equal(bounds, test.bounds) {
				t.Errorf("bounds %v, want %v", bounds, test.bounds)
			}
		})
	}
}

// keysOf returns the attribute keys of the only series of a metric, and its bounds if it is a histogram.
func keysOf(t *testing.T, m metricdata.Metrics) (keys []string, bounds []float64) {
	t.Helper()
	var sets []attribute.Set
	switch data := m.Data.(type) {
	case metricdata.Histogram[float64]:
		for _, p := range data.DataPoints {
			sets, bounds = append(sets, p.Attributes), p.Bounds
		}
	case metricdata.Histogram[int64]:
		for _, p := range data.DataPoints {
			sets, bounds = append(sets, p.Attributes), p.Bounds
		}
	case metricdata.Sum[int64]:
		for _, p := range data.DataPoints {
			sets = append(sets, p.Attributes)
		}
	}
	if len(sets) != 1 {
		t.Fatalf("%d series, want 1", len(sets))
	}
	for _, a := range sets[0].ToSlice() {
		keys = append(keys, string(a.Key))
	}
	slices.Sort(keys)
	return keys, bounds
}

func TestSpansFollowTheConventions(t *testing.T) {
	server, client := exchangeOnce(t)
	s, c := server.span(), client.span()
	if s.Name() != "POST /users/{id}" || s.SpanKind() != trace.SpanKindServer {
		t.Errorf("server span %q of kind %s, want POST /users/{id} of kind server", s.Name(), s.SpanKind())
	}
	if c.Name() != "POST" || c.SpanKind() != trace.SpanKindClient {
		t.Errorf("client span %q of kind %s, want POST of kind client", c.Name(), c.SpanKind())
	}
	if s.Parent().SpanID() != c.SpanContext().SpanID() || !s.Parent().IsRemote() {
		t.Errorf("the server span's parent is %s, want the client span %s", s.Parent().SpanID(), c.SpanContext().SpanID())
	}
	if got := s.InstrumentationScope(); got.Name != "github.com/go-os/go-os/middleware/oshttp" || got.SchemaURL != telemetry.SchemaURL {
		t.Errorf("scope %+v", got)
	}
	sameAttributes(t, "server span", plain(s.Attributes()), map[string]string{
		"http.request.method": "POST", "url.scheme": "http", "url.path": "/users/42", "url.query": "sig=REDACTED&q=1",
		"server.address": "127.0.0.1", "server.port": "*", "network.peer.address": "127.0.0.1", "network.peer.port": "*",
		"client.address": "127.0.0.1", "user_agent.original": "test/1", "network.protocol.version": "1.1",
		"http.response.status_code": "502", "http.route": "/users/{id}", "error.type": "502",
	})
	port := plain(s.Attributes())["server.port"]
	sameAttributes(t, "client span", plain(c.Attributes()), map[string]string{
		"http.request.method": "POST", "server.address": "127.0.0.1", "server.port": port,
		"url.full":                  "http://127.0.0.1:" + port + "/users/42?sig=REDACTED&q=1",
		"http.response.status_code": "502", "network.protocol.version": "1.1", "error.type": "502",
	})
}

func TestSpanAndMetricAgreeOnTheDuration(t *testing.T) {
	server, client := exchangeOnce(t)
	for _, side := range []struct {
		rig  *rig
		name string
	}{{server, "http.server.request.duration"}, {client, "http.client.request.duration"}} {
		span, points := side.rig.span(), side.rig.durations(side.name)
		took := span.EndTime().Sub(span.StartTime()).Seconds()
		if diff := points[0].Sum - took; diff < -0.05 || diff > 0.05 {
			t.Errorf("%s is %v s, its span %v s", side.name, points[0].Sum, took)
		}
		if ex := points[0].Exemplars; len(ex) != 1 || trace.SpanID(ex[0].SpanID) != span.SpanContext().SpanID() {
			t.Errorf("%s has exemplars %v, want its span", side.name, ex)
		}
	}
}

func TestBodySizesAreWhatWasTransferred(t *testing.T) {
	server, _ := exchangeOnce(t)
	for name, want := range map[string]int64{"http.server.request.body.size": 3, "http.server.response.body.size": 5} {
		data := server.metrics()[name].Data.(metricdata.Histogram[int64])
		if got := data.DataPoints[0].Sum; got != want {
			t.Errorf("%s = %d, want %d", name, got, want)
		}
	}
}

func TestMetricsAreChosen(t *testing.T) {
	for _, test := range []struct {
		chosen oshttp.Metrics
		want   []string
	}{
		{0, []string{"http.server.active_requests", "http.server.request.duration"}},
		{oshttp.MetricDuration, []string{"http.server.request.duration"}},
		{oshttp.MetricActiveRequests, []string{"http.server.active_requests"}},
		{oshttp.MetricResponseBodySize, []string{"http.server.response.body.size"}},
	} {
		g := newRig(t)
		h := g.handler(http.NotFoundHandler(), oshttp.HandlerOptions{Metrics: test.chosen})
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
		var got []string
		for name := range g.metrics() {
			got = append(got, name)
		}
		slices.Sort(got)
		if !slices.Equal(got, test.want) {
			t.Errorf("Metrics %d makes %v, want %v", test.chosen, got, test.want)
		}
	}
}

// A view that drops an instrument turns it off; the others keep working.
func TestDroppedInstrumentCostsNothing(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	p := telemetry.Off()
	p.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader), sdkmetric.WithView(sdkmetric.NewView(
		sdkmetric.Instrument{Name: "http.server.*"}, sdkmetric.Stream{Aggregation: sdkmetric.AggregationDrop{}})))
	h := oshttp.NewHandler(http.NotFoundHandler(), &oshttp.HandlerOptions{Telemetry: p})
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	var rm metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &rm); err != nil || len(rm.ScopeMetrics) != 0 {
		t.Errorf("collected %v, %v, want nothing", rm.ScopeMetrics, err)
	}
}

// The metric is the sum over the handlers of a process, and over its requests.
func TestActiveRequestsAddUp(t *testing.T) {
	g := newRig(t)
	p := g.providers()
	entered, leave := make(chan struct{}), make(chan struct{})
	wait := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { entered <- struct{}{}; <-leave })
	for i := range 5 {
		h := oshttp.NewHandler(wait, &oshttp.HandlerOptions{Telemetry: p})
		method := []string{http.MethodGet, http.MethodPost}[i%2]
		g.serving.Go(func() { h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, "/", nil)) })
		<-entered
	}
	if n := g.active("http.server.active_requests"); n != 5 {
		t.Errorf("%d active requests, want 5", n)
	}
	if n := seriesOf(g.metrics()["http.server.active_requests"]); n != 2 {
		t.Errorf("%d series, want one for each method that was used", n)
	}
	close(leave)
	g.wait()
	if n := g.active("http.server.active_requests"); n != 0 {
		t.Errorf("%d active requests, want none", n)
	}
}

// asked is a sampler that records the attributes it receives.
type asked struct{ keys []string }

func (s *asked) Description() string { return "asked" }
func (s *asked) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	for _, a := range p.Attributes {
		s.keys = append(s.keys, string(a.Key))
	}
	return sdktrace.SamplingResult{Decision: sdktrace.RecordAndSample}
}

func TestSamplerSeesTheRequestIfAsked(t *testing.T) {
	for _, test := range []struct {
		seen           bool
		server, client []string
	}{
		{false, nil, nil},
		{true, []string{"http.request.method", "url.scheme", "url.path", "server.address", "network.peer.address",
			"network.peer.port", "client.address", "user_agent.original", "network.protocol.version"},
			[]string{"http.request.method", "server.address", "server.port", "url.full"}},
	} {
		sampler, spans := &asked{}, tracetest.NewSpanRecorder()
		p := telemetry.Off()
		p.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSampler(sampler), sdktrace.WithSpanProcessor(spans))
		oshttp.NewHandler(http.NotFoundHandler(), &oshttp.HandlerOptions{Telemetry: p, SampleByRequest: test.seen}).
			ServeHTTP(newNull(), benchRequest(sampledParent))
		if !slices.Equal(sampler.keys, test.server) {
			t.Errorf("SampleByRequest %t: the server's sampler saw %v, want %v", test.seen, sampler.keys, test.server)
		}
		sampler.keys = nil
		_, err := oshttp.NewTransport(carry(func(*http.Request) {}), &oshttp.TransportOptions{Telemetry: p, SampleByRequest: test.seen}).
			RoundTrip(benchRequest(sampledParent))
		if err != nil || !slices.Equal(sampler.keys, test.client) {
			t.Errorf("SampleByRequest %t: the client's sampler saw %v, want %v; error %v", test.seen, sampler.keys, test.client, err)
		}
		for _, s := range spans.Ended() { // either way each attribute is there, once
			if n := len(s.Attributes()); n != len(plain(s.Attributes())) || n < 5 {
				t.Errorf("SampleByRequest %t: span has %v", test.seen, s.Attributes())
			}
		}
	}
}
