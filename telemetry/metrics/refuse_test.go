package metrics_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/go-os/go-os/telemetry"
	"github.com/go-os/go-os/telemetry/metrics"
)

// everyAccept returns everything that a scraper can request: each format with each escaping scheme.
func everyAccept() []string {
	var all []string
	for _, format := range []string{
		"text/plain;version=0.0.4", "text/plain;version=1.0.0", "application/openmetrics-text;version=0.0.1", "application/openmetrics-text;version=1.0.0",
		"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
		"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text",
		"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=compact-text",
	} {
		for _, scheme := range []string{"", ";escaping=allow-utf-8", ";escaping=underscores", ";escaping=dots", ";escaping=values"} {
			all = append(all, format+scheme)
		}
	}
	return all
}

// sampleLine matches a line of the text formats as Prometheus's parser accepts it: quoted names may hold anything, others only the
// classic characters.
var (
	labelPair  = `(?:[a-zA-Z_][a-zA-Z0-9_]*|"(?:[^"\\]|\\.)*")="(?:[^"\\]|\\.)*"`
	labelList  = `\{(?:(?:"(?:[^"\\]|\\.)*"|` + labelPair + `),?)*\}`
	sampleLine = regexp.MustCompile(`^(?:[a-zA-Z_:][a-zA-Z0-9_:]*)?(` + labelList + `)? [^ ]+( [0-9.]+)?( # (` + labelList + `) .*)?$`)
	labelName  = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_]*|"(?:[^"\\]|\\.)*")="(?:[^"\\]|\\.)*"`)
)

// parse returns the error of a page for the scraper that requested it.
func parse(accept, contentType, page string) error {
	if strings.Contains(accept, "protobuf") {
		return parseFamilies(contentType, page)
	}
	legacy := !strings.Contains(contentType, "allow-utf-8")
	for line := range strings.Lines(page) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil {
			return fmt.Errorf("the line does not parse: %s", line)
		}
		for _, list := range []string{m[1], m[4]} {
			seen := map[string]bool{}
			for _, pair := range labelName.FindAllStringSubmatch(list, -1) {
				name := strings.Trim(pair[1], `"`)
				if seen[name] || strings.HasPrefix(name, "__") || legacy && pair[1] != name {
					return fmt.Errorf("the label %q is there twice, reserved, or quoted for a scraper that does not know quotes: %s", name, line)
				}
				seen[name] = true
			}
		}
	}
	return nil
}

func parseFamilies(contentType, page string) error {
	if !strings.Contains(contentType, "delimited") {
		return nil // formats for people
	}
	decoder := expfmt.NewDecoder(strings.NewReader(page), expfmt.Format(contentType))
	for {
		var family dto.MetricFamily
		if err := decoder.Decode(&family); err != nil {
			if err.Error() == "EOF" {
				return nil
			}
			return err
		}
		for _, m := range family.GetMetric() {
			seen := map[string]bool{}
			for _, l := range m.GetLabel() {
				if l.GetName() == "le" && family.GetType() == dto.MetricType_HISTOGRAM || seen[l.GetName()] {
					return fmt.Errorf("%s: the label %q is there twice", family.GetName(), l.GetName())
				}
				seen[l.GetName()] = true
			}
		}
	}
}

// TestHostileLabels uses all kinds of attribute names. The page can be parsed in every format and has everything else. Omitted series
// are counted and named.
func TestHostileLabels(t *testing.T) {
	hostile := []string{"le", "quantile", "__name__", "__reserved", "a.b", "a_b", "a:b", "a b", "1a", "..x", "otel_scope_name", "otel.scope.name", "trace_id", "span_id", "é", "le\n", `"`}
	for _, strategy := range []otlptranslator.TranslationStrategyOption{
		"", otlptranslator.UnderscoreEscapingWithoutSuffixes, otlptranslator.NoUTF8EscapingWithSuffixes, otlptranslator.NoTranslation,
	} {
		mine := prometheus.NewRegistry()
		mine.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "mine_total", Help: "Theirs."}))
		var reported problems
		page := newPage(t, metrics.PrometheusOptions{Existing: mine, OpenMetrics: true, Translation: strategy, ErrorHandler: reported.handle})
		m := meter(t, page)
		ctx, _ := sdktrace.NewTracerProvider().Tracer("test").Start(t.Context(), "span")
		count(t, m, "good")
		for i, a := range hostile {
			for j, b := range hostile[i:] {
				attrs := metric.WithAttributes(attribute.String(a, "x"), attribute.String(b, "y"))
				h, _ := m.Float64Histogram(fmt.Sprintf("sizes%d_%d", i, j))
				h.Record(ctx, 1, attrs)
				c, _ := m.Int64Counter(fmt.Sprintf("things%d_%d", i, j))
				c.Add(ctx, 1, attrs)
			}
		}
		for _, accept := range everyAccept() {
			resp := fetch(t, page.Handler(), "Accept", accept)
			text := read(t, resp)
			if err := parse(accept, resp.Header.Get("Content-Type"), text); err != nil {
				t.Errorf("translation %q, %s: %v", strategy, accept, err)
			}
			if !strings.Contains(text, "mine_total") && !strings.Contains(text, `"mine"`) || !strings.Contains(text, "good") {
				t.Errorf("translation %q, %s: the good families are not on the page", strategy, accept)
			}
		}
		if page.Stats().Refused == 0 {
			t.Errorf("translation %q: nothing is counted as refused", strategy)
		}
		if all := reported.String(); !strings.Contains(all, `"sizes0_0"`) || !strings.Contains(all, `label "le"`) {
			t.Errorf("translation %q: the reports do not name the family and the label: %s", strategy, all)
		}
	}
}

