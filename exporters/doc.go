// Package exporters builds the OpenTelemetry pipelines of a process, in one call from main:
//
//	pipeline, err := exporters.Setup(ctx, &exporters.Options{ServiceName: "orders"})
//	if err != nil {
//		return err
//	}
//	defer pipeline.Shutdown(context.WithoutCancel(ctx))
//	mux.Handle("GET /metrics", pipeline.MetricsHandler())
//
// Without any configuration the process writes readable logs to standard error, serves a page for Prometheus, and does not use the
// network. Spans are recorded nevertheless, so that the logs have trace ids. With OTEL_EXPORTER_OTLP_ENDPOINT or Options.Endpoint, all
// three signals go to a collector.
//
// # Guarantees
//
//   - Emitting never blocks and never waits for the network. A full queue drops the new item and counts it.
//   - No loss is silent: emitted = exported + dropped + queued, for each destination of each signal, at any moment
//     ([Pipeline.Health]). Exported means that the destination has confirmed the items: over HTTP by 200 (or 202 or 204) and a body that
//     is an OTLP response or empty. A redirect is never followed, and any other response is a failure. Dropped items are a metric and a
//     log line: one when the loss begins, at most one an interval while it lasts, one when it ends, and one at the end for losses that
//     no line has reported.
//   - Memory is bounded for each destination. In items, the bound is a queue of Options.QueueSize and one batch in flight. In bytes,
//     Options.QueueBytes bounds both; the encoding of one batch comes on top.
//   - A batch that a peer refuses as too large (413, RESOURCE_EXHAUSTED without a delay) is sent in halves, so that only an item over
//     the limit is lost. On the console only a point that is NaN or infinite is lost; such an attribute is written as text.
//   - A batch is retried with backoff while the peer refuses connections, resets them, does not respond or reports that it is overloaded.
//     Retry-After is obeyed, up to a minute. The batch is dropped after Options.ExportTimeout, or at once if the peer reports that
//     the data is bad. A request whose response was lost is sent again, so the peer may store items twice.
//   - OTLP cannot carry text that is not UTF-8. In spans, log records, metrics and the resource, each run of bad bytes is sent as one
//     U+FFFD. Series whose repaired attributes are equal are merged: sums and histograms with fixed buckets are added up, and the
//     latest gauge is sent. Exponential histograms and summaries stay separate. The page for Prometheus leaves such a series out and
//     reports it.
//   - [Pipeline.Shutdown] drains all signals in parallel, each within its own time, and reports what it could not export. It returns
//     shortly after its context ends, whatever blocks.
//   - Log handlers, writers and processors belong to the program. The pipeline holds no lock while they run, and never waits for one
//     forever. Its own lines, and OTel events on the readable log, wait up to a second for a handler that blocks. While it still
//     blocks, later lines do not wait at all. Log calls of the program write to Options.LogWriter and Options.Sinks directly.
//   - A mistake in the environment never keeps a service from starting. A warning names it and its replacement. An OTEL_CONFIG_FILE that
//     cannot be used is an error, as the specification requires.
//
// # Configuration
//
// OTEL_CONFIG_FILE overrides the other OTEL_ variables, which override the Options, which override the defaults. A variable that is
// empty or invalid counts as unset. If it is the variable of one signal, the general variable applies instead.
//
//	OTEL_SDK_DISABLED                          true leaves propagation, the readable log and the program's own registry
//	OTEL_LOG_LEVEL                             how much of the SDK's own log is shown: none, error, warn (default), info, debug
//	OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES
//	OTEL_PROPAGATORS                           tracecontext, baggage (default both), b3, b3multi, jaeger, xray, ottrace, none
//	OTEL_TRACES_SAMPLER, _ARG                  the six of the specification; default parentbased_always_on
//	OTEL_TRACES_EXPORTER, OTEL_LOGS_EXPORTER   list of otlp, console, none; default otlp if an endpoint is set, otherwise none
//	OTEL_METRICS_EXPORTER                      also prometheus, which is the page; default prometheus, and otlp likewise
//	OTEL_EXPORTER_OTLP_*                       ENDPOINT, PROTOCOL (grpc, http/protobuf (default), and for traces http/json), HEADERS,
//	                                           TIMEOUT, COMPRESSION (gzip, none), INSECURE, CERTIFICATE, CLIENT_CERTIFICATE, CLIENT_KEY;
//	                                           for one signal with TRACES_, METRICS_ or LOGS_ before the last word
//	OTEL_BSP_*, OTEL_BLRP_*                    SCHEDULE_DELAY, EXPORT_TIMEOUT (of a batch, retries included), MAX_QUEUE_SIZE,
//	                                           MAX_EXPORT_BATCH_SIZE
//	OTEL_METRIC_EXPORT_INTERVAL, _TIMEOUT
//	OTEL_ATTRIBUTE_*_LIMIT, OTEL_SPAN_*_LIMIT, OTEL_EVENT_*, OTEL_LINK_* and OTEL_LOGRECORD_*_LIMIT
//	OTEL_METRICS_EXEMPLAR_FILTER, OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE and
//	_DEFAULT_HISTOGRAM_AGGREGATION             read by the SDK, and checked here
//
// One bad entry of OTEL_RESOURCE_ATTRIBUTES discards all of them. A bad header discards only itself; the warning has its position, never its
// value. A timeout of zero means none. A negative limit causes a warning, and the default is used.
//
// An endpoint over HTTP is a URL. Its user, path and query are used unchanged. Over gRPC it is a URL, host:port or any other target of
// gRPC, such as unix:/path or dns:///host:port. A target uses TLS unless OTEL_EXPORTER_OTLP_INSECURE is true or it is a socket of this
// machine. A malformed endpoint counts as unset: unless OTEL_*_EXPORTER requests otlp, that signal is not sent.
//
// An unknown variable that begins with OTEL_, and is not reserved for another language, causes a warning with the nearest known name.
//
// otelconf parses the file, in version 1.0 of the schema. Resource, propagators, limits, samplers, batch and simple processors,
// periodic readers, views, and OTLP and console exporters are honoured, with the same accounts as above. Every other setting of the
// file is ignored, with a warning. A signal without a section is off. Options that add something (Sinks, processors, readers, Gatherer,
// KeepTraces), QueueBytes and BatchBytes apply in addition to the file. A file is an error if it is empty, of another version, or has a
// value of a wrong type. OTEL_ variables of the process count only where the file refers to them as ${NAME}.
//
// # Telemetry
//
// The pipeline's own metrics are those of the semantic conventions, in the scope of this package. Each point has
// otel.component.name and otel.component.type, which identify one destination, and on failure error.type: queue_full or
// already_shutdown for a processor; for an exporter the HTTP status, the gRPC code, rejected (a partial success),
// invalid_answer (a 2xx that is not OTLP), connection_refused, connection_reset, connection_failed, timeout, canceled or _OTHER.
//
//   - otel.sdk.processor.span.processed, otel.sdk.processor.log.processed, counters, {span} and {log_record}: items that were passed to
//     an exporter, or dropped before
//   - otel.sdk.processor.span.queue.size, otel.sdk.processor.log.queue.size, up-down counters: waiting items
//   - otel.sdk.processor.span.queue.capacity, otel.sdk.processor.log.queue.capacity, up-down counters
//   - otel.sdk.exporter.span.exported, otel.sdk.exporter.log.exported, otel.sdk.exporter.metric_data_point.exported,
//     counters, {span}, {log_record} and {data_point}: items that were delivered or dropped
//   - otel.sdk.exporter.span.inflight, otel.sdk.exporter.log.inflight, otel.sdk.exporter.metric_data_point.inflight,
//     up-down counters: items in flight
//   - otel.sdk.exporter.operation.duration, histogram, s: one export with all its attempts
//   - go.*: the runtime, from the OpenTelemetry project's own instrumentation, unless Options.NoRuntimeMetrics
//
// OTel events are also on the readable log, with the attribute "event" and the scope as the logger's name. Decisions and exceptions are
// therefore visible without a collector. The pipeline itself logs as goos.exporters.
package exporters
