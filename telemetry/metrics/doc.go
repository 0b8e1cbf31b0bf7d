// Package metrics lets OpenTelemetry metrics and an existing Prometheus setup work side by side, and gives application
// code instruments whose labels are a struct.
//
//   - [NewCounter], [NewUpDownCounter], [NewGauge] and [NewHistogram] create instruments with typed labels. A call with
//     labels seen before does not allocate.
//   - [NewPrometheus] serves the metrics of a MeterProvider and those of an existing Prometheus registry on one page.
//   - [NewBridge] feeds an existing Prometheus registry into the OpenTelemetry pipeline, for example to OTLP.
//
// # Guarantees
//
// Everything here is safe for concurrent use. The page always holds every series of the existing registry that could be
// gathered, under its own name, whatever the names of the OpenTelemetry metrics and whatever fails. The bridge does not
// lose the rest of a registry when one collector fails. A problem is reported once and counted each time.
//
// # Telemetry
//
// The page has one counter of its own, goos_metrics_prometheus_problems_total, by problem: conflict (one for each
// OpenTelemetry family that had to be renamed), gather (one for each error of a registry in a scrape), encode (one for
// each family that could not be written).
package metrics

import "github.com/go-os/go-os/internal/fault"

// ErrInvalid is the error for invalid arguments and options, such as a negative number or buckets of a counter.
var ErrInvalid = fault.Invalid
