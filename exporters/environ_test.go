package exporters

import (
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// TestEnvironmentMistakesAreNamed is a table of misspelt and invalid variables. One warning names the variable and the value used
// instead, and the service starts.
func TestEnvironmentMistakesAreNamed(t *testing.T) {
	garbage := filepath.Join(t.TempDir(), "garbage.pem")
	if err := os.WriteFile(garbage, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	const otlpOn = "OTEL_EXPORTER_OTLP_ENDPOINT=https://127.0.0.1:1"
	for _, c := range []struct {
		name string
		env  []string
		want []string // in one line of the log
		none bool     // no warning at all
	}{
		{name: "nothing", none: true},
		{name: "empty is unset", env: []string{"OTEL_TRACES_SAMPLER=", "OTEL_SDK_DISABLED= ", "OTEL_TRACE_SAMPLER="}, none: true},
		{name: "another language's", env: []string{"OTEL_PYTHON_LOG_LEVEL=x", "OTEL_GO_X_OBSERVABILITY=true", "OTEL_SEMCONV_STABILITY_OPT_IN=rpc"}, none: true},
		{name: "not OpenTelemetry's", env: []string{"HOTEL_TRACES_SAMPLER=x", "OTELCOL=1"}, none: true},
		{name: "misspelt", env: []string{"OTEL_TRACE_SAMPLER=always_on"}, want: []string{"OTEL_TRACE_SAMPLER", "did you mean OTEL_TRACES_SAMPLER?"}},
		{name: "letters swapped", env: []string{"OTEL_SERIVCE_NAME=x"}, want: []string{"OTEL_SERIVCE_NAME", "did you mean OTEL_SERVICE_NAME?"}},
		{name: "misspelt endpoint", env: []string{"OTEL_EXPORTER_OLTP_ENDPOINT=http://x"}, want: []string{"OTEL_EXPORTER_OLTP_ENDPOINT", "did you mean OTEL_EXPORTER_OTLP_ENDPOINT?"}},
		{name: "far from all", env: []string{"OTEL_FROBNICATE_EVERYTHING=1"}, want: []string{"OTEL_FROBNICATE_EVERYTHING: no such variable is known; it has no effect"}},
		{name: "old file variable", env: []string{"OTEL_EXPERIMENTAL_CONFIG_FILE=x"}, want: []string{"OTEL_EXPERIMENTAL_CONFIG_FILE", "use OTEL_CONFIG_FILE"}},
		{name: "prometheus listener", env: []string{"OTEL_EXPORTER_PROMETHEUS_PORT=1"}, want: []string{"OTEL_EXPORTER_PROMETHEUS_PORT", "MetricsHandler"}},
		{name: "boolean", env: []string{"OTEL_SDK_DISABLED=yes"}, want: []string{"OTEL_SDK_DISABLED", `yes`, "neither true nor false; false is used"}},
		{name: "log level", env: []string{"OTEL_LOG_LEVEL=chatty"}, want: []string{"OTEL_LOG_LEVEL", "none, error, warn, info, debug", "warn is used"}},
		{name: "sampler", env: []string{"OTEL_TRACES_SAMPLER=parentbased_traceidration"}, want: []string{"OTEL_TRACES_SAMPLER", "did you mean parentbased_traceidratio?", "the default is used"}},
		{name: "sampler's argument", env: []string{"OTEL_TRACES_SAMPLER=traceidratio", "OTEL_TRACES_SAMPLER_ARG=1.5"}, want: []string{"OTEL_TRACES_SAMPLER_ARG", "1.5", "between 0 and 1; 1 is used"}},
		{name: "argument alone", env: []string{"OTEL_TRACES_SAMPLER_ARG=0.5"}, want: []string{"OTEL_TRACES_SAMPLER_ARG", "no effect without OTEL_TRACES_SAMPLER"}},
		{name: "propagator", env: []string{"OTEL_PROPAGATORS=tracecontext,b33"}, want: []string{"OTEL_PROPAGATORS", "b33", "the others are used"}},
		{name: "no propagator known", env: []string{"OTEL_PROPAGATORS=w3c"}, want: []string{"OTEL_PROPAGATORS", "w3c", "tracecontext,baggage is used"}},
		{name: "exporter", env: []string{"OTEL_TRACES_EXPORTER=oltp"}, want: []string{"OTEL_TRACES_EXPORTER", "oltp", "did you mean otlp?"}},
		{name: "exporter not there", env: []string{"OTEL_TRACES_EXPORTER=zipkin"}, want: []string{"OTEL_TRACES_EXPORTER", "zipkin", "otlp, console, none"}},
		{name: "none and more", env: []string{"OTEL_LOGS_EXPORTER=none,console"}, want: []string{"OTEL_LOGS_EXPORTER", "none is used"}},
		{name: "protocol", env: []string{otlpOn, "OTEL_EXPORTER_OTLP_PROTOCOL=http"}, want: []string{"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc, http/protobuf, http/json", "http/protobuf is used"}},
		{name: "protocol of one signal", env: []string{otlpOn, "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL=GPRC"}, want: []string{"OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "did you mean grpc?"}},
		{name: "json for metrics", env: []string{otlpOn, "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=http/json"}, want: []string{"OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf is used"}},
		{name: "compression", env: []string{otlpOn, "OTEL_EXPORTER_OTLP_COMPRESSION=zstd"}, want: []string{"OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "none is used"}},
		{name: "timeout", env: []string{otlpOn, "OTEL_EXPORTER_OTLP_TIMEOUT=10s"}, want: []string{"OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "whole number of milliseconds; 10000 is used"}},
		{name: "endpoint without a scheme", env: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=127.0.0.1:1"}, want: []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "no scheme", "https:// is used"}},
		{name: "endpoint that is none", env: []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=ftp://x"}, want: []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp", "treated as unset, traces are not exported over OTLP"}},
		{name: "endpoint that is none, and must be", env: []string{"OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_ENDPOINT=htp://x", "OTEL_METRICS_EXPORTER=none", "OTEL_LOGS_EXPORTER=none"}, want: []string{"OTEL_EXPORTER_OTLP_ENDPOINT", `scheme \"htp\"`, "treated as unset, http://localhost:4318 is used"}},
		{name: "endpoint that is none beside one", env: []string{"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=http://", otlpOn}, want: []string{"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "names no host", "OTEL_EXPORTER_OTLP_ENDPOINT is used"}},
		{name: "endpoint with a password that is none", env: []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://u:sesame@h:x/"}, want: []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "no URL"}},
		{name: "path over gRPC", env: []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://u:sesame@127.0.0.1:1/x?key=sesame", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"}, want: []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "no meaning over grpc", "OTEL_EXPORTER_OTLP_HEADERS"}},
		{name: "target over HTTP", env: []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=unix:///run/x"}, want: []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "unix", "treated as unset"}},
		{name: "insecure", env: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_INSECURE=1"}, want: []string{"OTEL_EXPORTER_OTLP_INSECURE", "neither true nor false"}},
		{name: "header name", env: []string{otlpOn, "OTEL_EXPORTER_OTLP_HEADERS=ok=1,Authorization: Basic sesame==,b=2"}, want: []string{"OTEL_EXPORTER_OTLP_HEADERS", "entry 2 has a name that is no header name; it is left out"}},
		{name: "header with a line break", env: []string{otlpOn, "OTEL_EXPORTER_OTLP_HEADERS=a=sesame%0D%0Ax:y"}, want: []string{"OTEL_EXPORTER_OTLP_HEADERS", "entry 1 has a value with a line break"}},
		{name: "header of the exporter", env: []string{otlpOn, "OTEL_EXPORTER_OTLP_HEADERS=Content-Length=sesame"}, want: []string{"OTEL_EXPORTER_OTLP_HEADERS", "entry 1", "the exporter sets itself"}},
		{name: "header beyond gRPC", env: []string{otlpOn, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_HEADERS=a=ses%C3%A4ame"}, want: []string{"OTEL_EXPORTER_OTLP_HEADERS", "entry 1"}},
		{name: "header name beyond gRPC", env: []string{otlpOn, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_HEADERS=a!=sesame"}, want: []string{"OTEL_EXPORTER_OTLP_HEADERS", "entry 1"}},
		{name: "header key that is not decoded", env: []string{otlpOn, "OTEL_EXPORTER_OTLP_HEADERS=%zz=sesame"}, want: []string{"OTEL_EXPORTER_OTLP_HEADERS", "entry 1"}},
		{name: "headers", env: []string{otlpOn, "OTEL_EXPORTER_OTLP_HEADERS=a=b,sesame"}, want: []string{"OTEL_EXPORTER_OTLP_HEADERS", "entry 2"}},
		{name: "certificate missing", env: []string{otlpOn, "OTEL_EXPORTER_OTLP_CERTIFICATE=/nowhere.pem"}, want: []string{"OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere.pem", "roots of the system"}},
		{name: "certificate that is none", env: []string{otlpOn, "OTEL_EXPORTER_OTLP_CERTIFICATE=" + garbage}, want: []string{"OTEL_EXPORTER_OTLP_CERTIFICATE", "no PEM certificate"}},
		{name: "key without certificate", env: []string{otlpOn, "OTEL_EXPORTER_OTLP_CLIENT_KEY=/x"}, want: []string{"OTEL_EXPORTER_OTLP_CLIENT_KEY", "needs CLIENT_CERTIFICATE"}},
		{name: "certificate without key", env: []string{otlpOn, "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=/x"}, want: []string{"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "needs CLIENT_KEY"}},
		{name: "pair that is none", env: []string{otlpOn, "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=/x", "OTEL_EXPORTER_OTLP_CLIENT_KEY=/y"}, want: []string{"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "no client certificate is sent"}},
		{name: "queue", env: []string{"OTEL_BSP_MAX_QUEUE_SIZE=-1"}, want: []string{"OTEL_BSP_MAX_QUEUE_SIZE", "less than 1; 2048 is used"}},
		{name: "batch", env: []string{"OTEL_BLRP_MAX_EXPORT_BATCH_SIZE=lots"}, want: []string{"OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "lots", "512 is used"}},
		{name: "batch beyond queue", env: []string{"OTEL_BSP_MAX_QUEUE_SIZE=10", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=20"}, want: []string{"OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "more than the queue holds; 10 is used"}},
		{name: "delay", env: []string{"OTEL_BSP_SCHEDULE_DELAY=-1"}, want: []string{"OTEL_BSP_SCHEDULE_DELAY", "less than 0 milliseconds; 5000 is used"}},
		{name: "interval", env: []string{"OTEL_METRIC_EXPORT_INTERVAL=1m"}, want: []string{"OTEL_METRIC_EXPORT_INTERVAL", "1m", "60000 is used"}},
		{name: "absurd interval", env: []string{"OTEL_METRIC_EXPORT_INTERVAL=9223372036854775807"}, want: []string{"OTEL_METRIC_EXPORT_INTERVAL", "60000 is used"}},
		{name: "limit", env: []string{"OTEL_SPAN_EVENT_COUNT_LIMIT=many"}, want: []string{"OTEL_SPAN_EVENT_COUNT_LIMIT", "many", "not a whole number; 128 is used"}},
		{name: "negative limit", env: []string{"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=-1"}, want: []string{"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "-1 is less than 0; 128 is used"}},
		{name: "negative length", env: []string{"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT=-5"}, want: []string{"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "-5 is less than 0"}},
		{name: "negative timeout", env: []string{otlpOn, "OTEL_EXPORTER_OTLP_TIMEOUT=-1"}, want: []string{"OTEL_EXPORTER_OTLP_TIMEOUT", "less than 0 milliseconds; 10000 is used"}},
		{name: "interval of nothing", env: []string{"OTEL_METRIC_EXPORT_INTERVAL=0"}, want: []string{"OTEL_METRIC_EXPORT_INTERVAL", "less than 1 milliseconds; 60000 is used"}},
		{name: "timeouts and delays of nothing", env: []string{otlpOn, "OTEL_EXPORTER_OTLP_TIMEOUT=0", "OTEL_BSP_EXPORT_TIMEOUT=0", "OTEL_BLRP_EXPORT_TIMEOUT=0", "OTEL_METRIC_EXPORT_TIMEOUT=0", "OTEL_BSP_SCHEDULE_DELAY=0"}, none: true},
		{name: "exemplars", env: []string{"OTEL_METRICS_EXEMPLAR_FILTER=tracebased"}, want: []string{"OTEL_METRICS_EXEMPLAR_FILTER", "did you mean trace_based?"}},
		{name: "temporality", env: []string{"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=deltas"}, want: []string{"TEMPORALITY_PREFERENCE", "did you mean delta?"}},
		{name: "resource", env: []string{"OTEL_RESOURCE_ATTRIBUTES=a=b,c=%zz"}, want: []string{"OTEL_RESOURCE_ATTRIBUTES", "entry 2", "all of it is left out"}},
		{name: "resource without a key", env: []string{"OTEL_RESOURCE_ATTRIBUTES==b"}, want: []string{"OTEL_RESOURCE_ATTRIBUTES", "entry 1"}},
		{name: "propagators in any case", env: []string{"OTEL_PROPAGATORS=TraceContext,B3Multi"}, none: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.env == nil {
				c.env = []string{}
			}
			p, log := setup(t, Options{Environ: c.env, ShutdownTimeout: time.Millisecond})
			warned := log.lines("telemetry configuration")
			_ = p.Shutdown(t.Context())
			if c.none {
				if len(warned) > 0 {
					t.Errorf("warned without need: %q", warned)
				}
				return
			}
			if len(warned) != 1 || len(log.lines(append(c.want, "WARN", "telemetry configuration")...)) != 1 {
				t.Errorf("want one warning with %q, got %q", c.want, warned)
			}
			if strings.Contains(log.String(), "sesame") {
				t.Error("the log tells what may be secret")
			}
		})
	}
}

// TestEnvironmentIsHonoured is a table of valid variables.
func TestEnvironmentIsHonoured(t *testing.T) {
	read := func(t *testing.T, o *Options, env ...string) settings {
		t.Helper()
		if o == nil {
			o = &Options{}
		}
		e := newEnviron(env)
		s, err := resolve(e, o)
		if err != nil || len(e.warnings) > 0 {
			t.Fatalf("%v; warnings %v", err, e.warnings)
		}
		return s
	}
	t.Run("samplers", func(t *testing.T) {
		for value, want := range map[string]string{
			"always_on": "AlwaysOnSampler", "always_off": "AlwaysOffSampler", "traceidratio": "TraceIDRatioBased{0.25}",
			"parentbased_always_on": "root:AlwaysOnSampler", "parentbased_always_off": "root:AlwaysOffSampler",
			"ParentBased_TraceIDRatio": "root:TraceIDRatioBased{0.25}",
		} {
			env := []string{envSampler + "=" + value, envSamplerArg + "=0.25"}
			if got := read(t, &Options{Sampler: sdktrace.NeverSample()}, env...).sampler.Description(); !strings.Contains(got, want) {
				t.Errorf("%s is %s", value, got)
			}
		}
	})
	t.Run("endpoints", func(t *testing.T) {
		const general, traces = "OTEL_EXPORTER_OTLP_ENDPOINT=", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="
		const grpc, insecure = "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_INSECURE=true"
		for _, c := range []struct {
			env    []string
			option string
			want   string
			secure bool
		}{
			{env: []string{general + "http://c:1/a//b/%2F/"}, want: "http://c:1/a//b/%2F/v1/traces"},
			{env: []string{traces + "http://c:1//a/../b/"}, want: "http://c:1//a/../b/"},
			{env: []string{general + "unix:/run/c.sock", grpc}, want: "unix:/run/c.sock"},
			{env: []string{general + "unix-abstract:c", grpc}, want: "unix-abstract:c"},
			{env: []string{general + "dns:///c:1", grpc}, want: "dns:///c:1", secure: true},
			{env: []string{general + "dns://8.8.8.8/c:1", grpc, insecure}, want: "dns://8.8.8.8/c:1"},
			{env: []string{general + "passthrough:///c:1", grpc, insecure}, want: "passthrough:///c:1"},
			{env: []string{general + "[::1]:4317", grpc, insecure}, want: "[::1]:4317"},
			{env: []string{general + "https://[::1]:4317", grpc}, want: "[::1]:4317", secure: true},
			{env: []string{"OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_TRACES_EXPORTER=otlp"}, option: "dns:///o:3", want: "dns:///o:3", secure: true},

			{env: []string{general + "http://c:4318"}, want: "http://c:4318/v1/traces"},
			{env: []string{general + "http://c:4318/base/"}, want: "http://c:4318/base/v1/traces"},
			{env: []string{general + "http://c:1", traces + "https://d:2/own"}, want: "https://d:2/own", secure: true},
			{env: []string{traces + "http://d:2"}, want: "http://d:2/"},
			{env: []string{general + "http://c:1"}, option: "http://o:3", want: "http://c:1/v1/traces"},
			{option: "http://o:3", want: "http://o:3/v1/traces"},
			{env: []string{"OTEL_TRACES_EXPORTER=otlp"}, want: "http://localhost:4318/v1/traces"},
			{env: []string{"OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"}, want: "localhost:4317"},
			{env: []string{general + "c:1", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"}, want: "c:1", secure: true},
			{env: []string{general + "c:1", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_INSECURE=true"}, want: "c:1"},
			{env: []string{general + "unix:///run/c.sock", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"}, want: "unix:///run/c.sock"},
		} {
			s := read(t, &Options{Endpoint: c.option}, c.env...)
			if len(s.traces.to) != 1 || s.traces.to[0].otlp.endpoint.String() != c.want || (s.traces.to[0].otlp.tls != nil) != c.secure {
				t.Errorf("%v and %q: %+v, want %s, secure %t", c.env, c.option, s.traces.to, c.want, c.secure)
			}
		}
	})
	t.Run("one signal alone", func(t *testing.T) {
		s := read(t, nil, "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=http://c:1/x")
		if len(s.traces.to) != 0 || len(s.metrics.to) != 1 || len(s.logs.to) != 1 {
			t.Errorf("%+v %+v %+v", s.traces.to, s.metrics.to, s.logs.to)
		}
	})
	t.Run("exporters", func(t *testing.T) {
		s := read(t, &Options{Endpoint: "http://c:1"}, "OTEL_TRACES_EXPORTER=console, otlp", "OTEL_METRICS_EXPORTER=none", "OTEL_LOGS_EXPORTER=console")
		names := func(to []destination) (names []string) {
			for _, d := range to {
				names = append(names, d.exporter)
			}
			return names
		}
		if !slices.Equal(names(s.traces.to), []string{"console", "otlp"}) || len(s.metrics.to) != 0 || !slices.Equal(names(s.logs.to), []string{"console"}) {
			t.Errorf("%v %v %v", names(s.traces.to), names(s.metrics.to), names(s.logs.to))
		}
	})
	t.Run("otlp", func(t *testing.T) {
		s := read(t, &Options{Headers: map[string]string{"o": "p"}}, "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:1",
			"OTEL_EXPORTER_OTLP_HEADERS=a=b%20c,d=e", "OTEL_EXPORTER_OTLP_LOGS_HEADERS=f=g", "OTEL_EXPORTER_OTLP_TIMEOUT=1500",
			"OTEL_EXPORTER_OTLP_COMPRESSION=gzip", "OTEL_EXPORTER_OTLP_LOGS_COMPRESSION=none", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/json")
		traces, logs := s.traces.to[0].otlp, s.logs.to[0].otlp
		if traces.headers["a"] != "b c" || traces.headers["d"] != "e" || len(traces.headers) != 2 || traces.timeout != 1500*time.Millisecond || !traces.gzip || traces.protocol != HTTPJSON {
			t.Errorf("traces: %+v", traces)
		}
		if len(logs.headers) != 1 || logs.headers["f"] != "g" || logs.gzip || logs.protocol != HTTP {
			t.Errorf("logs: %+v", logs)
		}
	})
	t.Run("batches", func(t *testing.T) {
		s := read(t, &Options{QueueSize: 9, BatchSize: 9, BatchDelay: 9, ExportTimeout: 9, Endpoint: "http://c:1"},
			"OTEL_BSP_MAX_QUEUE_SIZE=100", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=10", "OTEL_BSP_SCHEDULE_DELAY=20", "OTEL_BSP_EXPORT_TIMEOUT=30",
			"OTEL_METRIC_EXPORT_INTERVAL=40", "OTEL_METRIC_EXPORT_TIMEOUT=50")
		if want := (batchConfig{queue: 100, batch: 10, delay: 20 * time.Millisecond, timeout: 30 * time.Millisecond}); s.traces.to[0].batch != want {
			t.Errorf("spans: %+v", s.traces.to[0].batch)
		}
		if want := (batchConfig{queue: 9, batch: 9, delay: 9, timeout: 9}); s.logs.to[0].batch != want {
			t.Errorf("log records, from the Options: %+v", s.logs.to[0].batch)
		}
		if c := s.metrics.to[1].periodic; c.interval != 40*time.Millisecond || c.timeout != 50*time.Millisecond {
			t.Errorf("metrics: %+v", c)
		}
	})
	t.Run("propagators", func(t *testing.T) {
		fields := read(t, nil, "OTEL_PROPAGATORS=b3, jaeger").propagator.Fields()
		slices.Sort(fields)
		if !slices.Equal(fields, []string{"b3", "uber-trace-id"}) {
			t.Errorf("%v", fields)
		}
		if fields := read(t, nil, "OTEL_PROPAGATORS=none").propagator.Fields(); len(fields) != 0 {
			t.Errorf("none propagates %v", fields)
		}
	})
}

// TestAMistakeForOneSignalLeavesTheGeneralValue checks that an invalid variable counts as unset, so that the general variable
// applies.
func TestAMistakeForOneSignalLeavesTheGeneralValue(t *testing.T) {
	const traces, general = "OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_"
	e := newEnviron([]string{
		general + "ENDPOINT=127.0.0.1:1", general + "PROTOCOL=grpc", general + "TIMEOUT=7", general + "COMPRESSION=gzip", general + "INSECURE=true",
		traces + "PROTOCOL=smoke", traces + "TIMEOUT=soon", traces + "COMPRESSION=zstd", traces + "INSECURE=yes",
	})
	s, found, err := otlp(e, &Options{}, Traces, false)
	if err != nil || !found {
		t.Fatal(found, err)
	}
	if s.protocol != GRPC || s.timeout != 7*time.Millisecond || !s.gzip || s.endpoint.secure {
		t.Errorf("protocol %s, timeout %v, gzip %t, TLS %t; want the general ones", s.protocol, s.timeout, s.gzip, s.endpoint.secure)
	}
	for _, name := range []string{"PROTOCOL", "TIMEOUT", "COMPRESSION", "INSECURE"} {
		if !slices.ContainsFunc(e.warnings, func(w warning) bool {
			return w.name == traces+name && strings.Contains(w.text, general+name+" is used")
		}) {
			t.Errorf("no warning names %s and what is used: %v", traces+name, e.warnings)
		}
	}
}

func TestDisabledSDKLeavesPropagationLogsAndThePage(t *testing.T) {
	p, log := setup(t, Options{Environ: []string{"OTEL_SDK_DISABLED=true", "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1"}})
	ctx, span := p.Providers().Tracer("t").Start(t.Context(), "a")
	p.Logger().InfoContext(ctx, "still readable")
	if span.IsRecording() || len(p.Providers().Propagator.Fields()) == 0 || len(log.lines("still readable")) != 1 {
		t.Errorf("recording %t, fields %v, log %q", span.IsRecording(), p.Providers().Propagator.Fields(), log)
	}
	rec := httptest.NewRecorder()
	p.MetricsHandler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if rec.Code != 200 {
		t.Errorf("the page answers %d", rec.Code)
	}
	if err := p.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestOptionsThatContradictThemselvesAreErrors(t *testing.T) {
	for want, o := range map[string]Options{
		"Protocol":                            {Endpoint: "http://x", Protocol: "htp"},
		"no scheme":                           {Endpoint: "collector:4317"},
		"Compression":                         {Compression: "zstd"},
		"BridgeRegistry":                      {BridgeRegistry: true},
		"QueueSize: ":                         {QueueSize: -1},
		"QueueBytes: ":                        {QueueBytes: -1},
		"BatchSize: ":                         {BatchSize: -1},
		"BatchBytes: ":                        {BatchBytes: -1},
		"BatchDelay: ":                        {BatchDelay: -1},
		"ExportTimeout: ":                     {ExportTimeout: -1},
		"ShutdownTimeout: ":                   {ShutdownTimeout: -1},
		"ReportInterval: ":                    {ReportInterval: -1},
		"MetricInterval: ":                    {MetricInterval: -1},
		"StandardLog":                         {StandardLog: true, KeepGlobals: true},
		"\"a\" has a value with a line break": {Endpoint: "http://x", Headers: map[string]string{"a": "sesame\n"}},
		"Headers: a header has a name":        {Endpoint: "http://x", Headers: map[string]string{"a: sesame": "b"}},
	} {
		o.Environ, o.KeepGlobals, o.LogWriter = []string{}, true, &logBuffer{}
		if _, err := Setup(t.Context(), &o); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func FuzzEnviron(f *testing.F) {
	f.Add("OTEL_EXPORTER_OTLP_ENDPOINT", "http://u:p@h:1/%zz")
	f.Add("OTEL_EXPORTER_OTLP_HEADERS", "a=%2,=b,c")
	f.Add("OTEL_BSP_SCHEDULE_DELAY", "99999999999999999999")
	f.Add("OTEL_TRACES_SAMPLER_ARG", "NaN")
	f.Add("OTEL_\xff\x00", "\xff")
	f.Fuzz(func(t *testing.T, name, value string) {
		if name == envConfigFile || strings.Contains(name, "CERTIFICATE") || strings.Contains(name, "KEY") {
			t.Skip("reads files")
		}
		e := newEnviron([]string{name + "=" + value, "OTEL_TRACES_EXPORTER=otlp", "OTEL_TRACES_SAMPLER=traceidratio"})
		if _, err := resolve(e, &Options{}); err != nil {
			t.Errorf("%s=%q is an error: %v", name, value, err)
		}
	})
}
