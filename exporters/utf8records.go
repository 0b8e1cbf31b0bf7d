package exporters

import (
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	otellog "go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
)

// repairRecords repairs the records of a batch in place: they are the batcher's own copies.
func repairRecords(batch []sdklog.Record) {
	for i := range batch {
		if !soundRecord(&batch[i]) {
			repairRecord(&batch[i])
		}
	}
}

// soundRecord skips the resource and the scope, which newResource and loggers have repaired.
func soundRecord(r *sdklog.Record) bool {
	if !utf8.ValidString(r.EventName()) || !utf8.ValidString(r.SeverityText()) || !sound(r.Body()) {
		return false
	}
	all := true
	r.WalkAttributes(func(kv attribute.KeyValue) bool {
		all = soundAttr(kv)
		return all
	})
	return all
}

// repairRecord loses the number of attributes dropped by a limit: the SDK lets no other code set it.
func repairRecord(r *sdklog.Record) {
	r.SetEventName(repairText(r.EventName()))
	r.SetSeverityText(repairText(r.SeverityText()))
	r.SetBody(repair(r.Body()))
	attrs := make([]attribute.KeyValue, 0, r.AttributesLen())
	r.WalkAttributes(func(kv attribute.KeyValue) bool {
		attrs = append(attrs, kv)
		return true
	})
	r.SetAttributes(repairAttrs(attrs)...)
}

// loggers is a logger provider that repairs the scopes, and makes them finite, because the scope of a record cannot be
// changed later.
type loggers struct{ *sdklog.LoggerProvider }

// Logger implements otellog.LoggerProvider.
func (p loggers) Logger(name string, opts ...otellog.LoggerOption) otellog.Logger {
	c := otellog.NewLoggerConfig(opts...)
	version, schema, attrs := c.InstrumentationVersion(), c.SchemaURL(), c.InstrumentationAttributes()
	number := finiteSet(attrs)
	if utf8.ValidString(name) && utf8.ValidString(version) && utf8.ValidString(schema) && soundSet(&attrs) && number.Equals(&attrs) {
		return p.LoggerProvider.Logger(name, opts...)
	}
	return p.LoggerProvider.Logger(repairText(name), otellog.WithInstrumentationVersion(repairText(version)),
		otellog.WithSchemaURL(repairText(schema)), otellog.WithInstrumentationAttributeSet(repairSet(&number)))
}
