package osgrpc

import (
	"strings"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"

	"github.com/go-os/go-os/internal/sanitize"
)

// otherMethod stands for all methods whose names are not known beforehand.
const otherMethod = "_OTHER"

// maxDynamic is how many methods without generated code a client distinguishes.
const maxDynamic = 500

// methodKey identifies a method: on a client also by the target, as it is part of the attributes.
type methodKey struct {
	target  string // canonical target; empty on a server
	name    string // "/package.Service/Method"
	dynamic bool   // a client calls it by a name that is not from generated code
}

// method is all that is constant about the calls of one method.
type method struct {
	name  string // "package.Service/Method", or otherMethod
	span  string // the name of its spans: the method, or where that is not known the system
	attrs []attribute.KeyValue
	start []trace.SpanStartOption
	fault func(codes.Code) bool

	points [len(codeNames)]atomic.Pointer[[]metric.RecordOption] // by code, built when first met
}

// newMethod builds a method. A span is given its attributes once, when it ends, which saves copying them twice: a sampler
// sees its name, which is the method, and its kind.
func newMethod(kind trace.SpanKind, fault func(codes.Code) bool, name string, more ...attribute.KeyValue) *method {
	attrs := append([]attribute.KeyValue{semconv.RPCSystemNameGRPC, semconv.RPCMethod(name)}, more...)
	span := name
	if name == otherMethod {
		span = semconv.RPCSystemNameGRPC.Value.AsString()
	}
	return &method{
		name:  name,
		span:  span,
		attrs: attrs,
		start: []trace.SpanStartOption{trace.WithSpanKind(kind)},
		fault: fault,
	}
}

// point returns the attributes of the point of a call that ended with code.
func (m *method) point(code codes.Code) []metric.RecordOption {
	if p := m.points[code].Load(); p != nil {
		return *p
	}
	attrs := append(m.attrs[:len(m.attrs):len(m.attrs)], semconv.RPCResponseStatusCode(codeNames[code]))
	if m.fault(code) {
		attrs = append(attrs, semconv.ErrorTypeKey.String(codeNames[code]))
	}
	p := []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(attrs...))}
	m.points[code].Store(&p) // two calls may build it at once: they build the same
	return p
}

// methodName returns the method as the conventions write it.
func methodName(fullMethod string) string { return strings.TrimPrefix(fullMethod, "/") }

// maxForeign is how many bytes of a name that is not known beforehand stand on a span.
const maxForeign = 256

// foreignName is the name of a method as somebody else wrote it.
func foreignName(fullMethod string) string { return sanitize.Text(methodName(fullMethod), maxForeign) }
