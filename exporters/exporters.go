package exporters

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/fault"
	"github.com/go-os/go-os/internal/option"
	"github.com/go-os/go-os/telemetry/log"
	"github.com/go-os/go-os/telemetry/metrics"
	"github.com/go-os/go-os/telemetry/trace"
)

// ErrInvalid is the error of Setup for an option that is negative or contradicts another one.
var ErrInvalid = fault.Invalid

// Options configure Setup. Nil and the zero value work. The environment overrides them; see the package comment.
type Options struct {
	// ServiceName is the attribute service.name. Default: "unknown_service:" and the name of the executable.
	ServiceName string
	// ServiceVersion is the attribute service.version. Default: none.
	ServiceVersion string
	// ServiceNamespace is the attribute service.namespace. Default: none.
	ServiceNamespace string
	// InstanceID is the attribute service.instance.id, unique to this process. Default: a random UUID.
	InstanceID string
	// Attributes are further attributes of the resource, beside the above and the detected ones. Default: none.
	Attributes []attribute.KeyValue
	// Detectors add attributes to the resource; one that fails does not fail Setup. Default: those of the SDK for the host, the
	// container, the operating system and the process.
	Detectors []resource.Detector

	// Endpoint is the destination of OTLP: http://host:port, or https:// for TLS. Over HTTP the path of each signal is added. Over GRPC
	// it may be any target of gRPC, such as unix:/path or dns:///host:port, with TLS unless that is a socket of this machine. Default:
	// empty, which sends nothing to the network.
	Endpoint string
	// Protocol is GRPC, HTTP or HTTPJSON. Default: HTTP.
	Protocol string
	// Headers are sent with every OTLP request. A header that the protocol cannot send is an error. Default: none.
	Headers map[string]string
	// Compression of OTLP requests, "gzip" or "none". Default: none.
	Compression string
	// TLS is used for endpoints with https. Default: TLS 1.2 and the roots of the system.
	TLS *tls.Config

	// Sampler decides which traces are recorded; it can be changed later by Pipeline.Sampler. Default: every trace whose parent, if
	// it has one, is sampled.
	Sampler sdktrace.Sampler
	// KeepTraces exports traces that the sampler dropped if they end with an error or are slow, see trace.KeepOptions. Default: nil,
	// which keeps none.
	KeepTraces *trace.KeepOptions

	// Gatherer is an existing registry of the program, such as prometheus.DefaultGatherer. MetricsHandler serves it on the same page.
	// Default: none.
	Gatherer prometheus.Gatherer
	// Prometheus configures the page: OpenMetrics, scope labels, a namespace. Gatherer replaces its Existing registry. Its
	// ErrorHandler, if set, receives the problems of the page instead of the pipeline. Default: that of metrics.PrometheusOptions.
	Prometheus metrics.PrometheusOptions
	// BridgeRegistry sends the metrics of Gatherer over OTLP too. Default: false.
	BridgeRegistry bool
	// NoRuntimeMetrics leaves out the metrics of the Go runtime, go.*. Set it if Gatherer already has a Go collector. Default: false.
	NoRuntimeMetrics bool
	// MetricInterval is the time between two exports of metrics. Default: 1 minute.
	MetricInterval time.Duration
	// Views change how instruments are aggregated. Default: none.
	Views []sdkmetric.View

	// LogWriter is the writer of the readable log. It is called within the log call, so a slow writer slows the program down: see
	// log.Async. io.Discard turns the log off. Default: os.Stderr.
	LogWriter io.Writer
	// LogJSON writes the readable log as JSON. Default: false, which is text.
	LogJSON bool
	// Console is the writer of the exporter named console, which writes JSON. Default: os.Stdout.
	Console io.Writer
	// Sinks also receive every log record and event, with the ids of the span as in the readable log; see log.TraceIDs. The program
	// closes them, after Shutdown. Default: none.
	Sinks []slog.Handler
	// LogLevels decide what is logged, by the logger's name. Default: Info and above.
	LogLevels *log.Levels
	// Redact selects what is hidden from the logs. Default: see log.Redaction.
	Redact *log.Redaction
	// EventsOnSpans adds each OTel event to the span it belongs to, for backends that show events there. Default: false.
	EventsOnSpans bool

	// SpanProcessors are the program's own. They see every recorded span, and are shut down by Shutdown. Default: none.
	SpanProcessors []sdktrace.SpanProcessor
	// MetricReaders are the program's own. They are shut down by Shutdown. Default: none.
	MetricReaders []sdkmetric.Reader
	// LogProcessors are the program's own. They are shut down by Shutdown. Default: none.
	LogProcessors []sdklog.Processor

	// KeepGlobals leaves all globals of the process unchanged. It implies KeepOTel and KeepSlog, and allows several pipelines in one
	// process. Default: false.
	KeepGlobals bool
	// KeepOTel leaves the otel package unchanged: its providers, propagator, error handler and logger. Default: false, which sets them.
	// Providers that the program has set before are replaced, with a warning.
	KeepOTel bool
	// KeepSlog leaves slog.Default unchanged. Default: false, which sets it. A logger that the program has set before is replaced, with
	// a warning.
	KeepSlog bool
	// StandardLog redirects the standard log package, as slog.SetDefault does by itself. Default: false, which leaves that package
	// unchanged.
	StandardLog bool
	// Environ is the environment, in the form of os.Environ. Default: os.Environ(). The variables that the SDK reads by itself (the
	// exemplar filter, the preferences of OTLP metrics) still come from the process.
	Environ []string

	// QueueSize is the number of spans, and of log records, that may wait for each destination. Further ones are dropped and counted.
	// Default: 2048.
	QueueSize int
	// QueueBytes is the number of bytes of spans, and of log records, that may wait for each destination or be in flight to it, by an
	// estimate of their memory. Further ones are dropped and counted. Default: 32 MiB.
	QueueBytes int
	// BatchBytes is the number of bytes of one export, by the same estimate. A larger item is exported alone. A batch that a peer
	// refuses as too large is sent in halves, and later batches stay smaller. Default: 2 MiB.
	BatchBytes int
	// BatchSize is the number of items of one export. Default: 512.
	BatchSize int
	// BatchDelay is the longest wait for a batch to fill. Default: 5 seconds for spans, 1 second for log records.
	BatchDelay time.Duration
	// ExportTimeout is the time for one batch, with retries, before it is dropped and counted. Waits that the peer requests do not
	// count. Default: 30 seconds.
	ExportTimeout time.Duration
	// ShutdownTimeout is the time that each signal has to drain in Shutdown. The context of Shutdown bounds it too. Default: 5 seconds.
	ShutdownTimeout time.Duration
	// ReportInterval is the least time between two log lines about lost telemetry. Default: 1 minute.
	ReportInterval time.Duration
}

