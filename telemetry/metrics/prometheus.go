package metrics

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/otel/attribute"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
)

// Prometheus serves the metrics of a MeterProvider in the formats that Prometheus scrapes, on one page with those of
// an existing registry.
//
//	page, err := metrics.NewPrometheus(&metrics.PrometheusOptions{Existing: registry})
//	mp := sdkmetric.NewMeterProvider(sdkmetric.WithReader(page.Reader()))
//	http.Handle("/metrics", page.Handler())
//
// # Names that collide
//
// An OpenTelemetry family whose name is taken on the page by the existing registry is served as otel_<name>. It keeps that name for as
// long as the process runs, even in scrapes without the other family: a series never changes its meaning. A name also counts as taken
// if it collides in only one of the formats: a histogram's x_count, the x that OpenMetrics makes of a counter x_total, the underscored
// form of a UTF-8 name. The two families are never merged, even where that would be valid, so that no sum counts a thing twice.
//
// # An existing page
//
// With an Existing registry, the page answers as promhttp.HandlerFor(Existing, promhttp.HandlerOpts{}) does: a scraper gets the
// existing series byte for byte, in each format that it can request. With prometheus.DefaultGatherer it answers as promhttp.Handler
// does, with the series promhttp_metric_handler_*. For those of another registry, wrap the Handler in promhttp.InstrumentMetricHandler
// as before.
//
// # Series that cannot be shown
//
// A scraper that cannot parse one series refuses the whole page. So an OpenTelemetry series is left out, counted and reported if a
// format or an escaping scheme cannot hold it: a label "le" on a histogram, a label that begins with two underscores, labels that
// become equal.
type Prometheus struct {
	reader *otelprom.Exporter
	page   *page
	open   bool // OpenMetrics is offered
}

// PrometheusOptions configure the page. The zero value serves the MeterProvider's metrics alone, named and labelled as the
// OpenTelemetry specification requires.
type PrometheusOptions struct {
	// Existing is the program's own registry, or prometheus.DefaultGatherer. Nil means none.
	Existing prometheus.Gatherer
	// OpenMetrics offers OpenMetrics to scrapers when there is an Existing registry. It has exemplars, but shows some series under
	// other names: le="1" becomes le="1.0", a counter without _total becomes unknown. Without an Existing registry it is always
	// offered, unless NoOpenMetrics is set. Default: false.
	OpenMetrics bool
	// NoOpenMetrics turns OpenMetrics off. Default: false.
	NoOpenMetrics bool
	// Namespace is put before the name of each OpenTelemetry metric. Default: none.
	Namespace string
	// OmitScopeLabels omits the labels otel_scope_name, otel_scope_version and otel_scope_schema_url. By default they distinguish
	// metrics of the same name from two packages. Without them, the second package's series are lost, and reported, wherever its labels
	// are equal.
	OmitScopeLabels bool
	// OmitTargetInfo omits the metric target_info, which carries the resource attributes.
	OmitTargetInfo bool
	// ResourceLabels chooses the resource attributes that become labels on each series. Default: none.
	ResourceLabels attribute.Filter
	// Translation is how OpenTelemetry names become Prometheus names. Default: underscores, with the unit and _total as suffixes.
	Translation otlptranslator.TranslationStrategyOption
	// ErrorHandler is called once for each problem. Default: the OpenTelemetry error handler.
	ErrorHandler func(error)
}

