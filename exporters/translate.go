package exporters

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/contrib/otelconf"
	"go.opentelemetry.io/contrib/propagators/autoprop"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// translation converts the model of a configuration file to settings.
type translation struct {
	model  *otelconf.OpenTelemetryConfiguration
	ignore func(section, why string)
}

func (t translation) settings() (s settings, err error) {
	m := t.model
	s.disabled = m.Disabled != nil && *m.Disabled
	s.sdkLevel = sdkLevel("info")
	if m.LogLevel != nil {
		s.sdkLevel = sdkLevel(severityWord(string(*m.LogLevel)))
	}
	if s.attributes, err = t.resource(m.Resource); err != nil {
		return s, err
	}
	if s.propagator, err = t.propagator(m.Propagator); err != nil {
		return s, err
	}
	return s, errors.Join(t.traces(&s), t.metrics(&s), t.logs(&s))
}

// severityWord maps the file's severity to a word of OTEL_LOG_LEVEL: "warn2" is a warning.
func severityWord(severity string) string {
	switch word := strings.TrimRight(severity, "234"); word {
	case "trace":
		return "debug"
	case "fatal":
		return "error"
	default:
		return word
	}
}

func (t translation) resource(r *otelconf.Resource) (attrs []attribute.KeyValue, err error) {
	if r == nil {
		return nil, nil
	}
	if r.AttributesList != nil {
		for _, p := range pairs(*r.AttributesList) {
			if p.err != nil {
				return nil, fmt.Errorf("resource.attributes_list: entry %d %w", p.at, p.err)
			}
			attrs = append(attrs, attribute.String(p.key, p.value))
		}
	}
	if r.SchemaUrl != nil {
		t.ignore("resource.schema_url", "attributes of several versions of the conventions may stand in one resource")
	}
	for i, a := range r.Attributes {
		if a.Value == nil {
			t.ignore(fmt.Sprintf("resource.attributes[%d]", i), "it has no value")
			continue
		}
		kv, err := typedAttribute(a)
		if err != nil {
			return nil, fmt.Errorf("resource.attributes[%d]: %w", i, err)
		}
		attrs = append(attrs, kv)
	}
	return attrs, nil
}

func (t translation) propagator(p *otelconf.Propagator) (propagation.TextMapPropagator, error) {
	names := make(map[string]bool)
	if p != nil {
		for _, c := range p.Composite {
			for name, set := range map[string]bool{
				"tracecontext": c.Tracecontext != nil, "baggage": c.Baggage != nil, "b3": c.B3 != nil,
				"b3multi": c.B3Multi != nil, "jaeger": c.Jaeger != nil, "ottrace": c.Ottrace != nil,
			} {
				if set {
					names[name] = true
				}
			}
		}
		if p.CompositeList != nil {
			for _, name := range splitList(*p.CompositeList) {
				names[name] = true
			}
		}
	}
	composed, err := autoprop.TextMapPropagator(slices.Sorted(maps.Keys(names))...)
	if err != nil {
		return nil, fmt.Errorf("propagator: %w", err)
	}
	return composed, nil
}

func (t translation) traces(s *settings) error {
	tp := t.model.TracerProvider
	if tp == nil {
		s.traces.off = true
		return nil
	}
	var err error
	if s.sampler, err = fileSampler("tracer_provider.sampler", tp.Sampler); err != nil {
		return err
	}
	s.spanLimits = t.spanLimits(tp.Limits)
	for i, p := range tp.Processors {
		at := fmt.Sprintf("tracer_provider.processors[%d]", i)
		d := destination{batch: immediately()}
		var e otelconf.SpanExporter
		switch {
		case p.Batch != nil && p.Simple == nil:
			e = p.Batch.Exporter
			d.batch, err = fileBatch(at, 5*time.Second, p.Batch.ScheduleDelay, p.Batch.ExportTimeout, p.Batch.MaxQueueSize, p.Batch.MaxExportBatchSize)
		case p.Simple != nil && p.Batch == nil:
			e = p.Simple.Exporter
		default:
			err = fmt.Errorf("%s is neither batch nor simple", at)
		}
		if err == nil {
			d.exporter, d.otlp, err = t.exporter(at, Traces, e.Console != nil, e.OTLPHttp, e.OTLPGrpc)
		}
		if err != nil {
			return err
		}
		s.traces.to = append(s.traces.to, d)
	}
	return nil
}

