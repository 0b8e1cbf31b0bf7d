package osgrpc

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"google.golang.org/grpc"

	"github.com/go-os/go-os/internal/bounded"
)

// defaultPort is the port of a "dns" target that names none (gRPC Name Resolution).
const defaultPort = 443

// hosts remembers the text of IP addresses, which costs an allocation each time it is made.
type hosts struct {
	texts bounded.Cache[netip.Addr, string]
}

func (h *hosts) text(addr netip.Addr) string {
	return h.texts.Get(addr, func(a netip.Addr) string { return a.Unmap().String() })
}

// peer appends the attributes of the other end of a connection.
func (h *hosts) peer(attrs []attribute.KeyValue, addr net.Addr) []attribute.KeyValue {
	switch a := addr.(type) {
	case *net.TCPAddr:
		ap := a.AddrPort()
		return append(attrs, semconv.NetworkTransportTCP,
			semconv.NetworkPeerAddress(h.text(ap.Addr())), semconv.NetworkPeerPort(int(ap.Port())))
	case *net.UnixAddr:
		attrs = append(attrs, semconv.NetworkTransportUnix)
		if a.Name != "" && a.Name != "@" { // a client's end of a Unix socket has no name
			attrs = append(attrs, semconv.NetworkPeerAddress(a.Name))
		}
	}
	return attrs
}

// local appends the attributes of a server, known by its own end of a connection.
func (h *hosts) local(attrs []attribute.KeyValue, addr net.Addr) []attribute.KeyValue {
	switch a := addr.(type) {
	case *net.TCPAddr:
		ap := a.AddrPort()
		return append(attrs, semconv.ServerAddress(h.text(ap.Addr())), semconv.ServerPort(int(ap.Port())))
	case *net.UnixAddr:
		if a.Name != "" {
			attrs = append(attrs, semconv.ServerAddress(a.Name))
		}
	}
	return attrs
}

// targetAttrs returns the attributes of the server that a client calls, by its target rather than by the address that it
// resolves to.
func targetAttrs(cc *grpc.ClientConn) []attribute.KeyValue {
	if target := cc.Target(); strings.HasPrefix(target, "unix:") {
		return parseTarget(target) // its canonical form makes a relative path absolute
	}
	return parseTarget(cc.CanonicalTarget())
}

// parseTarget returns server.address and server.port of a gRPC target that has a scheme. Not every target has a port: that
// of a socket has none, and of one that is a service's name only its resolver knows.
func parseTarget(target string) []attribute.KeyValue {
	u, err := url.Parse(target)
	if err != nil {
		return []attribute.KeyValue{semconv.ServerAddress(target)}
	}
	endpoint := u.Opaque
	if endpoint == "" {
		endpoint = u.Path
	}
	if u.Scheme == "unix" || u.Scheme == "unix-abstract" {
		return []attribute.KeyValue{semconv.ServerAddress(endpoint)}
	}
	endpoint = strings.TrimPrefix(endpoint, "/")
	host, port := endpoint, 0
	if u.Scheme == "dns" {
		port = defaultPort
	}
	if h, p, err := net.SplitHostPort(endpoint); err == nil {
		if n, err := strconv.ParseUint(p, 10, 16); err == nil {
			host, port = h, int(n)
		}
	}
	attrs := []attribute.KeyValue{semconv.ServerAddress(strings.Trim(host, "[]"))}
	if port > 0 {
		attrs = append(attrs, semconv.ServerPort(port))
	}
	return attrs
}

// name returns the address without its port.
func (h *hosts) name(addr net.Addr) string {
	if a, ok := addr.(*net.TCPAddr); ok {
		return h.text(a.AddrPort().Addr())
	}
	return addr.String()
}
