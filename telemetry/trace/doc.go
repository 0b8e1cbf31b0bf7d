// Package trace adds what a running service needs to the OpenTelemetry trace SDK, and gives application code a small way to
// create spans.
//
//   - [Tracer] creates spans for application code: one defer ends the span, classifies the error and records a panic.
//   - [Sampler] is a sampler that can be changed while the program runs, temporarily or for good.
//   - [Keeper] keeps traces that prove important, because something in them failed or was slow, although the sampler had
//     dropped them when they began.
//   - [NewEventBridge] adds OTel events (log records with an EventName) as span events too, for tools that look for them
//     there.
//
// # Guarantees
//
// Everything here is safe for concurrent use. Nothing blocks on the network or starts a goroutine. The memory of a Keeper
// is bounded in traces, in spans and in time, and the traces and spans that it gives up are counted exactly.
//
// # Telemetry
//
// Tracer: one span a call. An error sets the status Error and error.type, and emits one event "exception" with
// exception.type and exception.message; a panic has error.type "panic" and also exception.stacktrace. error.type is
// "canceled" or "timeout" for an ended context, the result of the error's own ErrorType() string, or else its Go type.
//
// Sampler (after [Sampler.Observe]): the event goos.trace.sampler.changed, with goos.trace.sampler.description and
// goos.trace.sampler.reason (set, temporary, reverted).
//
// Keeper: the counters goos.trace.keeper.traces, by goos.trace.keeper.outcome (kept, discarded, overflowed), and
// goos.trace.keeper.spans, by the same outcomes and unwatched; the gauge goos.trace.keeper.buffered, in spans. Each
// span of a kept trace has the attribute goos.trace.kept (error, slow).
package trace

import "github.com/go-os/go-os/internal/fault"

// ErrInvalid is the error for invalid arguments and options, such as a nil sampler or a ratio outside of 0 to 1.
var ErrInvalid = fault.Invalid
