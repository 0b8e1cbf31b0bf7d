package exporters

import (
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	otellog "go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
)

// mendRecords mends the records of a batch in place: they are the batcher's own copies.
func mendRecords(batch []sdklog.Record) {
	for i := range batch {
		if !soundRecord(&batch[i]) {
			mendRecord(&batch[i])
		}
	}
}

// soundRecord leaves out the resource and the scope, which newResource and loggers have mended.
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

// mendRecord forgets how many attributes were dropped for a limit, a number that the SDK lets nobody else write.
func mendRecord(r *sdklog.Record) {
	r.SetEventName(mendText(r.EventName()))
	r.SetSeverityText(mendText(r.SeverityText()))
	r.SetBody(mend(r.Body()))
	attrs := make([]attribute.KeyValue, 0, r.AttributesLen())
	r.WalkAttributes(func(kv attribute.KeyValue) bool {
		attrs = append(attrs, kv)
		return true
	})
	r.SetAttributes(mendAttrs(attrs)...)
}

// loggers is the logger provider. It mends the scopes, and makes them finite, for a record's cannot be changed later.
type loggers struct{ *sdklog.LoggerProvider }

// Logger implements otellog.LoggerProvider.
func (p loggers) Logger(name string, opts ...otellog.LoggerOption) otellog.Logger {
	c := otellog.NewLoggerConfig(opts...)
	version, schema, attrs := c.InstrumentationVersion(), c.SchemaURL(), c.InstrumentationAttributes()
	number := finiteSet(attrs)
	if utf8.ValidString(name) && utf8.ValidString(version) && utf8.ValidString(schema) && soundSet(&attrs) && number.Equals(&attrs) {
		return p.LoggerProvider.Logger(name, opts...)
	}
	return p.LoggerProvider.Logger(mendText(name), otellog.WithInstrumentationVersion(mendText(version)),
		otellog.WithSchemaURL(mendText(schema)), otellog.WithInstrumentationAttributeSet(mendSet(&number)))
}
