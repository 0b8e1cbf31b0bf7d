package osgrpc

import (
	"net"
	"net/netip"
	"net/url"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"google.golang.org/grpc"

	"github.com/go-os/go-os/internal/bounded"
)

// defaultPort is the port of a "dns" target without one (gRPC Name Resolution).
const defaultPort = 443

// hosts caches the text of IP addresses, which allocates each time it is formatted.
type hosts struct {
	texts bounded.Cache[netip.Addr, string]
}

func (h *hosts) text(addr netip.Addr) string {
	return h.texts.Get(addr, func(a netip.Addr) string { return a.Unmap().String() })
}

// peer appends the attributes of the remote end of a connection.
func (h *hosts) peer(attrs []attribute.KeyValue, addr net.Addr) []attribute.KeyValue {
	switch a := addr.(type) {
	case *net.TCPAddr:
		ap := a.AddrPort()
		return append(attrs, semconv.NetworkTransportTCP,
			semconv.NetworkPeerAddress(h.text(ap.Addr())), semconv.NetworkPeerPort(int(ap.Port())))
	case *net.UnixAddr:
		attrs = append(attrs, semconv.NetworkTransportUnix)
		if name := unixName(a); name != "" {
			attrs = append(attrs, semconv.NetworkPeerAddress(name))
		}
	}
	return attrs
}

// local appends the attributes of a server, taken from the local end of a connection.
func (h *hosts) local(attrs []attribute.KeyValue, addr net.Addr) []attribute.KeyValue {
	switch a := addr.(type) {
	case *net.TCPAddr:
		ap := a.AddrPort()
		return append(attrs, semconv.ServerAddress(h.text(ap.Addr())), semconv.ServerPort(int(ap.Port())))
	case *net.UnixAddr:
		if name := unixName(a); name != "" {
			attrs = append(attrs, semconv.ServerAddress(name))
		}
	}
	return attrs
}

// targetAttrs returns the attributes of the server that a client calls, by its target rather than by the address that it
// resolves to.
func targetAttrs(cc *grpc.ClientConn) []attribute.KeyValue {
	target := cc.CanonicalTarget()
	if own := cc.Target(); strings.HasPrefix(own, "unix:") {
		target = own // the canonical form makes a relative path absolute
	}
	address, port := parseTarget(target)
	attrs := []attribute.KeyValue{semconv.ServerAddress(address)}
	if port > 0 {
		attrs = append(attrs, semconv.ServerPort(port))
	}
	return attrs
}

// parseTarget returns server.address and server.port of a gRPC target with a scheme; port 0 means none. A target whose
// scheme does not define its name, or that names several servers, is the address as a whole: only a resolver could split it.
func parseTarget(target string) (address string, port int) {
	u, err := url.Parse(target)
	if err != nil {
		return target, 0
	}
	endpoint := u.Opaque
	if endpoint == "" {
		endpoint = u.Path
	}
	name := strings.TrimPrefix(endpoint, "/")
	switch u.Scheme {
	case "unix", "unix-abstract":
		return endpoint, 0
	case "dns":
		return splitEndpoint(name, defaultPort)
	case scheme:
		return name, 0
	case "passthrough":
		if strings.HasPrefix(name, "unix:") { // which gRPC's own dialer understands
			return parseTarget(name)
		}
		return splitEndpoint(name, 0)
	case "ipv4", "ipv6":
		if !strings.Contains(name, ",") {
			return splitEndpoint(name, defaultPort)
		}
	}
	if u.User != nil {
		u.User = url.User("REDACTED")
		return u.String(), 0
	}
	return target, 0
}

// splitEndpoint splits "host", "host:port", "[v6]", "[v6]:port" or a bare IPv6 address. The port may have a name. Any other
// form is the address, unchanged.
func splitEndpoint(endpoint string, defaultPort int) (address string, port int) {
	if ip, err := netip.ParseAddr(endpoint); err == nil {
		return ip.String(), defaultPort
	}
	if strings.HasSuffix(endpoint, "]") {
		if ip, err := netip.ParseAddr(strings.TrimPrefix(endpoint[:len(endpoint)-1], "[")); err == nil {
			return ip.String(), defaultPort
		}
	}
	host, digits, err := net.SplitHostPort(endpoint)
	switch {
	case err != nil && strings.ContainsAny(endpoint, ":[]"):
		return endpoint, 0
	case err != nil:
		return endpoint, defaultPort
	case host == "": // gRPC takes it for this machine
		host = "localhost"
	}
	port, err = net.LookupPort("tcp", digits)
	if err != nil || digits == "" {
		return endpoint, 0
	}
	return host, port
}

// name returns the address without its port, or "" if it has no name, like a client's end of a Unix socket.
func (h *hosts) name(addr net.Addr) string {
	switch a := addr.(type) {
	case *net.TCPAddr:
		return h.text(a.AddrPort().Addr())
	case *net.UnixAddr:
		return unixName(a)
	}
	return addr.String()
}

// unixName returns the name of one end of a Unix socket, or "" if it has none.
func unixName(a *net.UnixAddr) string {
	if a.Name == "@" {
		return ""
	}
	return a.Name
}
