package exporters

import (
	"context"
	"encoding/base64"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	logspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
)

// socketPeer is a gRPC peer at a socket of this machine.
func socketPeer(t *testing.T, addr string) *peer {
	t.Helper()
	p := startPeer(t)
	l, err := net.Listen("unix", addr)
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	tracepb.RegisterTraceServiceServer(srv, peerTraces{p: p})
	logspb.RegisterLogsServiceServer(srv, peerLogs{p: p})
	metricspb.RegisterMetricsServiceServer(srv, peerMetrics{p: p})
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(l) })
	t.Cleanup(func() { srv.Stop(); wg.Wait() })
	return p
}

// TestEveryFormOfTargetIsDialled exports all signals to each form of gRPC target, configured by the environment, the Options and a
// file.
func TestEveryFormOfTargetIsDialled(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "otlp") // a short path: that of a socket is limited to about 100 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	file, abstract := filepath.Join(dir, "s"), "@"+filepath.Base(dir)
	sockets := map[string]*peer{"unix:" + file: socketPeer(t, file), "unix-abstract:" + abstract[1:]: socketPeer(t, abstract)}
	sockets["unix://"+file] = sockets["unix:"+file]
	tcp := startPeer(t)
	for _, form := range []string{"", "dns:", "dns:///", "passthrough:", "passthrough:///", "http://"} {
		sockets[form+tcp.grpcAddr] = tcp
	}
	for target, peer := range sockets {
		yaml := configFile(t, fileHeader+strings.ReplaceAll(`
tracer_provider: {processors: [{batch: {exporter: {otlp_grpc: {endpoint: "TARGET", tls: {insecure: true}}}}}]}
logger_provider: {processors: [{batch: {exporter: {otlp_grpc: {endpoint: "TARGET", tls: {insecure: true}}}}}]}
meter_provider: {readers: [{periodic: {exporter: {otlp_grpc: {endpoint: "TARGET", tls: {insecure: true}}}}}]}
`, "TARGET", target))
		insecure := []string{"OTEL_EXPORTER_OTLP_INSECURE=true"}
		for name, o := range map[string]Options{
			"variables": {Environ: append(insecure, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_ENDPOINT="+target)},
			"options":   {Environ: insecure, Protocol: GRPC, Endpoint: target},
			"file":      {Environ: []string{"OTEL_CONFIG_FILE=" + yaml}},
		} {
			spans, records, points := peer.count(Traces), peer.count(Logs), peer.count(Metrics)
			p, log := setup(t, o)
			emit(t, p, 3)
			drained(t, p, 5*time.Second, nil)
			if peer.count(Traces) != spans+3 || peer.count(Logs) != records+3 || peer.count(Metrics) == points {
				t.Errorf("%s by %s: not all arrived: %s", target, name, log)
			}
		}
	}
}

// TestURLIsUsedAsItIs expects the endpoint's user, query and path in requests, although the exporters of the SDK lose them, and not
// in the log.
func TestURLIsUsedAsItIs(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[string]string{}
	peer := startPeer(t)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen[r.RequestURI] = r.Header.Get("Authorization")
		mu.Unlock()
		r.URL.Path = "/v1/" + r.URL.Query().Get("signal")
		peer.serveHTTP(w, r)
	}))
	defer srv.Close()
	base := strings.Replace(srv.URL, "://", "://user:pa%20ss@", 1)
	p, log := setup(t, Options{Environ: []string{
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=" + base + "//a/../b%2Fc/?signal=traces&key=SECRET#x",
		"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=" + base + "?signal=logs", "OTEL_EXPORTER_OTLP_ENDPOINT=" + base + "/base//?signal=metrics",
	}})
	emit(t, p, 2)
	drained(t, p, 5*time.Second, nil)
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("user:pa ss"))
	mu.Lock()
	defer mu.Unlock()
	for _, uri := range []string{"//a/../b%2Fc/?signal=traces&key=SECRET", "/?signal=logs", "/base//v1/metrics?signal=metrics"} {
		if seen[uri] != basic {
			t.Errorf("%s came with %q; all that came: %v", uri, seen[uri], seen)
		}
	}
	if strings.Contains(log.String(), "SECRET") || strings.Contains(log.String(), "pa ss") {
		t.Errorf("the log has a secret: %s", log)
	}
	srv.Close()
	q, log := setup(t, Options{Endpoint: base + "?key=SECRET", ShutdownTimeout: 100 * time.Millisecond})
	emit(t, q, 1)
	err := q.Shutdown(context.Background())
	if err == nil || strings.Contains(err.Error()+log.String(), "SECRET") || strings.Contains(err.Error()+log.String(), "pa%20ss") {
		t.Errorf("the error %v or the log has a secret: %s", err, log)
	}
}

