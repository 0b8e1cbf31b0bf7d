package exporters

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// newResource describes the process. Configured attributes override the Options, which override the detected ones. A detector
// that fails, or that uses another version of the conventions, causes a warning and loses at most its own attributes.
//
// The command line of the process is left out, because it may hold secrets.
func newResource(ctx context.Context, e *environ, o *Options, over []attribute.KeyValue) *resource.Resource {
	found, err := resource.New(ctx,
		resource.WithTelemetrySDK(), resource.WithHost(), resource.WithOSType(), resource.WithContainer(),
		resource.WithProcessPID(), resource.WithProcessExecutableName(),
		resource.WithProcessRuntimeName(), resource.WithProcessRuntimeVersion(),
		resource.WithDetectors(o.Detectors...),
	)
	if err != nil {
		e.warn("resource", "not all of it could be detected: %v", err)
	}
	if found == nil {
		found = resource.Empty()
	}
	// The later of two attributes with one key wins.
	attrs := []attribute.KeyValue{
		semconv.ServiceName("unknown_service:" + filepath.Base(os.Args[0])),
		semconv.ServiceInstanceID(randomID()),
	}
	attrs = append(attrs, found.Attributes()...)
	attrs = append(attrs, o.service()...)
	attrs = append(attrs, over...)
	for _, kv := range attrs {
		if !soundAttr(kv) {
			e.warn("resource", "the attribute %q is not UTF-8; U+FFFD stands for what is not", string(kv.Key))
		}
	}
	attrs, _ = finiteAttrs(attrs)
	return resource.NewWithAttributes(repairText(found.SchemaURL()), repairAttrs(attrs)...)
}

// service returns the attributes that the Options set.
func (o *Options) service() []attribute.KeyValue {
	var attrs []attribute.KeyValue
	for _, kv := range []attribute.KeyValue{
		semconv.ServiceName(o.ServiceName),
		semconv.ServiceVersion(o.ServiceVersion),
		semconv.ServiceNamespace(o.ServiceNamespace),
		semconv.ServiceInstanceID(o.InstanceID),
	} {
		if kv.Value.AsString() != "" {
			attrs = append(attrs, kv)
		}
	}
	return append(attrs, o.Attributes...)
}

// randomID returns a random UUID (RFC 9562, version 4), which the conventions require if no better id is known.
func randomID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
