package metrics

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// prefix is put before the name of an OpenTelemetry family whose name is taken.
const prefix = "otel_"

// page gathers the existing registry and the OpenTelemetry metrics.
type page struct {
	own      prometheus.Gatherer
	existing prometheus.Gatherer // nil when there is none
	report   *reporter
	kinds    kinds // of the instruments behind own

	conflicts, gatherErrors, encodeErrors, refusals atomic.Int64

	mu      sync.Mutex
	renamed map[string]string // OpenTelemetry families that were renamed, for good
}

func newPage(own *prometheus.Registry, existing prometheus.Gatherer, report *reporter) (*page, error) {
	p := &page{own: own, existing: existing, report: report, renamed: make(map[string]string)}
	for problem, count := range map[string]*atomic.Int64{
		"conflict": &p.conflicts, "gather": &p.gatherErrors, "encode": &p.encodeErrors, "refused": &p.refusals,
	} {
		err := own.Register(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name:        "goos_metrics_prometheus_problems_total",
			Help:        "Problems with this page: families renamed, errors of a registry, families that could not be written, series that no format can hold.",
			ConstLabels: prometheus.Labels{"problem": problem},
		}, func() float64 { return float64(count.Load()) }))
		if err != nil {
			return nil, fmt.Errorf("telemetry/metrics: cannot count the problems of the page: %w", err)
		}
	}
	return p, nil
}

// Gather implements prometheus.Gatherer.
func (p *page) Gather() ([]*dto.MetricFamily, error) {
	var theirs []*dto.MetricFamily
	var theirErr error
	if p.existing != nil {
		theirs, theirErr = gather(p.existing)
		p.failed("the existing registry", theirErr)
	}
	ours, ourErr := gather(p.own)
	p.failed("the OpenTelemetry exporter", ourErr)
	return p.merge(theirs, p.sound(ours)), errors.Join(theirErr, ourErr)
}

// gather turns a panic in g.Gather into an error, so that the rest of the page is still served.
func gather(g prometheus.Gatherer) (families []*dto.MetricFamily, err error) {
	defer func() {
		if v := recover(); v != nil {
			families, err = nil, fmt.Errorf("panic: %v", v)
		}
	}()
	return g.Gather()
}

func (p *page) failed(what string, err error) {
	for _, err := range flatten(err) {
		p.gatherErrors.Add(1)
		if strings.HasSuffix(err.Error(), invalidMetric) {
			if named := p.kinds.conflicts(); len(named) > 0 {
				for _, err := range named {
					p.report.once(err)
				}
				continue
			}
		}
		p.report.once(fmt.Errorf("telemetry/metrics: gathering %s: %w", what, err))
	}
}

// merge returns all families of both sides in the order of their names. An OpenTelemetry family is renamed if the
// existing registry has its name.
func (p *page) merge(theirs, ours []*dto.MetricFamily) []*dto.MetricFamily {
	taken := make(names, 2*(len(theirs)+len(ours)))
	all := make([]*dto.MetricFamily, 0, len(theirs)+len(ours))
	for _, family := range theirs {
		taken.add(family)
		all = append(all, family)
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	var displaced []*dto.MetricFamily
	for _, family := range ours {
		if _, before := p.renamed[family.GetName()]; before || taken.has(family) {
			displaced = append(displaced, family)
			continue
		}
		taken.add(family)
		all = append(all, family)
	}
	for _, family := range displaced {
		all = append(all, p.rename(family, taken))
	}
	slices.SortStableFunc(all, func(a, b *dto.MetricFamily) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return all
}

// rename returns the family under a free name, the previous one if possible. The caller holds mu.
func (p *page) rename(family *dto.MetricFamily, taken names) *dto.MetricFamily {
	name := family.GetName()
	as, before := p.renamed[name]
	if !before {
		as = prefix + name
	}
	moved := withMetrics(family, as, family.Metric)
	for taken.has(moved) {
		as = prefix + as
		moved.Name = &as
	}
	taken.add(moved)
	if p.renamed[name] != as {
		p.renamed[name] = as
		p.conflicts.Add(1)
		p.report.handle(fmt.Errorf("telemetry/metrics: the name of %q is taken on the page, it is served as %q: "+
			"rename the instrument, with a view if it is not yours", name, as))
	}
	return moved
}

// tolerant hides the errors of a page that is not empty: they were reported, and promhttp would report them again.
type tolerant struct{ page *page }

// Gather implements prometheus.Gatherer.
func (t tolerant) Gather() ([]*dto.MetricFamily, error) {
	families, err := t.page.Gather()
	if len(families) > 0 {
		return families, nil
	}
	return nil, err
}
