package exporters

import (
	"slices"
	"strings"
)

// Names of variables that are read in more than one place.
const (
	envConfigFile = "OTEL_CONFIG_FILE"
	envDisabled   = "OTEL_SDK_DISABLED"
	envLogLevel   = "OTEL_LOG_LEVEL"
	envService    = "OTEL_SERVICE_NAME"
	envResource   = "OTEL_RESOURCE_ATTRIBUTES"
	envSampler    = "OTEL_TRACES_SAMPLER"
	envSamplerArg = "OTEL_TRACES_SAMPLER_ARG"
	envProtocol   = "OTEL_EXPORTER_OTLP_PROTOCOL"
)

// The readers of a variable.
const (
	readHere    = iota // this package
	readBySDK          // the SDK, from the environment of the process
	notSupports        // nobody: defined by the specification, without effect here
)

// variable is an environment variable that this package knows.
type variable struct {
	name   string
	reader int
	note   string // for notSupports: what to do instead
}

// variables returns all variables that the specification and the Go SDK define.
func variables() []variable {
	here := []string{
		envConfigFile, envDisabled, envLogLevel, envService, envResource, envSampler, envSamplerArg, "OTEL_PROPAGATORS",
		"OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER",
		"OTEL_METRIC_EXPORT_INTERVAL", "OTEL_METRIC_EXPORT_TIMEOUT",
	}
	for _, prefix := range []string{"OTEL_BSP_", "OTEL_BLRP_"} {
		for _, suffix := range []string{"SCHEDULE_DELAY", "EXPORT_TIMEOUT", "MAX_QUEUE_SIZE", "MAX_EXPORT_BATCH_SIZE"} {
			here = append(here, prefix+suffix)
		}
	}
	for _, signal := range []string{"", "TRACES_", "METRICS_", "LOGS_"} {
		for _, suffix := range []string{
			"ENDPOINT", "PROTOCOL", "HEADERS", "TIMEOUT", "COMPRESSION", "INSECURE", "CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY",
		} {
			here = append(here, "OTEL_EXPORTER_OTLP_"+signal+suffix)
		}
	}
	here = append(here,
		"OTEL_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
		"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_SPAN_ATTRIBUTE_VALUE_DEPTH_LIMIT",
		"OTEL_SPAN_EVENT_COUNT_LIMIT", "OTEL_SPAN_LINK_COUNT_LIMIT",
		"OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
		"OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_LOGRECORD_ATTRIBUTE_VALUE_DEPTH_LIMIT")
	sdk := []string{
		"OTEL_METRICS_EXEMPLAR_FILTER",
		"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
	}
	all := []variable{
		{"OTEL_EXPERIMENTAL_CONFIG_FILE", notSupports, "use " + envConfigFile},
		{"OTEL_EXPORTER_PROMETHEUS_HOST", notSupports, "serve Pipeline.MetricsHandler on a listener of the program"},
		{"OTEL_EXPORTER_PROMETHEUS_PORT", notSupports, "serve Pipeline.MetricsHandler on a listener of the program"},
		{"OTEL_EXPORTER_ZIPKIN_ENDPOINT", notSupports, "send OTLP to a collector"},
		{"OTEL_EXPORTER_ZIPKIN_TIMEOUT", notSupports, "send OTLP to a collector"},
		{"OTEL_EXPORTER_ZIPKIN_PROTOCOL", notSupports, "send OTLP to a collector"},
		{"OTEL_METRICS_PRODUCERS", notSupports, "set Options.BridgeRegistry"},
		{"OTEL_ENTITIES", notSupports, "use " + envResource},
	}
	for _, name := range here {
		all = append(all, variable{name: name})
	}
	for _, name := range sdk {
		all = append(all, variable{name: name, reader: readBySDK})
	}
	return all
}

// foreign returns the prefixes that the specification reserves for languages and for companion programs.
func foreign() []string {
	return []string{
		"OTEL_GO_", "OTEL_JAVA", "OTEL_JS_", "OTEL_NODE_", "OTEL_PYTHON_", "OTEL_DOTNET_", "OTEL_PHP_", "OTEL_RUBY_", "OTEL_RUST_",
		"OTEL_CPP_", "OTEL_ERLANG_", "OTEL_SWIFT_", "OTEL_SEMCONV_", "OTEL_INSTRUMENTATION_", "OTEL_OPERATOR_", "OTEL_INJECTOR_",
		"OTEL_RESOURCE_ATTRIBUTES_", "OTEL_EBPF_", "OTEL_POD_",
	}
}

// checkNames warns about variables that have no effect: misspelt ones, and ones that are not supported here.
func (e *environ) checkNames() {
	known := variables()
	names := make([]string, len(known))
	for i, v := range known {
		names[i] = v.name
	}
	for _, name := range sortedKeys(e.vars) {
		i := slices.Index(names, name)
		switch {
		case i >= 0 && known[i].reader == notSupports:
			e.warn(name, "it has no effect here: %s", known[i].note)
		case i < 0 && !slices.ContainsFunc(foreign(), func(p string) bool { return strings.HasPrefix(name, p) }):
			e.warn(name, "no such variable is known%s; it has no effect", didYouMean(name, names))
		}
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// checkSDK warns about invalid values in the variables that only the SDK reads. The SDK does not name them itself.
func (e *environ) checkSDK() {
	e.oneOf("trace_based", []string{"always_on", "always_off", "trace_based"}, "OTEL_METRICS_EXEMPLAR_FILTER")
	e.oneOf("cumulative", []string{"cumulative", "delta", "lowmemory"}, "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE")
	e.oneOf("explicit_bucket_histogram", []string{"explicit_bucket_histogram", "base2_exponential_bucket_histogram"},
		"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION")
}
