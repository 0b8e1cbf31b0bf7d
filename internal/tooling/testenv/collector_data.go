package testenv

import (
	"encoding/hex"
	"strconv"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// Origin is the source of a span, log record or metric.
type Origin struct {
	Resource *resourcepb.Resource
	Scope    *commonpb.InstrumentationScope
}

// Service returns the resource's service.name.
func (o Origin) Service() string { return Attribute(o.Resource.GetAttributes(), "service.name") }

// Span is one span that the collector holds.
type Span struct {
	Origin
	*tracepb.Span
}

// Trace returns the trace id in hex.
func (s Span) Trace() string { return hex.EncodeToString(s.TraceId) }

// ID returns the span id in hex.
func (s Span) ID() string { return hex.EncodeToString(s.SpanId) }

// Parent returns the parent's span id in hex, "" for a root.
func (s Span) Parent() string { return hex.EncodeToString(s.ParentSpanId) }

// Attr returns a span attribute as Attribute does.
func (s Span) Attr(key string) string { return Attribute(s.Attributes, key) }

// LogRecord is one log record that the collector holds.
type LogRecord struct {
	Origin
	*logspb.LogRecord
}

// Trace returns the trace id in hex, "" when the record has none.
func (r LogRecord) Trace() string { return hex.EncodeToString(r.TraceId) }

// Span returns the span id in hex, "" when the record has none.
func (r LogRecord) Span() string { return hex.EncodeToString(r.SpanId) }

// Text returns the body as a string.
func (r LogRecord) Text() string { return valueText(r.Body) }

// Attr returns an attribute of the record as Attribute does.
func (r LogRecord) Attr(key string) string { return Attribute(r.Attributes, key) }

// Metric is one metric of one export that the collector holds. A periodic reader exports each metric many times.
type Metric struct {
	Origin
	*metricspb.Metric
}

// Attribute returns the value of an attribute as text: strings unchanged, numbers and booleans as Go prints them, bytes in hex, and lists
// and maps as protobuf text. It returns "" if the attribute is missing.
func Attribute(attributes []*commonpb.KeyValue, key string) string {
	for _, kv := range attributes {
		if kv.GetKey() == key {
			return valueText(kv.GetValue())
		}
	}
	return ""
}

func valueText(v *commonpb.AnyValue) string {
	switch value := v.GetValue().(type) {
	case nil:
		return ""
	case *commonpb.AnyValue_StringValue:
		return value.StringValue
	case *commonpb.AnyValue_BoolValue:
		return strconv.FormatBool(value.BoolValue)
	case *commonpb.AnyValue_IntValue:
		return strconv.FormatInt(value.IntValue, 10)
	case *commonpb.AnyValue_DoubleValue:
		return strconv.FormatFloat(value.DoubleValue, 'g', -1, 64)
	case *commonpb.AnyValue_BytesValue:
		return hex.EncodeToString(value.BytesValue)
	default:
		return v.String()
	}
}
