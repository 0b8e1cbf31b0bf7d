package exporters

import (
	"context"
	"errors"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

func configFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "otel.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const fileHeader = "file_format: \"1.0\"\n"

// TestConfigFileMistakes checks the errors of Setup: each names the file and the mistake.
func TestConfigFileMistakes(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"not YAML", "a: [", "yaml"},
		{"empty", "", "the file is empty"},
		{"a comment alone", "# nothing\n", "the file is empty"},
		{"a later major version", "file_format: \"9.9\"\n", "file_format \"9.9\" is not supported"},
		{"an earlier version", "file_format: \"0.3\"\n", "file_format \"0.3\" is not supported"},
		{"no version", "file_format: one\n", "file_format"},
		{"two documents", fileHeader + "---\ntracer_provider: {processors: []}\n", "more than one YAML document"},
		{"attribute of another type", fileHeader + "resource: {attributes: [{name: a, value: x, type: int}]}\n", "the value of \"a\" is a string, not a int"},
		{"list of another type", fileHeader + "resource: {attributes: [{name: a, value: [1, x], type: int_array}]}\n", "item 1 of \"a\" is a string"},
		{"negative timeout", fileHeader + "tracer_provider: {processors: [{batch: {exporter: {otlp_http: {endpoint: 'http://x', timeout: -1}}}}]}\n", "timeout"},
		{"bad entry in a list", fileHeader + "resource: {attributes_list: 'a=1,b'}\n", "entry 2"},
		{"another type", fileHeader + "tracer_provider: 7\n", "TracerProvider"},
		{"no exporter known", fileHeader + "tracer_provider: {processors: [{batch: {exporter: {zipkin: {}}}}]}\n", "tracer_provider.processors[0]"},
		{"no processor known", fileHeader + "logger_provider: {processors: [{}]}\n", "logger_provider.processors[0]"},
		{"endpoint", fileHeader + "tracer_provider: {processors: [{batch: {exporter: {otlp_http: {endpoint: 'ftp://x'}}}}]}\n", "neither http nor https"},
		{"compression", fileHeader + "tracer_provider: {processors: [{batch: {exporter: {otlp_grpc: {endpoint: 'http://x', compression: zstd}}}}]}\n", "zstd"},
		{"certificate", fileHeader + "tracer_provider: {processors: [{batch: {exporter: {otlp_grpc: {endpoint: 'https://x', tls: {ca_file: /nowhere}}}}}]}\n", "tls.ca_file"},
		{"sampler", fileHeader + "tracer_provider: {processors: [], sampler: {}}\n", "ampler"},
		{"propagator", fileHeader + "propagator: {composite_list: 'w4c'}\n", "w4c"},
		{"view", fileHeader + "meter_provider: {readers: [], views: [{selector: {}, stream: {}}]}\n", "meter_provider.views[0]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := configFile(t, c.text)
			_, err := Setup(t.Context(), &Options{Environ: []string{"OTEL_CONFIG_FILE=" + file}, KeepGlobals: true, LogWriter: &logBuffer{}})
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "OTEL_CONFIG_FILE="+file) {
				t.Errorf("want an error with %q and the file, got %v", c.want, err)
			}
		})
	}
	_, err := Setup(t.Context(), &Options{Environ: []string{"OTEL_CONFIG_FILE=/nowhere/otel.yaml"}, KeepGlobals: true})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "OTEL_CONFIG_FILE=/nowhere/otel.yaml") {
		t.Errorf("a file that is not there: %v", err)
	}
}

// TestConfigFileSaysWhatItIgnores uses settings that the schema defines and nothing reads: one warning names each.
func TestConfigFileSaysWhatItIgnores(t *testing.T) {
	file := configFile(t, fileHeader+`
frobnicate: 1
distribution: {other: {}}
instrumentation/development: {general: {}}
resource: {schema_url: "https://opentelemetry.io/schemas/1.30.0", detection/development: {detectors: []}}
tracer_provider:
  processors: []
  sampler: {always_on: {sometimes: true}}
  tracer_configurator/development: {}
logger_provider: {processors: [], logger_configurator/development: {}}
meter_provider:
  readers:
    - pull: {exporter: {prometheus/development: {port: 9464}}}
    - periodic: {exporter: {console: {}}, producers: [{opencensus: {}}]}
  views:
    - {selector: {instrument_name: x}, stream: {aggregation_cardinality_limit: 7}}
`)
	p, log := setup(t, Options{Environ: []string{"OTEL_CONFIG_FILE=" + file, "OTEL_TRACES_SAMPLER=always_off"}, Console: &logBuffer{}, ShutdownTimeout: time.Millisecond})
	defer func() { _ = p.Shutdown(context.Background()) }()
	for _, section := range []string{
		"frobnicate", "distribution", "tracer_provider.sampler.always_on.sometimes", "instrumentation/development", "resource.schema_url", "resource.detection/development",
		"tracer_provider.tracer_configurator/development", "logger_provider.logger_configurator/development",
		"meter_provider.readers[0].pull", "meter_provider.readers[0].pull.exporter.prometheus/development",
		"meter_provider.readers[1].periodic.producers", "meter_provider.views[0].stream.aggregation_cardinality_limit",
	} {
		if lines := log.lines("OTEL_CONFIG_FILE", ": "+section+" is ignored"); len(lines) != 1 {
			t.Errorf("%s: want one warning, got %q", section, lines)
		}
	}
	if lines := log.lines("OTEL_TRACES_SAMPLER", "no effect"); len(lines) != 1 {
		t.Errorf("a variable beside the file: %q", log.lines("OTEL_TRACES_SAMPLER"))
	}
}

