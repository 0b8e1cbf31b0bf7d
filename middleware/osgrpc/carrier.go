package osgrpc

import (
	"context"
	"strings"

	"google.golang.org/grpc/metadata"
)

// incoming reads the metadata of a received call.
type incoming struct{ ctx context.Context }

// Get returns the value of key. Several values are one list, as with any header. This is right for tracestate and baggage;
// a repeated traceparent becomes unreadable, and so begins a new trace.
func (c incoming) Get(key string) string {
	values := c.Values(key)
	if len(values) == 1 {
		return values[0]
	}
	return strings.Join(values, ",")
}

// Values returns all values of key.
func (c incoming) Values(key string) []string {
	if isBinary(key) {
		return nil
	}
	return metadata.ValueFromIncomingContext(c.ctx, key)
}

// Set does nothing: a received call cannot be changed.
func (c incoming) Set(string, string) {}

// Keys returns the keys of the metadata that a propagator may read.
func (c incoming) Keys() []string {
	md, _ := metadata.FromIncomingContext(c.ctx)
	return outgoing(md).Keys()
}

// outgoing writes to metadata that this package created, a copy of the caller's.
type outgoing metadata.MD

// Get returns the first value of key.
func (c outgoing) Get(key string) string {
	if values := c[strings.ToLower(key)]; len(values) > 0 && !isBinary(key) {
		return values[0]
	}
	return ""
}

// Set replaces the values of key, unless gRPC would refuse to send the pair, which would fail the call.
func (c outgoing) Set(key, value string) {
	key = strings.ToLower(key)
	if sendableKey(key) && sendableValue(value) {
		c[key] = []string{value}
	}
}

// Keys returns the keys that a propagator may read.
func (c outgoing) Keys() []string {
	keys := make([]string, 0, len(c))
	for key := range c {
		if !isBinary(key) {
			keys = append(keys, key)
		}
	}
	return keys
}

func isBinary(key string) bool {
	const suffix = "-bin"
	return len(key) >= len(suffix) && strings.EqualFold(key[len(key)-len(suffix):], suffix)
}

// sendableKey follows the grammar of Header-Name in the gRPC over HTTP/2 specification. Names that begin with "grpc-" are
// reserved there.
func sendableKey(key string) bool {
	if key == "" || isBinary(key) || strings.HasPrefix(key, "grpc-") {
		return false
	}
	for i := range len(key) {
		switch c := key[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '_', c == '-', c == '.':
		default:
			return false
		}
	}
	return true
}

// sendableValue follows the grammar of ASCII-Value: printable ASCII and space.
func sendableValue(value string) bool {
	for i := range len(value) {
		if value[i] < 0x20 || value[i] > 0x7e {
			return false
		}
	}
	return true
}
