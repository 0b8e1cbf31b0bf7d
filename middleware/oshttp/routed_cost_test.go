package oshttp_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry"
)

// cannedServer answers every request without a handler, so that the costs are those of the client. Requests have no body.
func cannedServer(tb testing.TB) (address string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serveCanned(conn)
		}
	}()
	return listener.Addr().String()
}

func serveCanned(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	text := []byte("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
	missing := []byte("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
	buffer := make([]byte, 4<<10)
	for {
		n, err := conn.Read(buffer) // a request fits into one packet
		switch {
		case err != nil:
			return
		case bytes.HasPrefix(buffer[:n], []byte("GET "+probePath)):
			_, err = conn.Write(missing)
		default:
			_, err = conn.Write(text)
		}
		if err != nil {
			return
		}
	}
}

// costs returns requests through http.Transport, and through Services with a Router of a service with endpoints at one server.
func costs(tb testing.TB, endpoints int) (bare, routed func()) {
	address := cannedServer(tb)
	var instances []discovery.Instance
	for n := range endpoints {
		instances = append(instances, discovery.Instance{
			Service: "orders", ID: fmt.Sprint(n), Weight: 100, Addresses: map[string]string{"http": address},
		})
	}
	registry, err := discovery.Static(instances...)
	if err != nil {
		tb.Fatal(err)
	}
	resolver, err := discovery.NewResolver(registry, &discovery.ResolverOptions{Telemetry: telemetry.Off()})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = resolver.Close() })
	r, err := router.New(resolver, &router.Options{Telemetry: telemetry.Off()})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = r.Close() })
	services, err := oshttp.NewServices(nil, &oshttp.ServicesOptions{
		Names: []string{"orders"}, Router: r, Base: &http.Transport{}, Telemetry: telemetry.Off(),
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(services.CloseIdleConnections)
	base := &http.Transport{}
	tb.Cleanup(base.CloseIdleConnections)
	bare, routed = sender(tb, base, "http://"+address), sender(tb, services, "http://orders/")
	for range 10 * endpoints { // connect to all endpoints, and end the probes: the server answers none
		routed()
		bare()
	}
	return bare, routed
}

func sender(tb testing.TB, through http.RoundTripper, target string) func() {
	r, err := http.NewRequest(http.MethodGet, target, nil)
	if err != nil {
		tb.Fatal(err)
	}
	buffer := make([]byte, 64)
	return func() {
		res, err := through.RoundTrip(r)
		if err != nil {
			tb.Fatal(err)
		}
		for err == nil {
			_, err = res.Body.Read(buffer)
		}
		if err != io.EOF {
			tb.Fatal(err)
		}
		_ = res.Body.Close()
	}
}

// BenchmarkRouted shows what a Router adds to http.Transport.
func BenchmarkRouted(b *testing.B) {
	for _, endpoints := range []int{1, 100} {
		bare, routed := costs(b, endpoints)
		for name, send := range map[string]func(){"transport": bare, "routed": routed} {
			b.Run(fmt.Sprintf("%d/%s", endpoints, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					send()
				}
			})
		}
	}
}
