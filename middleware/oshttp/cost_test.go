//go:build !race

package oshttp_test

import (
	"net/http"
	"testing"

	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry"
)

// The race detector allocates on its own, so these are not built with it.

func TestHandlerAllocations(t *testing.T) {
	for _, c := range cases() {
		r, w := benchRequest(c.parent), newNull()
		serve := func() { c.handler.ServeHTTP(w, r) }
		for range 10 {
			serve() // fill the caches
		}
		if n := testing.AllocsPerRun(1000, serve); n > c.allocs {
			t.Errorf("%s: %v allocations, want at most %v", c.name, n, c.allocs)
		}
	}
}

func TestTransportAllocations(t *testing.T) {
	base, r := carry(func(*http.Request) {}), benchRequest(sampledParent)
	bare := testing.AllocsPerRun(1000, func() { roundTrip(t, base, r) })
	for _, test := range []struct {
		name string
		p    telemetry.Providers
		adds float64
	}{{"off", telemetry.Off(), 1}, {"sampled", sdkProviders(), 11}} {
		transport := oshttp.NewTransport(base, &oshttp.TransportOptions{Telemetry: test.p})
		run := func() { roundTrip(t, transport, r) }
		for range 10 {
			run()
		}
		if n := testing.AllocsPerRun(1000, run) - bare; n > test.adds {
			t.Errorf("%s: adds %v allocations, want at most %v", test.name, n, test.adds)
		}
	}
}

func TestRoutedAllocations(t *testing.T) {
	bare, routed := costs(t, 20)
	plain := testing.AllocsPerRun(2000, bare)
	if adds := testing.AllocsPerRun(2000, routed) - plain; adds > 10 {
		t.Errorf("a Router adds %v allocations to %v of http.Transport, want at most 10", adds, plain)
	} else {
		t.Logf("a Router adds %v allocations to %v of http.Transport", adds, plain)
	}
}
