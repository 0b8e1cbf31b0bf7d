package exporters

import (
	"fmt"
	"testing"
	"time"

	"github.com/go-os/go-os/internal/tooling/suite"
	"github.com/go-os/go-os/internal/tooling/testenv"
)

// TestRealCollectorHoldsWhatWeCounted sends all three signals to a real collector, over both protocols, and compares counts.
func TestRealCollectorHoldsWhatWeCounted(t *testing.T) {
	t.Parallel()
	collector := testenv.Collector(t, nil)
	for _, protocol := range []string{GRPC, HTTP} {
		endpoint := collector.HTTPEndpoint()
		if protocol == GRPC {
			endpoint = "http://" + collector.GRPCEndpoint()
		}
		name := "counted over " + protocol
		p, log := setup(t, Options{ServiceName: name, Endpoint: endpoint, Protocol: protocol})
		emit(t, p, 1500)
		h := drained(t, p, 10*time.Second, nil)
		if h.Traces.Exported != 1500 || h.Logs.Exported != 1500 || h.Metrics.Exported == 0 || h.Traces.Dropped+h.Logs.Dropped+h.Metrics.Dropped != 0 {
			t.Errorf("%s: %+v\n%s", name, h, log)
		}
		var spans, records int
		for _, s := range collector.Spans() {
			if s.Service() == name {
				spans++
			}
		}
		for _, r := range collector.LogRecords() {
			if r.Service() == name {
				records++
			}
		}
		if int64(spans) != h.Traces.Exported || int64(records) != h.Logs.Exported {
			t.Errorf("%s: exported %d spans and %d records, the collector holds %d and %d", name, h.Traces.Exported, h.Logs.Exported, spans, records)
		}
		if got := collectorPoints(collector, name); got != h.Metrics.Exported {
			t.Errorf("%s: exported %d data points, the collector holds %d", name, h.Metrics.Exported, got)
		}
	}
}

func collectorPoints(c *testenv.CollectorHandle, service string) (n int64) {
	for _, rm := range c.Metrics() {
		if testenv.Attribute(rm.Resource.Attributes, "service.name") != service {
			continue
		}
		for _, sm := range rm.ScopeMetrics {
			for _, m := range sm.Metrics {
				n += int64(len(m.GetGauge().GetDataPoints()) + len(m.GetSum().GetDataPoints()) + len(m.GetHistogram().GetDataPoints()))
			}
		}
	}
	return n
}

// TestRealCollectorKilledAndRestartedUnderLoad kills a real collector while spans are emitted without a pause, and restarts it. The
// collector holds what the pipeline counts as exported, and nothing that it counts as dropped. One line reports the incident.
func TestRealCollectorKilledAndRestartedUnderLoad(t *testing.T) {
	suite.Short(t)
	t.Parallel()
	for _, protocol := range []string{GRPC, HTTP} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			collector := testenv.Collector(t, nil)
			endpoint := collector.HTTPEndpoint()
			if protocol == GRPC {
				endpoint = "http://" + collector.GRPCEndpoint()
			}
			p, log := setup(t, Options{
				ServiceName: "killed", Endpoint: endpoint, Protocol: protocol, BatchDelay: 50 * time.Millisecond, ReportInterval: time.Hour,
			})
			tracer := p.Providers().Tracer("load")
			stop := make(chan struct{})
			stopped := make(chan struct{})
			go func() {
				defer close(stopped)
				tick := time.NewTicker(time.Millisecond)
				defer tick.Stop()
				for {
					select {
					case <-stop:
						return
					case <-tick.C:
						for range 5 {
							_, span := tracer.Start(t.Context(), "work")
							span.End()
						}
					}
				}
			}()
			state := func() string { return fmt.Sprintf("%+v\n%s", p.Health(), log) }
			eventually(t, 10*time.Second, state, func() bool { return p.Health().Traces.Exported > 500 })
			collector.Kill()
			eventually(t, 20*time.Second, state, func() bool { return p.Health().Traces.Dropped > 500 })
			collector.Restart()
			before := p.Health().Traces.Exported
			eventually(t, 30*time.Second, state, func() bool {
				h := p.Health().Traces
				return h.Working() && h.Exported > before+1000
			})
			eventually(t, 20*time.Second, state, func() bool { return len(log.lines("exported again")) == 1 })
			close(stop)
			<-stopped
			h := drained(t, p, 10*time.Second, nil)
			held := make(map[string]bool)
			for _, s := range collector.Spans() {
				held[s.ID()] = true
			}
			// A request whose answer the kill lost is sent again. The collector may hold spans twice, which the set removes, or
			// hold what the pipeline gave up in the end, at most one batch.
			extra := int64(len(held)) - h.Traces.Exported
			if extra < 0 || extra > 512 {
				t.Errorf("exported %d, and the collector holds %d", h.Traces.Exported, len(held))
			}
			if lines := log.lines("WARN", "telemetry is"); len(lines) != 1 {
				t.Errorf("want one line while it was away, got %q", lines)
			}
			t.Logf("%+v; the collector holds %d; log:\n%s", h.Traces, len(held), log)
		})
	}
}

// TestSIGTERMUnderLoadWithARealCollector is TestSIGTERMUnderLoad with a real collector at the other end.
func TestSIGTERMUnderLoadWithARealCollector(t *testing.T) {
	t.Parallel()
	collector := testenv.Collector(t, nil)
	s := startService(t, collector.HTTPEndpoint(), HTTP)
	l := startLoad(s.url, 16)
	eventually(t, 10*time.Second, saying("500 answers"), func() bool { return l.answered.Load() >= 500 })
	report := s.terminate(t)
	l.end()
	checkTerminated(t, report, l)
	held := make(map[string]bool)
	for _, span := range collector.Spans() {
		held[span.ID()] = true
	}
	if int64(len(held)) != report.Entered {
		t.Errorf("%d requests were accepted, and the collector holds %d spans", report.Entered, len(held))
	}
}
