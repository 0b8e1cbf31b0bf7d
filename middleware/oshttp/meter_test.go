package oshttp_test

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/embedded"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry"
)

// counting is a provider with one meter, which counts the registered callbacks.
type counting struct {
	embedded.MeterProvider
	meter *countingMeter
}

type countingMeter struct {
	metric.Meter
	mu        sync.Mutex
	callbacks int
}

func (p counting) Meter(string, ...metric.MeterOption) metric.Meter { return p.meter }

func (m *countingMeter) RegisterCallback(f metric.Callback, i ...metric.Observable) (metric.Registration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.callbacks++
	return m.Meter.RegisterCallback(f, i...)
}

// Some routers wrap the handler for each request. That must not leak, and must count correctly.
func TestHandlerForEachRequest(t *testing.T) {
	g := newRig(t)
	p := g.providers()
	meter := &countingMeter{Meter: p.Meter("test")}
	p.MeterProvider = counting{meter: meter}
	entered, leave := make(chan bool), make(chan bool)
	serve := func(metrics oshttp.Metrics) {
		oshttp.NewHandler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			entered <- true
			<-leave
		}), &oshttp.HandlerOptions{Telemetry: p, Metrics: metrics}).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	}
	const requests = 50
	var all sync.WaitGroup
	for i := range requests {
		metrics := []oshttp.Metrics{0, everyMetric, oshttp.MetricDuration}[i%3] // also with different choices
		all.Go(func() { serve(metrics) })
		<-entered
	}
	if got, want := g.active("http.server.active_requests"), int64(requests-requests/3); got != want {
		t.Errorf("%d requests are active, want %d", got, want)
	}
	close(leave)
	all.Wait()
	if got := g.active("http.server.active_requests"); got != 0 {
		t.Errorf("%d requests are active at the end", got)
	}
	var count uint64
	for _, point := range g.durations("http.server.request.duration") {
		count += point.Count
	}
	if count != requests || meter.callbacks != 1 {
		t.Errorf("%d requests were measured and %d callbacks registered, want %d and 1", count, meter.callbacks, requests)
	}
}

// Some programs create a client for each request. That must not leak either.
func TestTransportForEachRequest(t *testing.T) {
	p := newRig(t).providers()
	use := func(n int) {
		for range n {
			transport := oshttp.NewTransport(carry(func(*http.Request) {}), &oshttp.TransportOptions{Telemetry: p, Metrics: everyMetric})
			_, _ = transport.RoundTrip(httptest.NewRequest(http.MethodGet, "http://test.example/", nil))
		}
	}
	p.TracerProvider = telemetry.Off().TracerProvider // a recorder keeps spans
	use(100)
	before := testenv.Heap()
	use(2000)
	if grown := testenv.Heap() - before; grown > 256<<10 {
		t.Errorf("2,000 transports leave %d KiB behind", grown>>10)
	}
}

// Unused handlers and providers are garbage-collected.
func TestHandlersAndProvidersAreCollected(t *testing.T) {
	for name, provider := range map[string]func() metric.MeterProvider{
		"handlers on one provider": func() func() metric.MeterProvider {
			one := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
			return func() metric.MeterProvider { return one }
		}(),
		"handlers and providers": func() metric.MeterProvider {
			return sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
		},
	} {
		make1000 := func() {
			for range 1000 {
				p := telemetry.Off()
				p.MeterProvider = provider()
				oshttp.NewHandler(http.HandlerFunc(nothing), &oshttp.HandlerOptions{Telemetry: p}).
					ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
			}
		}
		make1000()
		before := testenv.Heap()
		make1000()
		if grown := testenv.Heap() - before; grown > 500_000 {
			t.Errorf("%s: a thousand leave %d bytes behind", name, grown)
		}
	}
}