// Setup builds the pipelines and installs them in the process: as the globals of the otel package unless Options.KeepOTel is set, as
// slog.Default unless KeepSlog is set, and for the standard log package if StandardLog is set. One log line reports which. Setup starts no
// listener, and connects to nothing until there is something to export.
//
// Setup returns an error only for mistakes that must be corrected before the program can run: contradictory Options, or an
// OTEL_CONFIG_FILE that cannot be read or used. Any other mistake in the environment is a warning on the readable log, which names
// the variable and its replacement.
func Setup(ctx context.Context, opts *Options) (*Pipeline, error) {
	o := defaults.Copy(opts)
	if err := o.check(); err != nil {
		return nil, err
	}
	o.keep()
	if o.LogWriter == nil {
		o.LogWriter = os.Stderr
	}
	if o.Console == nil {
		o.Console = os.Stdout
	}
	if o.LogLevels == nil {
		o.LogLevels = log.NewLevels(slog.LevelInfo)
	}
	o.ShutdownTimeout = cmp.Or(o.ShutdownTimeout, 5*time.Second)
	o.ReportInterval = cmp.Or(o.ReportInterval, time.Minute)

	e := newEnviron(o.Environ)
	s, err := resolve(e, &o)
	if err != nil {
		return nil, err
	}
	p := newPipeline(&o, s)
	before := otel.GetErrorHandler()
	if !o.KeepOTel {
		otel.SetErrorHandler(p.errors) // errors of the SDK during set-up belong in the log of the pipeline
	}
	if err := p.build(ctx, e); err != nil {
		if !o.KeepOTel {
			otel.SetErrorHandler(before)
		}
		p.abandon()
		return nil, err
	}
	p.install(ctx)
	p.reportWarnings(ctx, e.warnings)
	return p, nil
}

// check returns an error for each mistake in the options.
func (o *Options) check() error {
	errs := []error{option.Check("exporters.Options",
		option.Of("QueueSize", o.QueueSize), option.Of("QueueBytes", o.QueueBytes),
		option.Of("BatchSize", o.BatchSize), option.Of("BatchBytes", o.BatchBytes), option.Of("BatchDelay", o.BatchDelay),
		option.Of("ExportTimeout", o.ExportTimeout), option.Of("ShutdownTimeout", o.ShutdownTimeout),
		option.Of("ReportInterval", o.ReportInterval), option.Of("MetricInterval", o.MetricInterval),
	)}
	invalid := func(problem string) {
		errs = append(errs, fmt.Errorf("exporters.Options: %w: %s", ErrInvalid, problem))
	}
	if o.Compression != "" && o.Compression != "gzip" && o.Compression != "none" {
		invalid(fmt.Sprintf("Compression %q is neither gzip nor none", o.Compression))
	}
	if o.Prometheus.Existing != nil {
		invalid("Prometheus.Existing is set; set Gatherer instead")
	}
	if o.StandardLog && o.KeepGlobals {
		invalid("StandardLog contradicts KeepGlobals; set KeepOTel and KeepSlog instead")
	}
	if o.BridgeRegistry && o.Gatherer == nil {
		invalid("BridgeRegistry is set, and there is no Gatherer; set Gatherer to the registry to bridge")
	}
	return errors.Join(errs...)
}
