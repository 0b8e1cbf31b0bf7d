package oshttp

import (
	"net/http"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/go-os/go-os/internal/sanitize"
)

// otherMethod stands on metrics for every method that HTTP does not know.
const otherMethod = "_OTHER"

// The most bytes that an attribute takes from a request.
const (
	maxURL     = 2048
	maxAgent   = 512
	maxAddress = 255
	maxMethod  = 64
)

// attrRoom is the room in which the attributes of a span are gathered. It is pooled: a list that passes through an interface
// of the API is allocated otherwise. A span copies what it is given; what the last request left in the room is overwritten by
// the next one, or collected with the pool.
type attrRoom [18]attribute.KeyValue

func newAttrRoom() any { return new(attrRoom) }

// describe appends what a request says of itself, at most 13 attributes.
func (x *exchange) describe(attrs []attribute.KeyValue) []attribute.KeyValue {
	r := x.caller
	attrs = append(attrs,
		semconv.HTTPRequestMethodKey.String(x.method),
		semconv.URLScheme(x.scheme),
		semconv.URLPath(sanitize.Text(r.URL.Path, maxURL)),
	)
	if x.method == otherMethod {
		attrs = append(attrs, semconv.HTTPRequestMethodOriginal(sanitize.Text(r.Method, maxMethod)))
	}
	if r.URL.RawQuery != "" {
		attrs = append(attrs, semconv.URLQuery(cleanQuery(r.URL.RawQuery)))
	}
	if host, port := splitAddress(r.Host); host != "" {
		attrs = append(attrs, semconv.ServerAddress(sanitize.Text(host, maxAddress)))
		if port > 0 {
			attrs = append(attrs, semconv.ServerPort(port))
		}
	}
	peer, port := x.peer()
	if peer != "" {
		attrs = append(attrs, semconv.NetworkPeerAddress(peer))
		if port > 0 {
			attrs = append(attrs, semconv.NetworkPeerPort(port))
		}
	}
	if client := x.clientAddress(peer); client != "" {
		attrs = append(attrs, semconv.ClientAddress(client))
	}
	if agent := r.UserAgent(); agent != "" {
		attrs = append(attrs, semconv.UserAgentOriginal(sanitize.Text(agent, maxAgent)))
	}
	if v := protocolVersion(r.ProtoMajor, r.ProtoMinor); v != "" {
		attrs = append(attrs, semconv.NetworkProtocolVersion(v))
	}
	return attrs
}

// peer returns the other end of the connection. Some middleware puts there what a proxy's header says, so it is no safer.
func (x *exchange) peer() (address string, port int) {
	address, port = splitAddress(x.caller.RemoteAddr)
	return sanitize.Text(address, maxAddress), port
}

func (x *exchange) clientAddress(peer string) string {
	if x.h.opts.ClientAddress == nil {
		return peer
	}
	return sanitize.Text(x.h.opts.ClientAddress(x.caller), maxAddress)
}

// knownMethod returns the method if HTTP knows it, and otherMethod if not.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodConnect, http.MethodOptions, http.MethodTrace, "QUERY":
		return method
	}
	return otherMethod
}

// spanMethod returns the method as span names have it.
func spanMethod(method string) string {
	if method == otherMethod {
		return "HTTP"
	}
	return method
}

func scheme(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

// protocolVersion returns the version as network.protocol.version has it, "" for one that does not exist.
func protocolVersion(major, minor int) string {
	switch {
	case major == 1 && minor == 1:
		return "1.1"
	case major == 2 && minor == 0:
		return "2"
	case major == 3 && minor == 0:
		return "3"
	case major == 1 && minor == 0:
		return "1.0"
	}
	return ""
}

// splitAddress takes "host", "host:port", "[v6]" or "[v6]:port" apart. What is no port number comes back as port 0.
func splitAddress(address string) (host string, port int) {
	host, digits := address, ""
	if i := strings.LastIndexByte(address, ':'); i >= 0 && i > strings.LastIndexByte(address, ']') {
		if strings.IndexByte(address, ':') == i || address[0] == '[' { // else a bare IPv6 address
			host, digits = address[:i], address[i+1:]
		}
	}
	if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
		host = host[1 : len(host)-1]
	}
	if digits == "" { // asking strconv would make an error, which allocates
		return host, 0
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return host, 0
	}
	return host, int(n)
}
