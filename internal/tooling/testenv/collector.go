package testenv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// CollectorOptions configure Collector. Nil and zero work.
type CollectorOptions struct {
	// Config is collector configuration in YAML. It is merged over the default: keys are added or replaced, and lists are replaced whole.
	// The components are those of internal/tooling/engines/otelcol. Default: none.
	Config string
}

// CollectorHandle is a running OpenTelemetry Collector. It receives OTLP over gRPC and HTTP. It writes all accepted data to files, which
// the handle reads back.
//
// An acknowledged request is already in the files: nothing is batched, queued or buffered between the receiver and the file. Acknowledged
// data therefore survives Kill, and counts can be compared exactly.
type CollectorHandle struct {
	*Process

	traces  *recordFile[*tracepb.ResourceSpans]
	metrics *recordFile[*metricspb.ResourceMetrics]
	logs    *recordFile[*logspb.ResourceLogs]
}

const (
	collectorGRPC = iota // the index of the port of OTLP over gRPC
	collectorHTTP
	collectorPorts
)

// Collector starts an OpenTelemetry Collector for the test.
func Collector(t testing.TB, opts *CollectorOptions) *CollectorHandle {
	t.Helper()
	if opts == nil {
		opts = &CollectorOptions{}
	}
	engine := collectorEngine()
	if opts.Config != "" {
		engine.Prepare = alsoWrite(engine.Prepare, "extra.yaml", opts.Config)
		args := engine.Args
		engine.Args = func(p Place) []string { return append(args(p), "--config="+p.File("extra.yaml")) }
	}
	c := &CollectorHandle{Process: start(t, engine)}
	c.traces = &recordFile[*tracepb.ResourceSpans]{path: c.place.File(tracesFile), decode: decodeTraces}
	c.metrics = &recordFile[*metricspb.ResourceMetrics]{path: c.place.File(metricsFile), decode: decodeMetrics}
	c.logs = &recordFile[*logspb.ResourceLogs]{path: c.place.File(logsFile), decode: decodeLogs}
	return c
}

// GRPCEndpoint returns the host and port of OTLP over gRPC, without TLS.
func (c *CollectorHandle) GRPCEndpoint() string { return c.Addr(collectorGRPC) }

// HTTPEndpoint returns the base URL of OTLP over HTTP, as OTEL_EXPORTER_OTLP_ENDPOINT takes it.
func (c *CollectorHandle) HTTPEndpoint() string { return "http://" + c.Addr(collectorHTTP) }

// collectorEngine describes the collector of internal/tooling/engines/otelcol.
func collectorEngine() *Engine {
	return &Engine{
		Name:    "otelcol",
		Weight:  Light,
		Module:  "internal/tooling/engines/otelcol",
		Ports:   collectorPorts,
		Prepare: prepareCollector,
		Args:    func(p Place) []string { return []string{"--config=" + p.File("collector.yaml")} },
		Ready:   collectorReady,
	}
}

// The files to which the file exporter writes, in the collector's folder.
const (
	tracesFile  = "traces.otlp"
	metricsFile = "metrics.otlp"
	logsFile    = "logs.otlp"
)

// collectorConfig is the configuration of every collector; the verbs are the two addresses and the three files.
//
// The files hold length-prefixed protobuf: in OTLP's JSON ids are hex, which the generated types do not read. A "rotation" is set because
// without one the exporter buffers acknowledged data; no test reaches its size. The collector's own metrics are off, because they would
// listen on a fixed port.
const collectorConfig = `receivers:
  otlp:
    protocols:
      grpc: {endpoint: %q}
      http: {endpoint: %q}
exporters:
  file/traces: {path: %q, format: proto, rotation: {max_megabytes: 2000}}
  file/metrics: {path: %q, format: proto, rotation: {max_megabytes: 2000}}
  file/logs: {path: %q, format: proto, rotation: {max_megabytes: 2000}}
service:
  telemetry:
    metrics: {level: none}
  pipelines:
    traces: {receivers: [otlp], exporters: [file/traces]}
    metrics: {receivers: [otlp], exporters: [file/metrics]}
    logs: {receivers: [otlp], exporters: [file/logs]}
`

// prepareCollector writes the configuration, and makes the files of a killed collector readable again.
func prepareCollector(p Place) error {
	paths := []string{p.File(tracesFile), p.File(metricsFile), p.File(logsFile)}
	for _, path := range paths {
		if err := trimTorn(path); err != nil {
			return err
		}
	}
	text := fmt.Sprintf(collectorConfig, p.Addr(collectorGRPC), p.Addr(collectorHTTP), paths[0], paths[1], paths[2])
	return os.WriteFile(p.File("collector.yaml"), []byte(text), 0o644)
}

// collectorReady sends an empty OTLP request. The receiver answers it once its pipelines run, and stores nothing.
func collectorReady(ctx context.Context, p Place) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", p.Addr(collectorGRPC))
	if err != nil {
		return err
	}
	conn.Close()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.Addr(collectorHTTP)+"/v1/traces", strings.NewReader(""))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	return expectOK(request)
}

// expectOK sends a request and returns an error unless the answer is 200.
func expectOK(request *http.Request) error {
	request.Close = true // a probe must not leave a connection that a test would count
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(request.URL.Path + " answered " + response.Status)
	}
	return nil
}

// alsoWrite returns a Prepare that runs first and then writes one more file.
func alsoWrite(first func(Place) error, name, content string) func(Place) error {
	return func(p Place) error {
		if err := first(p); err != nil {
			return err
		}
		return os.WriteFile(p.File(name), []byte(content), 0o644)
	}
}