type badLE struct {
	LE string `metric:"le"`
}
type badReserved struct {
	A string `metric:"__a"`
}
type badScope struct {
	A string `metric:"otel.scope.name"`
}
type badPair struct {
	A string `metric:"http.code"`
	B string `metric:"http_code"`
}

// TestLabelsThatPrometheusRefuses checks that they are found when the instrument is created.
func TestLabelsThatPrometheusRefuses(t *testing.T) {
	p, _ := provider()
	if _, err := metrics.NewCounter[badLE](scope, p, "things", nil); err != nil {
		t.Errorf("a counter may have a label le: %v", err)
	}
	_, err := metrics.NewHistogram[badLE](scope, p, "sizes", nil)
	for name, err := range map[string]error{
		`label "le"`: err, `begins with "__"`: refusal[badReserved](p), "instrumentation scope": refusal[badScope](p), `same key "http_code"`: refusal[badPair](p),
	} {
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "rename") {
			t.Errorf("the error is %v, want it to contain %s and a remedy", err, name)
		}
	}
}

func refusal[L comparable](p telemetry.Providers) error {
	_, err := metrics.NewGauge[L](scope, p, "things", nil)
	return err
}

// TestKindsThatShareAName checks that they are reported with their names and scopes.
func TestKindsThatShareAName(t *testing.T) {
	var reported problems
	page := newPage(t, metrics.PrometheusOptions{ErrorHandler: reported.handle})
	m := meter(t, page)
	gauge(t, m, "checkout_seconds")
	histogram(t, t.Context(), m, "checkout")
	for range 2 {
		body(t, page.Handler(), acceptText)
	}
	reported.want(t, `the gauge "checkout_seconds" of scope "example.com/shop", the histogram "checkout" of scope "example.com/shop"`)
}

// TestExistingPageStaysAsItWas checks that the existing series are served byte for byte as before, in each format that a scraper can
// request.
func TestExistingPageStaysAsItWas(t *testing.T) {
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "jobs", Help: "Theirs."}) // without _total
	sizes := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "sizes", Help: "Theirs.", Buckets: []float64{1, 2}})
	registry.MustRegister(counter, sizes)
	alone := []*prometheus.Registry{prometheus.NewRegistry(), prometheus.NewRegistry()}
	alone[0].MustRegister(counter)
	alone[1].MustRegister(sizes)
	counter.Inc()
	sizes.Observe(1)
	before := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	page := newPage(t, metrics.PrometheusOptions{Existing: registry})
	count(t, meter(t, page), "ours")
	for _, accept := range append(everyAccept(), "", "*/*") {
		want, got := fetch(t, before, "Accept", accept), fetch(t, page.Handler(), "Accept", accept)
		if want.Header.Get("Content-Type") != got.Header.Get("Content-Type") {
			t.Errorf("%s: the content type is %q, was %q", accept, got.Header.Get("Content-Type"), want.Header.Get("Content-Type"))
		}
		text := body(t, page.Handler(), accept)
		for _, one := range alone { // the page sorts the families of both registries by name
			part := body(t, promhttp.HandlerFor(one, promhttp.HandlerOpts{}), accept)
			if !strings.Contains(text, part) {
				t.Errorf("%s: these series are not on the page as they were:\n%q\nin\n%q", accept, part, text)
			}
		}
	}
	open := newPage(t, metrics.PrometheusOptions{Existing: registry, OpenMetrics: true})
	if got := fetch(t, open.Handler(), "Accept", acceptOpenMetrics).Header.Get("Content-Type"); !strings.HasPrefix(got, "application/openmetrics-text") {
		t.Errorf("with OpenMetrics set the content type is %q", got)
	}
	if _, err := metrics.NewPrometheus(&metrics.PrometheusOptions{OpenMetrics: true, NoOpenMetrics: true}); err == nil {
		t.Error("OpenMetrics and NoOpenMetrics together are no error")
	}
}

// TestDefaultRegistry checks that the page counts its scrapes, like the promhttp.Handler that it replaces.
func TestDefaultRegistry(t *testing.T) {
	page := newPage(t, metrics.PrometheusOptions{Existing: prometheus.DefaultGatherer})
	for range 2 { // a second page registers nothing twice
		h := page.Handler()
		body(t, h, acceptText)
		if text := body(t, h, acceptText); !strings.Contains(text, `promhttp_metric_handler_requests_total{code="200"}`) {
			t.Error("promhttp_metric_handler_requests_total is not on the page")
		}
	}
}