// TestConfigFile runs pipelines that a file describes against a peer, over both protocols, and checks their accounts.
func TestConfigFile(t *testing.T) {
	peer := startPeer(t)
	file := configFile(t, fileHeader+`
log_level: error
attribute_limits: {attribute_value_length_limit: 5}
resource:
  attributes_list: "team=blue,service.name=overridden"
  attributes:
    - name: service.name
      value: ${SERVICE:-from-file}
    - {name: replicas, value: 3}
propagator: {composite: [{tracecontext: }, {b3: }]}
tracer_provider:
  sampler: {parent_based: {root: {trace_id_ratio_based: {ratio: 1.0}}, remote_parent_not_sampled: {always_on: }}}
  limits: {attribute_count_limit: 2}
  processors:
    - batch:
        schedule_delay: 10
        max_queue_size: 100
        max_export_batch_size: 10
        exporter: {otlp_grpc: {endpoint: "http://`+peer.grpcAddr+`", headers: [{name: x-key, value: v}], timeout: 2000, compression: gzip}}
logger_provider:
  processors:
    - simple: {exporter: {otlp_http: {endpoint: "http://`+peer.httpAddr+`/v1/logs"}}}
meter_provider:
  exemplar_filter: always_off
  readers:
    - periodic:
        interval: 60000
        cardinality_limits: {default: 3}
        exporter: {otlp_http: {endpoint: "http://`+peer.httpAddr+`/v1/metrics", temporality_preference: delta, default_histogram_aggregation: base2_exponential_bucket_histogram}}
  views:
    - selector: {instrument_name: test.renamed, instrument_type: histogram}
      stream: {name: test.other, attribute_keys: {included: [keep]}}
`)
	p, log := setup(t, Options{ServiceName: "from-options", Environ: []string{"OTEL_CONFIG_FILE=" + file}, NoRuntimeMetrics: true})
	if warned := log.lines("WARN"); len(warned) != 0 {
		t.Errorf("warnings: %q", warned)
	}
	if fields := p.Providers().Propagator.Fields(); !slices.Contains(fields, "b3") || slices.Contains(fields, "baggage") {
		t.Errorf("propagated: %v", fields)
	}
	tracer := p.Providers().Tracer("test")
	h, err := p.Providers().Meter("test").Float64Histogram("test.renamed")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 25 {
		ctx, span := tracer.Start(t.Context(), "work")
		span.SetAttributes(attribute.String("a", "1234567"), attribute.Int("b", i), attribute.Int("c", 3))
		h.Record(ctx, float64(i), metric.WithAttributes(attribute.Int("drop", i), attribute.Int("keep", i)))
		p.Logger().InfoContext(ctx, "worked")
		span.End()
	}
	if err := p.ForceFlush(t.Context()); err != nil {
		t.Error(err)
	}
	checkConfigured(t, peer)
	rec := httptest.NewRecorder()
	p.MetricsHandler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if !strings.Contains(rec.Body.String(), "test_other") {
		t.Error("the page does not have what the file's view names")
	}
	if health := drained(t, p, 5*time.Second, peer); health.Traces.Exported != 25 || health.Logs.Exported != 25 {
		t.Errorf("%+v", health)
	}
}

func checkConfigured(t *testing.T, peer *peer) {
	t.Helper()
	if got := peer.resourceAttr("service.name"); got != "from-file" {
		t.Errorf("service.name is %q", got)
	}
	if got := peer.resourceAttr("team"); got != "blue" {
		t.Errorf("team is %q", got)
	}
	peer.mu.Lock()
	defer peer.mu.Unlock()
	span := peer.spans[0].ScopeSpans[0].Spans[0]
	if len(span.Attributes) != 2 || span.DroppedAttributesCount != 1 || attr(span.Attributes, "a") != "12345" {
		t.Errorf("the limits of the file do not hold: %v", span.Attributes)
	}
	for _, sm := range peer.metrics[0].ScopeMetrics {
		for _, m := range sm.Metrics {
			if m.Name != "test.other" {
				continue
			}
			h := m.GetExponentialHistogram()
			if h == nil || h.AggregationTemporality.String() != "AGGREGATION_TEMPORALITY_DELTA" || len(h.DataPoints) != 3 {
				t.Errorf("%v is not a delta exponential histogram of 3 points", m)
				return
			}
			if len(h.DataPoints[0].Exemplars) != 0 {
				t.Error("there are exemplars")
			}
			return
		}
	}
	t.Errorf("test.other did not arrive: %v", peer.metrics)
}