// NewPrometheus returns a page. It serves nothing until its Reader belongs to a MeterProvider and its Handler is mounted.
func NewPrometheus(opts *PrometheusOptions) (*Prometheus, error) {
	if opts == nil {
		opts = &PrometheusOptions{}
	}
	if opts.OpenMetrics && opts.NoOpenMetrics {
		return nil, fmt.Errorf("telemetry/metrics: PrometheusOptions: %w: OpenMetrics and NoOpenMetrics are both set", ErrInvalid)
	}
	own := prometheus.NewRegistry()
	exporter, err := otelprom.New(opts.exporter(own)...)
	if err != nil {
		return nil, fmt.Errorf("telemetry/metrics: making the Prometheus exporter (check Namespace): %w", err)
	}
	page, err := newPage(own, opts.Existing, newReporter(opts.ErrorHandler))
	if err != nil {
		return nil, err
	}
	page.kinds = kinds{reader: exporter, namer: otlptranslator.NewMetricNamer(opts.Namespace, opts.translation())}
	return &Prometheus{reader: exporter, page: page, open: opts.OpenMetrics || opts.Existing == nil && !opts.NoOpenMetrics}, nil
}

func (o *PrometheusOptions) translation() otlptranslator.TranslationStrategyOption {
	if o.Translation == "" {
		return otlptranslator.UnderscoreEscapingWithSuffixes
	}
	return o.Translation
}

func (o *PrometheusOptions) exporter(own prometheus.Registerer) []otelprom.Option {
	opts := []otelprom.Option{
		otelprom.WithRegisterer(own),
		otelprom.WithTranslationStrategy(o.translation()),
		otelprom.WithNamespace(o.Namespace),
	}
	if o.OmitScopeLabels {
		opts = append(opts, otelprom.WithoutScopeInfo())
	}
	if o.OmitTargetInfo {
		opts = append(opts, otelprom.WithoutTargetInfo())
	}
	if o.ResourceLabels != nil {
		opts = append(opts, otelprom.WithResourceAsConstantLabels(o.ResourceLabels))
	}
	return opts
}

// Reader returns the reader for the MeterProvider. It belongs to one MeterProvider, which shuts it down.
func (p *Prometheus) Reader() sdkmetric.Reader { return p.reader }

// Gatherer returns the metrics of the page, to push them or to serve them in another way. Its Gather returns the metrics that could be
// gathered along with an error for the others.
func (p *Prometheus) Gatherer() prometheus.Gatherer { return p.page }

// Handler returns the page in the format that the scraper requests: text, OpenMetrics with exemplars if it is offered, or protobuf with
// native histograms, compressed on request. Metrics that cannot be gathered are left out and reported; the page fails only if nothing
// could be gathered at all.
func (p *Prometheus) Handler() http.Handler {
	handler := promhttp.HandlerFor(tolerant{p.page}, promhttp.HandlerOpts{
		EnableOpenMetrics: p.open,
		ErrorHandling:     promhttp.ContinueOnError,
		ErrorLog:          encodeLog{p.page},
	})
	if existing, ok := p.page.existing.(*prometheus.Registry); ok && existing == prometheus.DefaultRegisterer {
		return promhttp.InstrumentMetricHandler(prometheus.DefaultRegisterer, handler)
	}
	return handler
}

// PrometheusStats counts the problems of a page.
type PrometheusStats struct {
	// Conflicts is the number of OpenTelemetry families that are served under another name.
	Conflicts int64
	// GatherErrors counts the errors of both registries, one for each in each scrape.
	GatherErrors int64
	// EncodeErrors counts the families that could not be written, one for each in each scrape.
	EncodeErrors int64
	// Refused counts the OpenTelemetry series that some format cannot hold, one for each in each scrape: labels that are reserved, or
	// that become equal when they are escaped.
	Refused int64
}

// Stats returns the current counts.
func (p *Prometheus) Stats() PrometheusStats {
	return PrometheusStats{
		Conflicts:    p.page.conflicts.Load(),
		GatherErrors: p.page.gatherErrors.Load(),
		EncodeErrors: p.page.encodeErrors.Load(),
		Refused:      p.page.refusals.Load(),
	}
}

// encodeLog receives promhttp's errors about families that it could not write.
type encodeLog struct{ page *page }

// Println implements promhttp.Logger.
func (l encodeLog) Println(v ...any) {
	l.page.encodeErrors.Add(1)
	l.page.report.once(errors.New("telemetry/metrics: " + strings.TrimSpace(fmt.Sprintln(v...))))
}