// TestAnEndpointThatIsNoneExportsNothing misspells the scheme: Setup reports it, and nothing is sent elsewhere.
func TestAnEndpointThatIsNoneExportsNothing(t *testing.T) {
	for _, protocol := range protocols {
		p, log := setup(t, Options{Environ: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=htp://collector:4318", "OTEL_EXPORTER_OTLP_PROTOCOL=" + protocol}})
		if len(p.ledgers) != 0 || len(log.lines("OTEL_EXPORTER_OTLP_ENDPOINT", "not exported over OTLP")) != 3 {
			t.Errorf("%s: %d destinations; the log says %s", protocol, len(p.ledgers), log)
		}
		if err := p.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestABadHeaderCostsItselfAlone exports with the good headers beside a bad one, from the environment and from a file.
func TestABadHeaderCostsItselfAlone(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{GRPC, HTTP} {
		peer := startPeer(t)
		exporter, endpoint := "otlp_grpc", peer.endpoint(GRPC)
		if protocol == HTTP {
			exporter, endpoint = "otlp_http", peer.endpoint(HTTP)+"/v1/traces"
		}
		yaml := configFile(t, fileHeader+`
tracer_provider: {processors: [{simple: {exporter: {`+exporter+`: {endpoint: "`+endpoint+`", headers_list: "l=1,bad list=SESAME,m%20=SESAME",
  headers: [{name: x-good, value: "1"}, {name: "x bad", value: SESAME}, {name: x-line, value: "SESAME\r\nx: y"}, {name: x-null, value: null}]}}}}]}
`)
		for env, named := range map[string][]string{
			"OTEL_EXPORTER_OTLP_HEADERS=x%2Dgood=%31,Authorization: Basic SESAME=,x-line=SES%0AAME": {"OTEL_EXPORTER_OTLP_HEADERS: entry 2", "OTEL_EXPORTER_OTLP_HEADERS: entry 3"},
			"OTEL_CONFIG_FILE=" + yaml: {"headers_list, entry 2", "headers_list, entry 3", "headers[1]", "headers[2]", "headers[3]"},
		} {
			p, log := setup(t, Options{Endpoint: peer.endpoint(protocol), Protocol: protocol, Environ: []string{env}})
			for _, text := range named {
				if len(log.lines("WARN", text)) != 1 {
					t.Errorf("%s: %q is not named once: %s", protocol, text, log)
				}
			}
			emit(t, p, 1)
			if h := drained(t, p, 5*time.Second, nil); h.Traces.Exported != 1 || headerOf(peer, "x-good") != "1" {
				t.Errorf("%s: %+v, x-good %q", protocol, h.Traces, headerOf(peer, "x-good"))
			}
			if strings.Contains(log.String(), "SESAME") {
				t.Errorf("%s: the log has the secret: %s", protocol, log)
			}
		}
	}
}

// TestTheProcessDoesNotLeakIn sets resource attributes in the process's own environment, which the SDK reads by itself. They must
// not count beside a file, beside Options.Environ, or where one bad entry discards them all.
func TestTheProcessDoesNotLeakIn(t *testing.T) {
	t.Setenv(envResource, "leak=yes,bad=%zz")
	t.Setenv(envService, "leaking")
	peer := startPeer(t)
	yaml := configFile(t, fileHeader+`
resource: {attributes: [{name: service.name, value: own}]}
tracer_provider: {processors: [{batch: {exporter: {otlp_http: {endpoint: "http://`+peer.httpAddr+`/v1/traces"}}}}, {simple: {exporter: {console: }}}]}
logger_provider: {processors: [{batch: {exporter: {otlp_http: {endpoint: "http://`+peer.httpAddr+`/v1/logs"}}}}, {simple: {exporter: {console: }}}]}
meter_provider: {readers: [{periodic: {exporter: {otlp_http: {endpoint: "http://`+peer.httpAddr+`/v1/metrics"}}}}, {periodic: {exporter: {console: }}}]}
`)
	for name, env := range map[string][]string{
		"file": {"OTEL_CONFIG_FILE=" + yaml}, "environ": {"OTEL_SERVICE_NAME=own"}, "bad entry": {envResource + "=leak=yes,bad=%zz", "OTEL_SERVICE_NAME=own"},
	} {
		console := &logBuffer{}
		if name != "file" {
			env = append(env, consoles("otlp,")...)
			env = append(env, "OTEL_METRICS_EXPORTER=otlp,console,prometheus")
		}
		p, _ := setup(t, Options{Endpoint: peer.endpoint(HTTP), Environ: env, Console: console})
		emit(t, p, 3)
		page := httptest.NewRecorder()
		p.MetricsHandler().ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
		drained(t, p, 5*time.Second, nil)
		for where, text := range map[string]string{"the console": console.String(), "the page": page.Body.String()} {
			if strings.Contains(text, "leak") || strings.Contains(text, "%zz") || !strings.Contains(text, "own") {
				t.Errorf("%s: %s has the process's attributes, or not its own: %.2000s", name, where, text)
			}
		}
		peer.mu.Lock()
		var services []string
		for _, r := range peer.spans {
			services = append(services, attr(r.Resource.Attributes, "service.name"), attr(r.Resource.Attributes, "leak"))
		}
		for _, r := range peer.records {
			services = append(services, attr(r.Resource.Attributes, "service.name"), attr(r.Resource.Attributes, "leak"))
		}
		for _, r := range peer.metrics {
			services = append(services, attr(r.Resource.Attributes, "service.name"), attr(r.Resource.Attributes, "leak"))
		}
		peer.mu.Unlock()
		slices.Sort(services)
		if services = slices.Compact(services); !slices.Equal(services, []string{"", "own"}) {
			t.Errorf("%s: the peer has %q", name, services)
		}
	}
}

// TestResourceAttributesAreDecodedOnBothSides decodes OTEL_RESOURCE_ATTRIBUTES by the specification.
func TestResourceAttributesAreDecodedOnBothSides(t *testing.T) {
	e := newEnviron([]string{envResource + "=a%2Cb= c%3Dd ,e=f=g,,"})
	attrs := e.resource(envResource)
	if len(attrs) != 2 || attrs[0].Key != "a,b" || attrs[0].Value.AsString() != "c=d" || attrs[1].Value.AsString() != "f=g" || len(e.warnings) != 0 {
		t.Errorf("%v %v", attrs, e.warnings)
	}
}

// One bad entry discards all of OTEL_RESOURCE_ATTRIBUTES, including the entries before it.
func TestABadResourceAttributeDiscardsAll(t *testing.T) {
	for _, list := range []string{"good=1,bad", "good=1,bad=%zz", "good=1,=x", "%zz=x,good=1"} {
		e := newEnviron([]string{envResource + "=" + list})
		if attrs := e.resource(envResource); len(attrs) != 0 || len(e.warnings) != 1 {
			t.Errorf("%s: %v, %v; want nothing and one warning", list, attrs, e.warnings)
		}
	}
}

// TestLimitsOfLogRecords applies the general limits to log records, and their own limits over them.
func TestLimitsOfLogRecords(t *testing.T) {
	peer := startPeer(t)
	p, _ := setup(t, Options{Endpoint: peer.endpoint(HTTP), Environ: []string{
		"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT=3", "OTEL_ATTRIBUTE_COUNT_LIMIT=5", "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT=2",
	}})
	p.Logger().Info("m", "a", "12345", "b", 1, "c", 2)
	drained(t, p, 5*time.Second, nil)
	peer.mu.Lock()
	defer peer.mu.Unlock()
	r := peer.records[0].ScopeLogs[0].LogRecords[0]
	if len(r.Attributes) != 2 || r.DroppedAttributesCount != 1 || attr(r.Attributes, "a") != "123" {
		t.Errorf("%v", r)
	}
}

// TestATimeoutOfZeroIsNone uses a peer that is slower than one millisecond, which zero must not become.
func TestATimeoutOfZeroIsNone(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, protocol string) {
		peer := startPeer(t)
		peer.answering(func(Signal, int) answer { return answer{delay: 300 * time.Millisecond} })
		p, log := setup(t, Options{Endpoint: peer.endpoint(protocol), Protocol: protocol, ExportTimeout: 100 * time.Millisecond, Environ: []string{
			"OTEL_EXPORTER_OTLP_TIMEOUT=0", "OTEL_BSP_EXPORT_TIMEOUT=0", "OTEL_BLRP_EXPORT_TIMEOUT=0", "OTEL_METRIC_EXPORT_TIMEOUT=0", "OTEL_BSP_SCHEDULE_DELAY=0",
		}})
		emit(t, p, 3)
		if h := drained(t, p, 5*time.Second, nil); h.Traces.Exported != 3 || h.Logs.Exported != 3 || h.Metrics.Dropped != 0 {
			t.Errorf("%+v\n%s", h, log)
		}
	})
}
