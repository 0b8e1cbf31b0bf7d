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

// otherMethod replaces all method names that are not known in advance.
const otherMethod = "_OTHER"

// maxDynamic is the number of methods without generated code that a client distinguishes.
const maxDynamic = 500

// methodKey identifies a method. On a client the target is part of it, because it is part of the attributes.
type methodKey struct {
	target  string // canonical target; empty on a server
	name    string // "/package.Service/Method"
	dynamic bool   // a client calls it by a name that is not from generated code
}

// method holds the constant data of one method's calls.
type method struct {
	name  string // "package.Service/Method", or otherMethod
	span  string // the name of its spans: the method, or the system if it is unknown
	attrs []attribute.KeyValue
	start []trace.SpanStartOption
	fault func(codes.Code) bool

	points [len(codeNames)]atomic.Pointer[[]metric.RecordOption] // by code, built when first met
}

// newMethod builds a method. A span gets its attributes once, when it ends, which saves copying them twice. A sampler
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

// methodName returns the method in the form of the conventions.
func methodName(fullMethod string) string { return strings.TrimPrefix(fullMethod, "/") }

// maxForeign bounds the bytes of an unknown name on a span.
const maxForeign = 256

// foreignName returns a safe form of a method name from outside.
func foreignName(fullMethod string) string { return sanitize.Text(methodName(fullMethod), maxForeign) }
