package oshttp_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry"
)

// signalsOff returns the rig's providers, complete and with each signal off in turn.
func (g *rig) signalsOff() map[string]telemetry.Providers {
	all, off := g.providers(), telemetry.Off()
	turn := map[string]telemetry.Providers{"all on": all, "all off": off}
	for name, change := range map[string]func(*telemetry.Providers){
		"traces off":      func(p *telemetry.Providers) { p.TracerProvider = off.TracerProvider },
		"metrics off":     func(p *telemetry.Providers) { p.MeterProvider = off.MeterProvider },
		"events off":      func(p *telemetry.Providers) { p.LoggerProvider = off.LoggerProvider },
		"propagation off": func(p *telemetry.Providers) { p.Propagator = off.Propagator },
	} {
		p := all
		change(&p)
		turn[name] = p
	}
	return turn
}

// The headers of an untrusted caller.
const (
	strangersTrace = "0af7651916cd43dd8448eb211c80319c"
	strangersSpan  = "b7ad6b7169203331"
)

func strangersRequest(traceparent string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "http://edge.invalid/", nil)
	r.Header.Set("Traceparent", traceparent)
	r.Header.Set("Tracestate", "stranger=1")
	r.Header.Set("Baggage", "tenant=admin")
	r.Header.Set(oshttp.DefaultDeadlineHeader, "0")
	r.Header.Set("X-Kept", "yes")
	return r
}

// proxyTo returns a reverse proxy over a transport that sends nothing, and the headers that arrive there.
func proxyTo(transport func(base http.RoundTripper) http.RoundTripper) (http.Handler, *http.Header) {
	arrived := new(http.Header)
	base := inProcess(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { *arrived = r.Header.Clone() }))
	return &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.Out.URL.Host, r.Out.URL.Scheme = "inner.invalid", "http" },
		Transport: transport(base),
	}, arrived
}

// Whichever signal is off, an untrusted caller's trace context, baggage and deadline reach neither the handler of a public
// edge nor the services behind it. This holds whether or not the proxy uses this package's transport.
func TestPublicKeepsStrangersOut(t *testing.T) {
	for name := range newRig(t).signalsOff() {
		for _, traceparent := range []string{"00-" + strangersTrace + "-" + strangersSpan + "-01", "garbage"} {
			for _, ours := range []bool{true, false} {
				g := newRig(t)
				p := g.signalsOff()[name]
				proxy, arrived := proxyTo(func(base http.RoundTripper) http.RoundTripper {
					if ours {
						return oshttp.NewTransport(base, &oshttp.TransportOptions{Telemetry: p})
					}
					return base
				})
				handled := false
				edge := oshttp.NewHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					handled = true
					if b := baggage.FromContext(r.Context()); b.Len() > 0 {
						t.Errorf("%s: the handler has the stranger's baggage %q", name, b)
					}
					if sc := trace.SpanContextFromContext(r.Context()); sc.TraceID().String() == strangersTrace {
						t.Errorf("%s: the handler is in the stranger's trace", name)
					}
					if _, limited := r.Context().Deadline(); limited {
						t.Errorf("%s: the handler has the stranger's deadline", name)
					}
					proxy.ServeHTTP(w, r)
				}), &oshttp.HandlerOptions{Telemetry: p, Public: true, DeadlineHeader: oshttp.DefaultDeadlineHeader})
				edge.ServeHTTP(httptest.NewRecorder(), strangersRequest(traceparent))
				if !handled || arrived.Get("X-Kept") != "yes" {
					t.Fatalf("%s: handled %t, the inner service got %v", name, handled, *arrived)
				}
				for _, key := range []string{"Tracestate", "Baggage", oshttp.DefaultDeadlineHeader} {
					if got := arrived.Values(key); len(got) > 0 {
						t.Errorf("%s: %s %q reached the inner service", name, key, got)
					}
				}
				if got := arrived.Get("Traceparent"); strings.Contains(got, strangersTrace) || got == "garbage" {
					t.Errorf("%s: traceparent %q reached the inner service", name, got)
				}
			}
		}
	}
}

// The caller's request belongs to the server and to other middleware, so it stays unchanged.
func TestPublicLeavesTheServersRequestAlone(t *testing.T) {
	g := newRig(t)
	r := strangersRequest("00-" + strangersTrace + "-" + strangersSpan + "-01")
	g.handler(http.HandlerFunc(nothing), oshttp.HandlerOptions{Public: true}).ServeHTTP(httptest.NewRecorder(), r)
	if r.Header.Get("Baggage") == "" || r.Header.Get("Traceparent") == "" {
		t.Errorf("the headers became %v", r.Header)
	}
	span := g.span()
	if links := span.Links(); span.Parent().IsValid() || len(links) != 1 || links[0].SpanContext.SpanID().String() != strangersSpan {
		t.Errorf("the span has the parent %v and the links %v, want a link to the stranger's span", span.Parent(), links)
	}
}

// The transport's fields replace everything that a proxy copied, even where there are fewer.
func TestTransportReplacesWhatWasCopied(t *testing.T) {
	g := newRig(t)
	for name, p := range g.signalsOff() {
		var sent http.Header
		transport := oshttp.NewTransport(carry(func(r *http.Request) { sent = r.Header }), &oshttp.TransportOptions{Telemetry: p})
		r := strangersRequest("00-" + strangersTrace + "-" + strangersSpan + "-01")
		if _, err := transport.RoundTrip(r); err != nil {
			t.Fatal(err)
		}
		stale := sent.Get("Tracestate") != "" || sent.Get("Baggage") != "" || strings.Contains(sent.Get("Traceparent"), strangersTrace)
		if propagates := len(p.TextMapPropagator().Fields()) > 0; stale == propagates {
			t.Errorf("%s: sent %v", name, sent)
		}
	}
	p := newRig(t).providers()
	p.Propagator = propagation.TraceContext{} // baggage is then not ours to handle
	var sent http.Header
	transport := oshttp.NewTransport(carry(func(r *http.Request) { sent = r.Header }), &oshttp.TransportOptions{Telemetry: p})
	if _, err := transport.RoundTrip(strangersRequest("garbage")); err != nil || sent.Get("Baggage") == "" || sent.Get("Tracestate") != "" {
		t.Errorf("sent %v, %v; want only the fields of the propagator to be replaced", sent, err)
	}
}
