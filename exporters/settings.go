package exporters

import (
	"cmp"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"go.opentelemetry.io/contrib/propagators/autoprop"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// Names of exporters, as in the OTEL_*_EXPORTER variables.
const (
	toOTLP       = "otlp"
	toConsole    = "console"
	toPrometheus = "prometheus"
)

// settings combine the file, or else the environment, with the Options and the defaults.
type settings struct {
	disabled   bool
	sdkLevel   slog.Level
	attributes []attribute.KeyValue // of the resource, over those of the Options
	propagator propagation.TextMapPropagator
	sampler    sdktrace.Sampler
	spanLimits *sdktrace.SpanLimits // nil leaves them to the SDK
	logLimits  []sdklog.LoggerProviderOption
	meter      []sdkmetric.Option // views and such
	traces     signalSettings
	metrics    signalSettings
	logs       signalSettings
}

// signalSettings are the destinations of one signal.
type signalSettings struct {
	off bool // has no destination, and is not built
	to  []destination
}

// destination is one exporter and the settings of its input.
type destination struct {
	exporter string
	otlp     otlpSettings // for toOTLP
	batch    batchConfig  // for spans and log records
	periodic periodicConfig
}

// periodicConfig configures one periodic export of metrics. A nil selector leaves the choice to the exporter.
type periodicConfig struct {
	interval    time.Duration
	timeout     time.Duration // of one export, including the collection
	temporality sdkmetric.TemporalitySelector
	aggregation sdkmetric.AggregationSelector
	cardinality sdkmetric.CardinalityLimitSelector
}

// resolve reads the environment once. It returns an error for mistakes in the Options or the file. Any other mistake in the
// environment is a warning.
func resolve(e *environ, o *Options) (settings, error) {
	e.checkNames()
	if file := e.vars[envConfigFile]; file != "" {
		return readFile(e, file)
	}
	e.checkSDK()
	s := settings{
		disabled:   e.boolean(envDisabled),
		sdkLevel:   sdkLevel(e.oneOf("warn", []string{"none", "error", "warn", "info", "debug"}, envLogLevel)),
		sampler:    sampler(e, o),
		propagator: propagator(e),
	}
	s.attributes = e.resource(envResource)
	s.spanLimits, s.logLimits = e.limits()
	if name := e.vars[envService]; name != "" {
		s.attributes = append(s.attributes, semconv.ServiceName(name))
	}
	spans := batch(e, o, "OTEL_BSP_", 5*time.Second)
	records := batch(e, o, "OTEL_BLRP_", time.Second)
	points := periodicConfig{
		interval: e.millis(1, cmp.Or(o.MetricInterval, time.Minute), "OTEL_METRIC_EXPORT_INTERVAL"),
		timeout:  e.timeout(cmp.Or(o.ExportTimeout, 30*time.Second), "OTEL_METRIC_EXPORT_TIMEOUT"),
	}
	var errs [3]error
	s.traces.to, errs[0] = destinations(e, o, Traces, destination{batch: spans}, toOTLP, toConsole, "none")
	s.metrics.to, errs[1] = destinations(e, o, Metrics, destination{periodic: points}, toOTLP, toConsole, toPrometheus, "none")
	s.logs.to, errs[2] = destinations(e, o, Logs, destination{batch: records}, toOTLP, toConsole, "none")
	for _, err := range errs {
		if err != nil {
			return s, fmt.Errorf("exporters.Options: %w: %w", ErrInvalid, err)
		}
	}
	return s, nil
}

func batch(e *environ, o *Options, prefix string, delay time.Duration) batchConfig {
	c := batchConfig{
		queue:   e.number(cmp.Or(o.QueueSize, 2048), 1, prefix+"MAX_QUEUE_SIZE"),
		batch:   e.number(cmp.Or(o.BatchSize, 512), 1, prefix+"MAX_EXPORT_BATCH_SIZE"),
		delay:   e.millis(0, cmp.Or(o.BatchDelay, delay), prefix+"SCHEDULE_DELAY"),
		timeout: e.timeout(cmp.Or(o.ExportTimeout, 30*time.Second), prefix+"EXPORT_TIMEOUT"),
	}
	if c.batch > c.queue {
		if e.set(prefix + "MAX_EXPORT_BATCH_SIZE") {
			e.warn(prefix+"MAX_EXPORT_BATCH_SIZE", "%d is more than the queue holds; %d is used", c.batch, c.queue)
		}
		c.batch = c.queue
	}
	return c
}

// destinations returns the destinations of one signal. Without configuration, metrics go to the Prometheus page and nothing to the
// network.
func destinations(e *environ, o *Options, which Signal, like destination, accepted ...string) ([]destination, error) {
	prefix := which.env()
	names, set := e.list(accepted, "OTEL_"+prefix+"EXPORTER")
	if !set {
		if which == Metrics {
			names = append(names, toPrometheus)
		}
		names = append(names, toOTLP)
	}
	var to []destination
	for _, name := range names {
		d := like
		d.exporter = name
		if name == toOTLP {
			var found bool
			var err error
			if d.otlp, found, err = otlp(e, o, which, set); err != nil {
				return nil, err
			}
			if !found {
				continue
			}
		}
		to = append(to, d)
	}
	return to, nil
}

// env returns the signal's part of variable names, with an underscore after it.
func (s Signal) env() string {
	switch s {
	case Traces:
		return "TRACES_"
	case Metrics:
		return "METRICS_"
	default:
		return "LOGS_"
	}
}

func sampler(e *environ, o *Options) sdktrace.Sampler {
	def := o.Sampler
	if def == nil {
		def = sdktrace.ParentBased(sdktrace.AlwaysSample())
	}
	name := e.oneOf("", []string{
		"always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio",
	}, envSampler)
	if name == "" && e.set(envSamplerArg) && !e.set(envSampler) {
		e.warn(envSamplerArg, "it has no effect without %s", envSampler)
	}
	switch name {
	case "always_on":
		return sdktrace.AlwaysSample()
	case "always_off":
		return sdktrace.NeverSample()
	case "traceidratio":
		return sdktrace.TraceIDRatioBased(e.ratio(1, envSamplerArg))
	case "parentbased_always_on":
		return sdktrace.ParentBased(sdktrace.AlwaysSample())
	case "parentbased_always_off":
		return sdktrace.ParentBased(sdktrace.NeverSample())
	case "parentbased_traceidratio":
		return sdktrace.ParentBased(sdktrace.TraceIDRatioBased(e.ratio(1, envSamplerArg)))
	}
	return def
}

// propagator is built by autoprop, which knows the names of the specification and those that a program registered there.
func propagator(e *environ) propagation.TextMapPropagator {
	const name = "OTEL_PROPAGATORS"
	def := propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	words := splitList(strings.ToLower(e.vars[name]))
	if len(words) == 0 {
		return def
	}
	p, err := autoprop.TextMapPropagator(words...)
	if err != nil {
		used := "the others are used"
		if p == nil {
			p, used = def, "tracecontext,baggage is used"
		}
		e.warn(name, "%v; known are tracecontext, baggage, b3, b3multi, jaeger, xray, ottrace, none; %s", err, used)
	}
	return p
}

// The slog levels at which the SDK logs through logr: a warning is V(1), information V(4), detail V(8).
const (
	sdkWarn  = slog.Level(-1)
	sdkInfo  = slog.Level(-4)
	sdkDebug = slog.Level(-8)
)

// sdkLevel returns the least level of the SDK's own log that is shown. The default is warnings. The specification says information,
// but at that level the Go SDK describes every provider that it creates.
func sdkLevel(word string) slog.Level {
	switch word {
	case "none":
		return slog.LevelError + 1
	case "error":
		return slog.LevelError
	case "info":
		return sdkInfo
	case "debug":
		return sdkDebug
	default:
		return sdkWarn
	}
}
