package testenv

import (
	"fmt"

	collogspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	colmetricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Traces returns the spans that the collector has accepted so far, grouped as they were sent. Other calls share the result; do not change
// it.
func (c *CollectorHandle) Traces() []*tracepb.ResourceSpans {
	c.t.Helper()
	return held(c, c.traces)
}

// Metrics returns every export of the metrics that the collector has accepted so far, grouped as they were sent. Other calls share the
// result; do not change it.
func (c *CollectorHandle) Metrics() []*metricspb.ResourceMetrics {
	c.t.Helper()
	return held(c, c.metrics)
}

// Logs returns the log records that the collector has accepted so far, grouped as they were sent. Other calls share the result; do not
// change it. Output returns the collector's own log.
func (c *CollectorHandle) Logs() []*logspb.ResourceLogs {
	c.t.Helper()
	return held(c, c.logs)
}

// Spans returns every span that the collector has accepted so far, in the order of arrival.
func (c *CollectorHandle) Spans() []Span {
	c.t.Helper()
	var all []Span
	for _, resource := range c.Traces() {
		for _, scope := range resource.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				all = append(all, Span{Origin{resource.GetResource(), scope.GetScope()}, span})
			}
		}
	}
	return all
}

// LogRecords returns every log record that the collector has accepted so far, in the order of arrival.
func (c *CollectorHandle) LogRecords() []LogRecord {
	c.t.Helper()
	var all []LogRecord
	for _, resource := range c.Logs() {
		for _, scope := range resource.GetScopeLogs() {
			for _, record := range scope.GetLogRecords() {
				all = append(all, LogRecord{Origin{resource.GetResource(), scope.GetScope()}, record})
			}
		}
	}
	return all
}

// MetricsNamed returns every export of the metric with that name, in the order of arrival: the last is the newest.
func (c *CollectorHandle) MetricsNamed(name string) []Metric {
	c.t.Helper()
	var all []Metric
	for _, resource := range c.Metrics() {
		for _, scope := range resource.GetScopeMetrics() {
			for _, metric := range scope.GetMetrics() {
				if metric.GetName() == name {
					all = append(all, Metric{Origin{resource.GetResource(), scope.GetScope()}, metric})
				}
			}
		}
	}
	return all
}

// WaitSpans waits until the collector holds at least n spans, and returns all of them. It fails the test after 30 s.
func (c *CollectorHandle) WaitSpans(n int) []Span {
	c.t.Helper()
	return waitCount(c, n, "spans", c.Spans)
}

// WaitLogRecords waits until the collector holds at least n log records, and returns all of them. It fails the test after 30 s.
func (c *CollectorHandle) WaitLogRecords(n int) []LogRecord {
	c.t.Helper()
	return waitCount(c, n, "log records", c.LogRecords)
}

// WaitMetric waits until the collector holds an export of the metric, and returns the newest. It fails the test after 30 s.
func (c *CollectorHandle) WaitMetric(name string) Metric {
	c.t.Helper()
	all := waitCount(c, 1, "exports of "+name, func() []Metric { return c.MetricsNamed(name) })
	return all[len(all)-1]
}

// WaitFor waits until check returns nil. what describes the condition. It fails the test after 30 s.
func (c *CollectorHandle) WaitFor(what string, check func() error) {
	c.t.Helper()
	Eventually(c.t, patience, what+" in the collector", check)
}

// waitCount waits until list returns at least n items.
func waitCount[T any](c *CollectorHandle, n int, what string, list func() []T) (got []T) {
	c.t.Helper()
	c.WaitFor(fmt.Sprintf("%d %s", n, what), func() error {
		if got = list(); len(got) < n {
			return fmt.Errorf("it holds %d", len(got))
		}
		return nil
	})
	return got
}

// held returns the content of one of the collector's files. It fails the test if the file cannot be read.
func held[T any](c *CollectorHandle, f *recordFile[T]) []T {
	c.t.Helper()
	all, err := f.all()
	if err != nil {
		c.t.Errorf("what the collector holds cannot be read: %v", err)
	}
	return all
}

func decodeTraces(record []byte) ([]*tracepb.ResourceSpans, error) {
	var request coltracepb.ExportTraceServiceRequest
	err := proto.Unmarshal(record, &request)
	return request.ResourceSpans, err
}

func decodeMetrics(record []byte) ([]*metricspb.ResourceMetrics, error) {
	var request colmetricspb.ExportMetricsServiceRequest
	err := proto.Unmarshal(record, &request)
	return request.ResourceMetrics, err
}

func decodeLogs(record []byte) ([]*logspb.ResourceLogs, error) {
	var request collogspb.ExportLogsServiceRequest
	err := proto.Unmarshal(record, &request)
	return request.ResourceLogs, err
}
