package metrics_test

import (
	"bufio"
	"cmp"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/go-os/go-os/telemetry/metrics"
)

// The Accept headers of scrapers: the text format of Prometheus, OpenMetrics, and protobuf.
const (
	acceptText        = "text/plain;version=0.0.4"
	acceptUTF8Text    = "text/plain;version=1.0.0;escaping=allow-utf-8"
	acceptOpenMetrics = "application/openmetrics-text;version=1.0.0"
	acceptProtobuf    = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)

// fetch scrapes a page once.
func fetch(t *testing.T, h http.Handler, headers ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, h http.Handler, accept string) string {
	t.Helper()
	return read(t, fetch(t, h, "Accept", accept))
}

// read returns the page of a response.
func read(t *testing.T, resp *http.Response) string {
	t.Helper()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("the page answers %d: %s", resp.StatusCode, text)
	}
	return string(text)
}

// series returns the samples of a page in the text format, by name and labels, from a strict parser.
func series(t *testing.T, page string) map[string]string {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	if _, err := parser.TextToMetricFamilies(strings.NewReader(page)); err != nil {
		t.Fatalf("the page cannot be parsed: %v\n%s", err, page)
	}
	all, clashes := samples(t, page, "")
	if len(clashes) > 0 {
		t.Errorf("names are claimed twice: %v", clashes)
	}
	return all
}

// openMetrics returns the names that are claimed twice on a page in OpenMetrics. It also checks the other requirements of
// parsers: each family is described once and before its samples, and the page has an end marker.
func openMetrics(t *testing.T, page string) []string {
	t.Helper()
	if !strings.HasSuffix(page, "\n# EOF\n") {
		t.Errorf("the page does not end with # EOF: %q", page[max(0, len(page)-40):])
	}
	_, clashes := samples(t, strings.TrimSuffix(page, "# EOF\n"), "_total")
	return clashes
}

// samples checks the common structure of both text formats. In OpenMetrics a counter's samples have a suffix that its family
// does not have. It returns the samples, and the names that are claimed by two families.
func samples(t *testing.T, page, counterSuffix string) (all map[string]string, clashes []string) {
	t.Helper()
	all = make(map[string]string)
	owner := make(map[string]string) // of each sample name, the family
	var family string
	for lines := bufio.NewScanner(strings.NewReader(page)); lines.Scan(); {
		line := lines.Text()
		if name, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ := strings.Cut(name, " ")
			family = name
			for _, sample := range sampleNames(name, kind, counterSuffix) {
				if _, ok := owner[sample]; ok {
					clashes = append(clashes, sample)
				}
				owner[sample] = name
			}
			continue
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		line, _, _ = strings.Cut(line, " # {") // an exemplar
		space := strings.LastIndexByte(line, ' ')
		id, value := line[:space], line[space+1:]
		if _, ok := all[id]; ok {
			t.Errorf("the sample %s is there twice", id)
		}
		all[id] = value
		name, _, _ := strings.Cut(id, "{")
		if owner[name] != family && owner[name] != "" {
			t.Errorf("the sample %s stands among those of %s", id, family)
		}
	}
	return all, clashes
}

func sampleNames(name, kind, counterSuffix string) []string {
	switch kind {
	case "counter":
		if counterSuffix == "" {
			return []string{name}
		}
		return []string{name, name + counterSuffix}
	case "histogram":
		return []string{name, name + "_bucket", name + "_sum", name + "_count"}
	case "summary":
		return []string{name, name + "_sum", name + "_count"}
	default:
		return []string{name}
	}
}

// families returns the families of a page in protobuf, in any order.
func families(t *testing.T, page string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	decoder := expfmt.NewDecoder(strings.NewReader(page), expfmt.NewFormat(expfmt.TypeProtoDelim))
	for {
		var family dto.MetricFamily
		if err := decoder.Decode(&family); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		if _, ok := all[family.GetName()]; ok {
			t.Errorf("the family %s is there twice", family.GetName())
		}
		all[family.GetName()] = canonical(t, &family)
	}
}

func canonical(t *testing.T, family *dto.MetricFamily) string {
	t.Helper()
	slices.SortFunc(family.Metric, func(a, b *dto.Metric) int { return cmp.Compare(a.String(), b.String()) })
	text, err := protojson.Marshal(family)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), " ", "") // protojson varies its white space on purpose
}

// problems records the problems reported by a page or a bridge.
type problems struct {
	mu   sync.Mutex
	errs []error
}

func (p *problems) handle(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.errs = append(p.errs, err)
}

// want checks the number of reported problems, and that each contains its text.
func (p *problems) want(t *testing.T, texts ...string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.errs) != len(texts) {
		t.Errorf("%d problems were reported, want %d: %v", len(p.errs), len(texts), p.errs)
		return
	}
	for i, text := range texts {
		if !strings.Contains(p.errs[i].Error(), text) {
			t.Errorf("problem %d is %q, want it to contain %q", i, p.errs[i], text)
		}
	}
}

// String returns all reported problems.
func (p *problems) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(p.errs...).Error()
}

func newPage(t *testing.T, opts metrics.PrometheusOptions) *metrics.Prometheus {
	t.Helper()
	page, err := metrics.NewPrometheus(&opts)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}
