package exporters

import (
	"context"

	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// spanBatcher adapts a batcher to the SDK's span processor.
type spanBatcher struct {
	*batcher[sdktrace.ReadOnlySpan]
}

var _ sdktrace.SpanProcessor = spanBatcher{}

func newSpanBatcher(l *ledger, cfg batchConfig, e sdktrace.SpanExporter) spanBatcher {
	export := func(ctx context.Context, batch []sdktrace.ReadOnlySpan) error {
		repairSpans(batch)
		return e.ExportSpans(ctx, batch)
	}
	return spanBatcher{newBatcher(l, cfg, sizeOfSpan, export, e.Shutdown)}
}

func (b spanBatcher) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// OnEnd accepts sampled spans only, as the specification requires of every exporting processor.
func (b spanBatcher) OnEnd(s sdktrace.ReadOnlySpan) {
	if s.SpanContext().IsSampled() {
		b.add(s)
	}
}

func (b spanBatcher) ForceFlush(ctx context.Context) error { return b.forceFlush(ctx) }
func (b spanBatcher) Shutdown(ctx context.Context) error   { return b.shutdown(ctx) }

// recordBatcher adapts a batcher to the SDK's log record processor.
type recordBatcher struct{ *batcher[sdklog.Record] }

var _ sdklog.Processor = recordBatcher{}

func newRecordBatcher(l *ledger, cfg batchConfig, e sdklog.Exporter) recordBatcher {
	export := func(ctx context.Context, batch []sdklog.Record) error {
		repairRecords(batch)
		return e.Export(ctx, batch)
	}
	size := func(r sdklog.Record) int64 { return sizeOfRecord(&r) }
	return recordBatcher{newBatcher(l, cfg, size, export, e.Shutdown)}
}

func (b recordBatcher) Enabled(context.Context, sdklog.EnabledParameters) bool { return true }

// OnEmit copies the record, because the caller may reuse it afterwards.
func (b recordBatcher) OnEmit(_ context.Context, r *sdklog.Record) error {
	b.sender.PushFunc(sizeOfRecord(r), func() sdklog.Record { return r.Clone() })
	return nil
}

func (b recordBatcher) ForceFlush(ctx context.Context) error { return b.forceFlush(ctx) }
func (b recordBatcher) Shutdown(ctx context.Context) error   { return b.shutdown(ctx) }
