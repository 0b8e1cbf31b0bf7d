package exporters

import (
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// The specification's default limits. The depth is the SDK's.
const (
	defaultCount  = 128
	defaultLength = -1 // none
)

// limits reads the limits of spans and log records. The limits of a signal override the general ones. The SDK receives all of them,
// because it treats a negative limit as none, and ignores the general ones for log records.
func (e *environ) limits() (*sdktrace.SpanLimits, []sdklog.LoggerProviderOption) {
	count := e.limit(defaultCount, "OTEL_ATTRIBUTE_COUNT_LIMIT")
	length := e.limit(defaultLength, "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT")
	spans := &sdktrace.SpanLimits{
		AttributeCountLimit:         e.limit(count, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"),
		AttributeValueLengthLimit:   e.limit(length, "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT"),
		AttributeValueDepthLimit:    e.limit(sdktrace.DefaultAttributeValueDepthLimit, "OTEL_SPAN_ATTRIBUTE_VALUE_DEPTH_LIMIT"),
		EventCountLimit:             e.limit(defaultCount, "OTEL_SPAN_EVENT_COUNT_LIMIT"),
		LinkCountLimit:              e.limit(defaultCount, "OTEL_SPAN_LINK_COUNT_LIMIT"),
		AttributePerEventCountLimit: e.limit(defaultCount, "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT"),
		AttributePerLinkCountLimit:  e.limit(defaultCount, "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT"),
	}
	records := []sdklog.LoggerProviderOption{
		sdklog.WithAttributeCountLimit(e.limit(count, "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT")),
		sdklog.WithAttributeValueLengthLimit(e.limit(length, "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT")),
		sdklog.WithAttributeValueDepthLimit(e.limit(sdktrace.DefaultAttributeValueDepthLimit, "OTEL_LOGRECORD_ATTRIBUTE_VALUE_DEPTH_LIMIT")),
	}
	return spans, records
}

// limit parses a number that is not negative.
func (e *environ) limit(def int, name string) int { return e.number(def, 0, name) }
