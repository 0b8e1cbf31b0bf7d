package exporters

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// newResource describes the process: what can be detected, under what the Options say, under what is configured. A
// detector that fails, or that speaks another version of the conventions, costs its own attributes at most, and is warned of.
//
// The command line of the process is left out, for it may hold secrets.
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
	// Of two attributes with one key the later stands.
	attrs := append(fromProcess(e),
		semconv.ServiceName("unknown_service:"+filepath.Base(os.Args[0])),
		semconv.ServiceInstanceID(randomID()),
	)
	attrs = append(attrs, found.Attributes()...)
	attrs = append(attrs, o.service()...)
	attrs = append(attrs, over...)
	for _, kv := range attrs {
		if !soundAttr(kv) {
			e.warn("resource", "the attribute %q is not UTF-8; U+FFFD stands for what is not", string(kv.Key))
		}
	}
	attrs, _ = finiteAttrs(attrs)
	return resource.NewWithAttributes(mendText(found.SchemaURL()), mendAttrs(attrs)...)
}

// fromProcess are those attributes in the process's own environment that are not UTF-8. The SDK's providers put all of that
// environment under any resource, even where a file or Options.Environ stands in for it; what is given here, mended, hides them.
// A key can not be hidden.
func fromProcess(e *environ) (attrs []attribute.KeyValue) {
	for _, kv := range resource.Environment().Attributes() {
		switch {
		case !utf8.ValidString(string(kv.Key)):
			e.warn(envResource, "the key %q is not UTF-8, and nothing can be exported over OTLP with it: correct it", string(kv.Key))
		case !sound(kv.Value):
			attrs = append(attrs, kv)
		}
	}
	return attrs
}

// service are the attributes that the Options give.
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

// randomID returns a random UUID (RFC 9562, version 4), which is what the conventions want where nothing better is known.
func randomID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
