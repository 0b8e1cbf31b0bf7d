package metrics

import (
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
)

// names are the names in use on a page, in any of its formats.
type names map[string]struct{}

func (n names) add(family *dto.MetricFamily) {
	for _, name := range occupied(family) {
		n[name] = struct{}{}
	}
}

func (n names) has(family *dto.MetricFamily) bool {
	for _, name := range occupied(family) {
		if _, ok := n[name]; ok {
			return true
		}
	}
	return false
}

// occupied returns the names that a family uses: its own, those of the samples that it is flattened to, and the one
// under which OpenMetrics describes it (specification 1.0, "Suffixes", which are reserved even where they are not
// written). UTF-8 names count in their underscored form, which a scraper without UTF-8 support receives.
func occupied(family *dto.MetricFamily) []string {
	name := model.EscapeName(family.GetName(), model.UnderscoreEscaping)
	switch family.GetType() {
	case dto.MetricType_COUNTER:
		base := strings.TrimSuffix(name, "_total")
		return []string{name, base, base + "_created"}
	case dto.MetricType_SUMMARY:
		return []string{name, name + "_sum", name + "_count", name + "_created"}
	case dto.MetricType_HISTOGRAM:
		return []string{name, name + "_bucket", name + "_sum", name + "_count", name + "_created"}
	case dto.MetricType_GAUGE_HISTOGRAM:
		return []string{name, name + "_bucket", name + "_gsum", name + "_gcount", name + "_sum", name + "_count"}
	default:
		return []string{name}
	}
}
