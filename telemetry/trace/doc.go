// Package trace adds to the OpenTelemetry trace SDK what a running service needs of it, and gives application code a
// small way to make spans.
//
//   - [Tracer] makes spans for application code: one defer ends the span, classifies the error and survives a panic.
//   - [Sampler] is a sampler that can be changed while the program runs, for a while or for good.
//   - [Keeper] keeps the traces that turned out to matter, because something in them failed or was slow, although the
//     sampler had dropped them when they began.
//   - [NewEventBridge] shows OTel events (log records with an EventName) as span events too, for tools that look
//     there.
//
// # Guarantees
//
// Everything here is safe for concurrent use. Nothing blocks on the network or starts a goroutine. The memory of a
// Keeper is bounded in traces, in spans and in time, and what it gives up is counted exactly.
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

// ErrInvalid is the class of arguments and options that make no sense, such as a sampler that is nil, a ratio that is none.
var ErrInvalid = fault.Invalid