func (t translation) logs(s *settings) error {
	lp := t.model.LoggerProvider
	if lp == nil {
		s.logs.off = true
		return nil
	}
	s.logLimits = t.logLimits(lp.Limits)
	for i, p := range lp.Processors {
		at := fmt.Sprintf("logger_provider.processors[%d]", i)
		d := destination{batch: immediately()}
		var e otelconf.LogRecordExporter
		var err error
		switch {
		case p.Batch != nil && p.Simple == nil:
			e = p.Batch.Exporter
			d.batch, err = fileBatch(at, time.Second, p.Batch.ScheduleDelay, p.Batch.ExportTimeout, p.Batch.MaxQueueSize, p.Batch.MaxExportBatchSize)
		case p.Simple != nil && p.Batch == nil:
			e = p.Simple.Exporter
		default:
			err = fmt.Errorf("%s is neither batch nor simple", at)
		}
		if err == nil {
			d.exporter, d.otlp, err = t.exporter(at, Logs, e.Console != nil, e.OTLPHttp, e.OTLPGrpc)
		}
		if err != nil {
			return err
		}
		s.logs.to = append(s.logs.to, d)
	}
	return nil
}

// immediately configures the "simple" processor: each item is exported by itself, at once, but the program does not wait
// for it.
func immediately() batchConfig {
	return batchConfig{queue: 2048, batch: 1, delay: time.Second, timeout: 30 * time.Second}
}

// fileMillis converts a duration in milliseconds. If it is a limit, zero means none, here and in the settings.
func fileMillis(v *int, def time.Duration) time.Duration {
	if v == nil {
		return def
	}
	return time.Duration(*v) * time.Millisecond
}

func fileBatch(at string, delay time.Duration, scheduleDelay, exportTimeout, maxQueue, maxBatch *int) (batchConfig, error) {
	c := batchConfig{queue: 2048, batch: 512, delay: delay, timeout: fileMillis(exportTimeout, 30*time.Second)}
	if scheduleDelay != nil {
		c.delay = max(time.Duration(*scheduleDelay)*time.Millisecond, time.Millisecond)
	}
	if maxQueue != nil {
		c.queue = *maxQueue
	}
	if maxBatch != nil {
		c.batch = *maxBatch
	}
	if c.queue < 1 || c.batch < 1 || c.timeout < 0 || (scheduleDelay != nil && *scheduleDelay < 0) {
		return c, fmt.Errorf("%s.batch: sizes have to be positive and times not negative", at)
	}
	c.batch = min(c.batch, c.queue)
	return c, nil
}

// spanLimits returns the limits of the section, over the general ones, over the defaults. The SDK's constructor of limits
// would read the environment, which does not count beside a file.
func (t translation) spanLimits(l *otelconf.SpanLimits) *sdktrace.SpanLimits {
	var limits sdktrace.SpanLimits
	limits.AttributeValueDepthLimit = sdktrace.DefaultAttributeValueDepthLimit
	limits.AttributeValueLengthLimit = sdktrace.DefaultAttributeValueLengthLimit
	limits.AttributeCountLimit = sdktrace.DefaultAttributeCountLimit
	limits.EventCountLimit = sdktrace.DefaultEventCountLimit
	limits.LinkCountLimit = sdktrace.DefaultLinkCountLimit
	limits.AttributePerEventCountLimit = sdktrace.DefaultAttributePerEventCountLimit
	limits.AttributePerLinkCountLimit = sdktrace.DefaultAttributePerLinkCountLimit
	set := func(to *int, v *int) {
		if v != nil {
			*to = *v
		}
	}
	if g := t.model.AttributeLimits; g != nil {
		set(&limits.AttributeCountLimit, g.AttributeCountLimit)
		set(&limits.AttributeValueLengthLimit, g.AttributeValueLengthLimit)
	}
	if l != nil {
		set(&limits.AttributeCountLimit, l.AttributeCountLimit)
		set(&limits.AttributeValueLengthLimit, l.AttributeValueLengthLimit)
		set(&limits.EventCountLimit, l.EventCountLimit)
		set(&limits.LinkCountLimit, l.LinkCountLimit)
		set(&limits.AttributePerEventCountLimit, l.EventAttributeCountLimit)
		set(&limits.AttributePerLinkCountLimit, l.LinkAttributeCountLimit)
	}
	return &limits
}

func (t translation) logLimits(l *otelconf.LogRecordLimits) []sdklog.LoggerProviderOption {
	count, length := 128, -1 // the defaults of the specification
	set := func(to *int, v *int) {
		if v != nil {
			*to = *v
		}
	}
	if g := t.model.AttributeLimits; g != nil {
		set(&count, g.AttributeCountLimit)
		set(&length, g.AttributeValueLengthLimit)
	}
	if l != nil {
		set(&count, l.AttributeCountLimit)
		set(&length, l.AttributeValueLengthLimit)
	}
	return []sdklog.LoggerProviderOption{sdklog.WithAttributeCountLimit(count), sdklog.WithAttributeValueLengthLimit(length)}
}
