package oshttp_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry"
)

// BenchmarkServices compares a request to a service with one to an address, over loopback.
func BenchmarkServices(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	for _, size := range []int{3, 100} {
		services := benchmarkServices(b, strings.TrimPrefix(server.URL, "http://"), size)
		b.Run(fmt.Sprintf("service of %d", size), func(b *testing.B) { benchmarkRequests(b, services, "http://orders/") })
	}
	base := &http.Transport{}
	defer base.CloseIdleConnections()
	b.Run("address", func(b *testing.B) { benchmarkRequests(b, base, server.URL) })
}

// benchmarkServices returns a RoundTripper for a service with all instances at one address.
func benchmarkServices(b *testing.B, address string, size int) *oshttp.Services {
	var instances []discovery.Instance
	for n := range size {
		instances = append(instances, discovery.Instance{
			Service: "orders", ID: fmt.Sprint(n), Weight: 100, Addresses: map[string]string{"http": address},
		})
	}
	registry, err := discovery.Static(instances...)
	if err != nil {
		b.Fatal(err)
	}
	resolver, err := discovery.NewResolver(registry, &discovery.ResolverOptions{Telemetry: telemetry.Off()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = resolver.Close() })
	services, err := oshttp.NewServices(resolver, &oshttp.ServicesOptions{Names: []string{"orders"}, Base: &http.Transport{}, Telemetry: telemetry.Off()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(services.CloseIdleConnections)
	return services
}

func benchmarkRequests(b *testing.B, transport http.RoundTripper, target string) {
	r, err := http.NewRequest(http.MethodGet, target, nil)
	if err != nil {
		b.Fatal(err)
	}
	send := func() {
		res, err := transport.RoundTrip(r)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
	for range 100 { // connect to all instances
		send()
	}
	b.ReportAllocs()
	for b.Loop() {
		send()
	}
}
