package metrics

import (
	"fmt"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
)

// A scraper that cannot parse one series refuses the whole page. The registry validates most of a collector's output. It checks neither
// the labels that a format adds, nor the form of a name under another escaping scheme. This file checks those.

// schemes are the escaping schemes that a scraper can request, besides none.
var schemes = [...]model.EscapingScheme{model.UnderscoreEscaping, model.DotsEscaping, model.ValueEncodingEscaping}

// sound returns the families without the series that some format cannot hold. It counts and reports those.
func (p *page) sound(families []*dto.MetricFamily) []*dto.MetricFamily {
	out := families[:0]
	for _, family := range families {
		kept := make([]*dto.Metric, 0, len(family.GetMetric()))
		for _, m := range family.GetMetric() {
			if problem := refused(m.GetLabel(), family.GetType()); problem != "" {
				p.refusals.Add(1)
				p.report.once(fmt.Errorf("telemetry/metrics: series of %q are left out: %s", family.GetName(), problem))
				continue
			}
			soundExemplars(m)
			kept = append(kept, m)
		}
		if len(kept) < len(family.GetMetric()) {
			if len(kept) == 0 {
				continue
			}
			family = withMetrics(family, family.GetName(), kept)
		}
		out = append(out, family)
	}
	return out
}

// withMetrics returns a family with other series, and another name. A protobuf message must not be copied as a value.
func withMetrics(family *dto.MetricFamily, name string, series []*dto.Metric) *dto.MetricFamily {
	return &dto.MetricFamily{Name: &name, Help: family.Help, Type: family.Type, Unit: family.Unit, Metric: series}
}

// refused returns the problem with the labels of a series, or "" if every format can hold them.
func refused(labels []*dto.LabelPair, of dto.MetricType) string {
	escaped := false
	for _, l := range labels {
		name := l.GetName()
		if problem := reserved(name, of); problem != "" {
			return problem
		}
		if model.LegacyValidation.IsValidLabelName(name) {
			continue
		}
		if model.LegacyValidation.IsValidMetricName(name) {
			return fmt.Sprintf("the label %q has a colon, which the text formats do not quote: rename the attribute", name)
		}
		escaped = true
	}
	if !escaped {
		return ""
	}
	for _, scheme := range schemes {
		if problem := refusedAs(scheme, labels, of); problem != "" {
			return problem
		}
	}
	return ""
}

// refusedAs is refused for a scraper that requests an escaping scheme.
func refusedAs(scheme model.EscapingScheme, labels []*dto.LabelPair, of dto.MetricType) string {
	seen := make(map[string]string, len(labels))
	for _, l := range labels {
		name := l.GetName()
		if !model.LegacyValidation.IsValidLabelName(name) { // others stay unchanged
			name = model.EscapeName(name, scheme)
		}
		if problem := reserved(name, of); problem != "" {
			return fmt.Sprintf("the label %q becomes %q with the escaping scheme %s: %s", l.GetName(), name, scheme, problem)
		}
		if other, ok := seen[name]; ok {
			return fmt.Sprintf("the labels %q and %q become one, %q, with the escaping scheme %s: rename an attribute", other, l.GetName(), name, scheme)
		}
		seen[name] = l.GetName()
	}
	return ""
}

// reserved returns why a label of this name cannot be on a series of this type.
func reserved(label string, of dto.MetricType) string {
	switch {
	case label == "le" && (of == dto.MetricType_HISTOGRAM || of == dto.MetricType_GAUGE_HISTOGRAM):
		return `the label "le" is that of a histogram's buckets: rename the attribute`
	case label == "quantile" && of == dto.MetricType_SUMMARY:
		return `the label "quantile" is that of a summary's quantiles: rename the attribute`
	case strings.HasPrefix(label, model.ReservedLabelPrefix):
		return fmt.Sprintf("the label %q begins with %q, which Prometheus keeps for itself: rename the attribute", label, model.ReservedLabelPrefix)
	default:
		return ""
	}
}

// soundExemplars gives the labels of exemplars names that need no escaping, since the formats do not escape them.
func soundExemplars(m *dto.Metric) {
	soundExemplar(m.GetCounter().GetExemplar())
	for _, b := range m.GetHistogram().GetBucket() {
		soundExemplar(b.GetExemplar())
	}
	for _, e := range m.GetHistogram().GetExemplars() {
		soundExemplar(e)
	}
}

func soundExemplar(e *dto.Exemplar) {
	if e == nil {
		return
	}
	seen := make(map[string]bool, len(e.Label))
	kept := e.Label[:0]
	for _, l := range e.Label {
		name := l.GetName()
		if !model.LegacyValidation.IsValidLabelName(name) {
			name = strings.ReplaceAll(model.EscapeName(name, model.UnderscoreEscaping), ":", "_")
		}
		if !seen[name] {
			seen[name] = true
			l.Name = &name
			kept = append(kept, l)
		}
	}
	e.Label = kept
}
