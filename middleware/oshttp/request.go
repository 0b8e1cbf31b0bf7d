package oshttp

import (
	"cmp"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/go-os/go-os/internal/sanitize"
)

// otherMethod replaces every method that HTTP does not know on metrics.
const otherMethod = "_OTHER"

// The most bytes that an attribute takes from a request.
const (
	maxURL     = 2048
	maxAgent   = 512
	maxAddress = 255
	maxMethod  = 64
)

// attrBuffer holds the attributes of a span until it ends. It is pooled, because a list that passes through an interface of the API
// would be allocated. A span copies the list. The next request overwrites the content.
type attrBuffer [18]attribute.KeyValue

func newAttrBuffer() any { return new(attrBuffer) }

// describe appends the attributes of a request, at most 13.
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
	if host, port := splitAddress(cmp.Or(x.origin.host, r.Host)); host != "" {
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

// peer returns the remote end of the connection. Some middleware sets it from the header of a proxy, so it is no safer than that
// header.
func (x *exchange) peer() (address string, port int) {
	address, port = splitAddress(x.caller.RemoteAddr)
	return sanitize.Text(address, maxAddress), port
}

func (x *exchange) clientAddress(peer string) string {
	if hook := x.h.opts.ClientAddress; hook != nil {
		return sanitize.Text(hook(x.caller), maxAddress)
	}
	return cmp.Or(x.origin.client, peer)
}

// methods are the known methods; the others are otherMethod. Nil means those of HTTP.
type methods map[string]bool

func newMethods(known []string) methods {
	if len(known) == 0 {
		return nil
	}
	m := make(methods, len(known))
	for _, method := range known {
		m[method] = true
	}
	return m
}

// name returns the method if it is known, and otherMethod if not.
func (m methods) name(method string) string {
	if m != nil {
		if m[method] {
			return method
		}
		return otherMethod
	}
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodConnect, http.MethodOptions, http.MethodTrace, "QUERY":
		return method
	}
	return otherMethod
}

// ParseMethods parses a comma-separated list of methods, the form of the environment variable
// OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS. An empty list gives nil, the default of KnownMethods:
//
//	KnownMethods: oshttp.ParseMethods(os.Getenv("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS")),
func ParseMethods(list string) []string {
	var known []string
	for method := range strings.SplitSeq(list, ",") {
		if method = strings.TrimSpace(method); method != "" {
			known = append(known, method)
		}
	}
	return known
}

// spanMethod returns the method in the form of span names.
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

// protocolVersion returns the version in the form of network.protocol.version, or "" for one that does not exist.
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
