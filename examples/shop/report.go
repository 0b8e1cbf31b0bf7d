package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-os/go-os/examples/shop/internal/show"
	"github.com/go-os/go-os/exporters"
)

// announce prints the addresses of the services.
func (s *shop) announce() {
	var b strings.Builder
	for i := len(s.services) - 1; i >= 0; i-- {
		svc := s.services[i]
		fmt.Fprintf(&b, "  %-11s %-30s %s\n", svc.name, svc.urls[0], svc.metrics)
		for _, url := range svc.urls[1:] {
			fmt.Fprintf(&b, "  %-11s %s\n", "", url)
		}
	}
	to := cmp.Or(collector(), "nowhere: set OTEL_EXPORTER_OTLP_ENDPOINT to a collector")
	s.console.printf("%s\n  traces, metrics and logs are exported to %s\n", b.String(), to)
	if s.load != nil && s.flags.rate > 0 {
		s.console.printf("  %g requests a second; one in forty-four fails by a bug in payments, which is there on purpose\n", s.flags.rate)
	}
	for _, svc := range s.services {
		if svc.router != nil && svc.metrics != "" {
			s.console.printf("  %s shows where the calls of %s go\n", strings.TrimSuffix(svc.metrics, "metrics")+"routes", svc.name)
		}
	}
	if s.flags.duration == 0 {
		s.console.printf("  interrupt it (Ctrl-C) to see one request's trace, and rates and latencies by route\n")
	}
	s.console.printf("\n")
}

// report prints the telemetry of this run.
func (s *shop) report(instances [][]string, routes []*show.Route, elapsed time.Duration) error {
	var b strings.Builder
	if s.load != nil && s.load.sent.Load() > 0 {
		fmt.Fprintf(&b, "\n%s in %.1fs\n", s.load, elapsed.Seconds())
		if n := s.load.lost.Load(); n > 0 {
			fmt.Fprintf(&b, "%d requests failed although they can be retried\n", n)
		}
	}
	fmt.Fprint(&b, "\nInstances at the end:\n\n")
	listed := show.WriteTable(&b, instances)
	var charges error
	if len(s.tally.replicas) > 0 {
		fmt.Fprint(&b, "\nCharges by instance of payments:\n\n")
		charges = show.WriteTable(&b, s.tally.rows(s.began))
	}
	var tree error
	if worst := s.recorder.Worst(); worst != nil {
		fmt.Fprintf(&b, "\nThe worst request, trace %s:\n\n", worst.ID)
		tree = worst.Tree(&b)
	} else {
		fmt.Fprint(&b, "\nNo trace was recorded.\n")
	}
	fmt.Fprint(&b, "\nRequests and latencies by route:\n\n")
	rates := show.WriteRates(&b, routes, elapsed)
	var health error
	if collector() != "" {
		fmt.Fprintf(&b, "\nTelemetry to %s:\n\n", collector())
		health = show.WriteTable(&b, s.health())
	}
	s.console.printf("%s", b.String())
	return errors.Join(listed, charges, tree, rates, health)
}

// health returns a table with the account of every pipeline: emitted telemetry is exported, dropped or still queued.
func (s *shop) health() [][]string {
	rows := [][]string{{"service", "signal", " emitted", "exported", " dropped", "  queued"}}
	for i := len(s.services) - 1; i >= 0; i-- {
		svc := s.services[i]
		h := svc.pipeline.Health()
		for _, signal := range []struct {
			name string
			exporters.SignalHealth
		}{{"traces", h.Traces}, {"metrics", h.Metrics}, {"logs", h.Logs}} {
			row := []string{svc.name, signal.name}
			for _, n := range []int64{signal.Emitted, signal.Exported, signal.Dropped, signal.Queued} {
				row = append(row, fmt.Sprintf("%8d", n))
			}
			rows = append(rows, row)
		}
	}
	return rows
}
