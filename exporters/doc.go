// Package exporters builds the OpenTelemetry pipelines of a process, in one call from main:
//
//	pipeline, err := exporters.Setup(ctx, &exporters.Options{ServiceName: "orders"})
//	if err != nil {
//		return err
//	}
//	defer pipeline.Shutdown(context.WithoutCancel(ctx))
//	mux.Handle("GET /metrics", pipeline.MetricsHandler())
//
// With nothing configured that gives readable logs on the standard error, a page for Prometheus, and no use of the
// network. Spans are recorded all the same, so that the logs have trace ids. With OTEL_EXPORTER_OTLP_ENDPOINT, or
// Options.Endpoint, all three signals go to a collector.
//
// # Guarantees
//
//   - Emitting never blocks and never waits for the network. A queue that is full drops the new item and counts it.
//   - No loss is silent: emitted = exported + dropped + queued, for each destination of each signal, at any moment
//     ([Pipeline.Health]). Exported is what a destination has confirmed: over HTTP by 200 (202 and 204 count as well) and a body that is
//     an OTLP answer or empty. A redirect is never followed, and any other answer is a failure. What is dropped is a metric,
//     and a log line: one when it begins, at most one an interval while it lasts, one when it is over, one at the end for what no
//     line has told.
//   - Memory is bounded, for each destination: in items, by a queue of Options.QueueSize and one batch on its way, and in bytes, by
//     Options.QueueBytes for both, beside the encoding of one batch.
//   - What a peer refuses as too large (413, RESOURCE_EXHAUSTED without a delay) is sent in halves: an item over its limit costs itself
//     alone. On the console a point that is NaN or infinite does, and such an attribute is written as text.
//   - A batch is tried again, with growing waits, while the peer refuses connections, resets them, does not answer or says
//     that it is overloaded; Retry-After is obeyed, up to a minute. It is given up after Options.ExportTimeout, and at once
//     if the peer says that the data is bad. A request whose answer was lost is sent again: the peer may hold items twice.
//   - Text that is not UTF-8, which OTLP cannot carry, costs nothing but itself: wherever it stands, in spans, log records,
//     metrics or the resource, each run of bad bytes is sent as one U+FFFD. Series whose attributes become the same by that are one:
//     sums and histograms of fixed buckets are added up, of gauges the latest is sent; exponential histograms and summaries
//     stand beside each other. On the page for Prometheus such a series is left out and reported.
//   - [Pipeline.Shutdown] drains all signals at once, each within a time of its own, and says what it could not save. It returns shortly after
//     its context ends, whatever blocks.
//   - Log handlers, writers and processors are the program's. The pipeline holds no lock while they run, and waits for none for ever: its own
//     lines, and OTel events on the readable log, wait a second for a handler that blocks, and none while it blocks. The program's log calls
//     write to Options.LogWriter and Options.Sinks themselves.
//   - A mistake in the environment never keeps a service from starting; it is named, with what is used instead. An
//     OTEL_CONFIG_FILE that cannot be used is an error, as the specification has it.
//
// # What is configured where
//
// OTEL_CONFIG_FILE goes before the other OTEL_ variables, those before the Options, and those before the defaults. An empty variable is
// unset, and so is one whose value cannot be understood: where that is the variable of one signal, the general one counts.
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
// Of OTEL_RESOURCE_ATTRIBUTES one bad entry discards all; of headers it discards itself, and is named by its place, never by its value. A timeout
// of zero is none; a limit that is negative is warned of, and the default used. An endpoint over HTTP is a URL, whose user, path and query
// are used as they are; over grpc it is a URL, host:port or any other target of gRPC, such as unix:/path or dns:///host:port. A target has TLS
// unless OTEL_EXPORTER_OTLP_INSECURE is true, or it is a socket of this machine. What is no endpoint counts as unset: unless
// OTEL_*_EXPORTER asks for otlp, that signal is not sent.
//
// A variable that begins with OTEL_ and is none of these, nor one reserved for another language, is warned of, with the nearest that
// is.
//
// The file is parsed by otelconf, in version 1.0 of the schema. Resource, propagators, limits, samplers, batch and simple
// processors, periodic readers, views, and OTLP and console exporters are honoured, with the same accounts as above; what the file
// has beyond that is named in a warning each, as ignored. A signal without a section is not made. Options that add
// something (Sinks, processors, readers, Gatherer, Keep), QueueBytes and BatchBytes count beside the file. A file that is empty, of another
// version, or that gives a value another type than the schema is an error. Nothing of the process's OTEL_ variables counts beside it but what
// it refers to, as ${NAME}, which is read from the process.
//
// # Telemetry
//
// The pipeline's own metrics are those of the semantic conventions, in the scope of this package. Each point has
// otel.component.name and otel.component.type, that of one destination, and for what failed error.type: queue_full or
// already_shutdown for a processor; for an exporter the HTTP status, the gRPC code, rejected (a partial success),
// invalid_answer (a 2xx that is not OTLP), connection_refused, connection_reset, connection_failed, timeout, canceled or _OTHER.
//
//   - otel.sdk.processor.span.processed, otel.sdk.processor.log.processed, counters, {span} and {log_record}: what was
//     given to an exporter, or dropped before
//   - otel.sdk.processor.span.queue.size, otel.sdk.processor.log.queue.size, up-down counters: what waits
//   - otel.sdk.processor.span.queue.capacity, otel.sdk.processor.log.queue.capacity, up-down counters
//   - otel.sdk.exporter.span.exported, otel.sdk.exporter.log.exported, otel.sdk.exporter.metric_data_point.exported,
//     counters, {span}, {log_record} and {data_point}: what arrived, or was given up
//   - otel.sdk.exporter.span.inflight, otel.sdk.exporter.log.inflight, otel.sdk.exporter.metric_data_point.inflight,
//     up-down counters: what is on its way
//   - otel.sdk.exporter.operation.duration, histogram, s: one export with all its attempts
//   - go.*: the runtime, from the OpenTelemetry project's own instrumentation, unless Options.NoRuntimeMetrics
//
// OTel events are on the readable log too, under the event's name and with the scope as the logger's name: a decision or an
// exception is seen where there is no collector. The pipeline itself logs as goos.exporters.
package exporters