// TestConfigFileWithoutSections builds no provider for a signal without a section, as the specification requires.
func TestConfigFileWithoutSections(t *testing.T) {
	p, log := setup(t, Options{Environ: []string{"OTEL_CONFIG_FILE=" + configFile(t, fileHeader)}, Endpoint: "http://127.0.0.1:1"})
	_, span := p.Providers().Tracer("t").Start(t.Context(), "a")
	if span.IsRecording() || len(p.Providers().Propagator.Fields()) != 0 {
		t.Errorf("recording %t, propagating %v", span.IsRecording(), p.Providers().Propagator.Fields())
	}
	p.Logger().Info("still readable")
	if len(log.lines("still readable")) != 1 {
		t.Errorf("log: %s", log)
	}
	if err := p.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	p, _ = setup(t, Options{Environ: []string{"OTEL_CONFIG_FILE=" + configFile(t, fileHeader+"disabled: true\ntracer_provider: {processors: []}\n")}})
	if _, span := p.Providers().Tracer("t").Start(t.Context(), "a"); span.IsRecording() {
		t.Error("disabled, and recording")
	}
	_ = p.Shutdown(t.Context())
}

// TestConfigFileSaysThatThereIsNothing uses a file that configures no provider.
func TestConfigFileSaysThatThereIsNothing(t *testing.T) {
	for text, want := range map[string]int{
		fileHeader: 1, fileHeader + "disabled: true\n": 0, fileHeader + "tracer_provider: {processors: []}\n": 0, "file_format: \"1.0-rc.3\"\ndisabled: true\n": 0,
	} {
		p, log := setup(t, Options{Environ: []string{"OTEL_CONFIG_FILE=" + configFile(t, text)}})
		if lines := log.lines("WARN", "there is no telemetry"); len(lines) != want {
			t.Errorf("%q: %s", text, log)
		}
		_ = p.Shutdown(t.Context())
	}
	p, log := setup(t, Options{Environ: []string{"OTEL_CONFIG_FILE=" + configFile(t, "file_format: \"1.7\"\ntracer_provider: {processors: []}\n")}})
	defer func() { _ = p.Shutdown(t.Context()) }()
	if len(log.lines("file_format", "1.7", "newer than 1.0")) != 1 {
		t.Errorf("a later version: %s", log)
	}
}

// TestFileAttributesHaveTheirTypes declares each type of the schema.
func TestFileAttributesHaveTheirTypes(t *testing.T) {
	e := newEnviron([]string{})
	s, err := readFile(e, configFile(t, fileHeader+`
resource:
  attributes:
    - {name: s, value: "1", type: string}
    - {name: b, value: true, type: bool}
    - {name: i, value: 1, type: int}
    - {name: d, value: 1, type: double}
    - {name: ss, value: [a, b], type: string_array}
    - {name: bs, value: [true, false], type: bool_array}
    - {name: is, value: [1, 2], type: int_array}
    - {name: ds, value: [1, 2.5], type: double_array}
    - {name: plain, value: [1, 2]}
    - name: unset
      value: ${NO_SUCH_VARIABLE_OF_OURS}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []attribute.KeyValue{
		attribute.String("s", "1"), attribute.Bool("b", true), attribute.Int("i", 1), attribute.Float64("d", 1), attribute.StringSlice("ss", []string{"a", "b"}),
		attribute.BoolSlice("bs", []bool{true, false}), attribute.IntSlice("is", []int{1, 2}), attribute.Float64Slice("ds", []float64{1, 2.5}), attribute.IntSlice("plain", []int{1, 2}),
	}
	if !slices.Equal(s.attributes, want) {
		t.Errorf("%v, want %v", s.attributes, want)
	}
	if !slices.ContainsFunc(e.warnings, func(w warning) bool { return strings.Contains(w.text, "resource.attributes[9] is ignored") }) {
		t.Errorf("an attribute without a value is not named: %v", e.warnings)
	}
}

// TestFilePatterns covers the attribute keys of a view.
func TestFilePatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, key string
		matches      bool
	}{
		{"a", "a", true}, {"a", "ab", false}, {"a*", "a", true}, {"a*", "abc", true}, {"*c", "abc", true}, {"a*c*e", "abcde", true}, {"a*c*e", "abcd", false},
		{"?", "ä", true}, {"?", "", false}, {"*", "", true}, {"**", "x", true}, {"http.*", "url.path", false},
	} {
		if matches(c.pattern, c.key) != c.matches {
			t.Errorf("%q matches %q: want %t", c.pattern, c.key, c.matches)
		}
	}
}
