// Command shop runs three services with complete telemetry: storefront (HTTP) calls orders (gRPC), which calls payments (HTTP). Each has
// its own resource and telemetry pipeline, as if it ran on a separate machine, and three instances, which share them. The services find each
// other by name.
//
//	go run ./examples/shop            until interrupted
//	go run ./examples/shop -for 10s   for ten seconds
//
// A load generator simulates the customers. At the end the shop prints its own telemetry: the trace of one request across the services with
// its log lines, request rates and latencies by route, and how much telemetry was emitted, exported and dropped. The shop needs no other
// programs.
//
// Each service chooses the instances that it calls by load and health. With -fault, one instance of payments is slow or failing for a while,
// and the report shows how its callers go round it.
//
// With OTEL_EXPORTER_OTLP_ENDPOINT set, traces, metrics and logs go to an OpenTelemetry collector as well. A Prometheus can scrape the
// /metrics URLs that the shop prints at start-up.
//
// With -discovery etcd://host:port, instances in several processes find each other. One of a service can then be killed: see -h.
//
// See storefront.go, orders.go and payments.go for the instrumentation of a service, service.go for its set-up, registry.go for how it
// registers and leaves, and routes.go for how it routes its calls.
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

// run runs the shop until ctx ends or the time is over, and shuts it down.
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

// finish stops the shop, requests first and telemetry last, and prints the report. Lost telemetry is reported, but is not a failure of the
// shop.
func (s *shop) finish(ctx context.Context) error {
	elapsed := time.Since(s.began)
	instances := s.instances() // before they leave
	s.tally.end()
	drained := s.drain(ctx)
	routes, collected := s.rates.Collect(context.WithoutCancel(ctx)) // before the pipelines close
	lost := s.flush(ctx)
	reported := s.report(instances, routes, elapsed)
	if lost != nil {
		s.console.printf("\nNot all telemetry was exported; the log says why.\n")
	}
	return errors.Join(drained, collected, reported)
}
