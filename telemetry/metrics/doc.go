// Package metrics makes OpenTelemetry metrics and an existing Prometheus setup work side by side, and gives
// application code instruments whose labels are a struct.
//
//   - [NewCounter], [NewUpDownCounter], [NewGauge] and [NewHistogram] make instruments with typed labels. A call with
//     labels seen before costs no allocation.
//   - [NewPrometheus] serves the metrics of a MeterProvider and those of an existing Prometheus registry on one page.
//   - [NewBridge] takes an existing Prometheus registry into the OpenTelemetry pipeline, to OTLP for example.
//
// # Guarantees
//
// Everything here is safe for concurrent use. The page always holds every series of the existing registry that could
// be gathered, under its own name, whatever ours are called and whatever fails; nor does the bridge lose the rest of
// a registry because one collector fails. What goes wrong is reported once and counted each time.
//
// # Telemetry
//
// The page has one counter of its own, goos_metrics_prometheus_problems_total, by problem: conflict (one for each
// family of ours that had to be renamed), gather (one for each error of a registry in a scrape), encode (one for each
// family that could not be written).
package metrics

import "github.com/go-os/go-os/internal/fault"

// ErrInvalid is the class of arguments and options that make no sense, such as a negative number, buckets of a counter.
var ErrInvalid = fault.Invalid
