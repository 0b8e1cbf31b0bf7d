// Command shop is three services calling each other, observed end to end: storefront (HTTP) calls orders (gRPC), which calls
// payments (HTTP). Each has a resource, a telemetry pipeline and a port of its own, as if it ran on a machine of its own.
//
//	go run ./examples/shop            until interrupted
//	go run ./examples/shop -for 10s   ends by itself
//
// A small load generator plays the customers. At the end the shop shows what its own telemetry holds: one request's trace
// across the services with its log lines, request rates and latencies by route, and what became of everything emitted.
// Nothing needs to be installed.
//
// With OTEL_EXPORTER_OTLP_ENDPOINT set, traces, metrics and logs go to an OpenTelemetry collector as well; a Prometheus
// can scrape the /metrics URLs that are printed at the start.
//
// Read storefront.go, orders.go and payments.go for what a service does to be observed, and service.go for its set-up.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	switch err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "shop:", err)
		os.Exit(1)
	}
}

// run is the program: it returns when ctx ends or the time is over, after a clean stop.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	f, err := parse(args, stderr)
	if err != nil {
		return err
	}
	c := newConsole(stdout, stderr)
	s, err := open(ctx, f, c)
	if err != nil {
		return err
	}
	s.announce()
	serving, cancel := ctx, context.CancelFunc(func() {})
	if f.duration > 0 {
		serving, cancel = context.WithTimeout(ctx, f.duration)
	}
	defer cancel()
	s.serve(serving)
	return s.finish(ctx)
}

// finish stops the shop in order (requests first, telemetry last) and reports. Telemetry that is lost is told, but is no
// failure of the shop.
func (s *shop) finish(ctx context.Context) error {
	elapsed := time.Since(s.began)
	drained := s.drain(ctx)
	routes, collected := s.rates.Collect(context.WithoutCancel(ctx)) // before the pipelines close
	lost := s.flush(ctx)
	reported := s.report(routes, elapsed)
	if lost != nil {
		s.console.printf("\nNot all telemetry was exported; the log says why.\n")
	}
	return errors.Join(drained, collected, reported)
}
