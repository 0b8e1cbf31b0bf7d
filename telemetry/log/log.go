// Package log creates slog loggers for services. One record goes to any number of sinks and carries the ids of the trace it was written
// in. It is levelled, sampled and redacted once, before all sinks.
//
//	logger := log.New(&log.Options{Levels: levels}, log.Text(os.Stderr, nil), log.OTel("shop/orders", providers))
//
// The result is a plain *slog.Logger, and a sink is a plain [slog.Handler]: those of this package ([Text], [JSON], [OTel], [Async]),
// those of the standard library, and any other. slog-multi does the fan-out.
//
// # Guarantees
//
//   - Text and JSON lines written within a span carry trace_id, span_id and trace_flags at the top level, under WithGroup as well, as
//     the OpenTelemetry specification requires ("Trace Context in non-OTLP Log Formats").
//   - A redacted value reaches no sink. Keys and types are searched in the attributes of the call and of With, in groups, maps,
//     slices, nested slog.Attr and slog.Value, behind pointers and interfaces, and in what a [slog.LogValuer] returns. Messages, the
//     texts of errors, and the fields of structs are not searched.
//   - No failure of a sink reaches the application or the other sinks: errors and panics of its Handle are counted, and reported to the
//     error handler.
//   - A log call never waits for an [Async] sink. A sink that is not wrapped in Async is called in the log call, so a slow sink slows
//     the call down.
//   - A sink that writes to package log is safe, even when [slog.SetDefault] has redirected the output of package log to this logger.
//     The returning record is refused, counted as a failure of the sink, and reported. It is neither written again nor waited for.
//   - No loss is silent: every record that a sink did not receive is counted, with the reason. Records of level Error and above are
//     never sampled away.
//   - A record that is neither redacted nor dropped passes without an allocation by this package, except for two in each Text and JSON
//     sink: one for the first record of a span, and one for a record within a span that has five or more attributes of its own and no
//     open group.
//
// # Names and levels
//
// [Named] gives a logger a name, and [Levels] decides by name what is written: the level of "state.kv" applies when nothing is set for
// "state.kv.etcd". Levels can be changed while the program runs, by code or over HTTP, and revert by themselves.
//
// # Telemetry
//
//   - goos.log.dropped, counter, {record}: records that did not reach a sink. goos.log.reason is queue_full, closed, shutdown, error,
//     panic or sampled; goos.log.sink is the name of the sink, absent when sampled.
//   - goos.log.level.changed, event: a level was set, reset, or reverted ([Levels.Observe]). goos.log.logger is the name (empty for the
//     default), goos.log.level the new level, goos.log.previous_level the one before, goos.log.reason is set, reset or reverted, and
//     goos.log.revert_after, in seconds, is present when the change is temporary.
package log

import (
	"context"
	"log/slog"

	slogmulti "github.com/samber/slog-multi"

	"github.com/go-os/go-os/internal/fault"
	"github.com/go-os/go-os/telemetry"
)

// ErrInvalid is the error for invalid requests and options, such as a change of levels or the options of a file.
var ErrInvalid = fault.Invalid

// scopeName is the instrumentation scope of this package.
const scopeName = "github.com/go-os/go-os/telemetry/log"

// LoggerKey is the attribute that holds a logger's name.
const LoggerKey = "logger"

// Sink is a destination of records. Any slog.Handler is one. Metrics and errors name a sink by its method Name() string, or else by its
// Go type.
type Sink = slog.Handler

// Options configure a logger. Nil and the zero value work.
type Options struct {
	// Levels decide by the logger's name what is written. Several loggers may share them. Nil means Info and above, for all names.
	Levels *Levels
	// Redact selects what is hidden from every sink. Nil means the default keys, see DefaultKeys.
	Redact *Redaction
	// Sampling thins out repeated messages. Nil means no sampling.
	Sampling *Sampling
	// ErrorHandler receives the failures and panics of sinks. The first of each sink is reported at once, later ones at most every ten
	// seconds with the number of failures in between. It must not panic. Default: the process-wide handler of OpenTelemetry,
	// otel.Handle.
	ErrorHandler func(error)
	// Telemetry receives the metrics of this package.
	Telemetry telemetry.Providers
}

// New returns a logger that writes to all sinks. Without sinks it discards records.
func New(opts *Options, sinks ...Sink) *slog.Logger {
	return slog.New(NewHandler(opts, sinks...))
}

// Handler is the slog.Handler behind New. It is immutable and safe for concurrent use.
type Handler struct {
	*pipeline

	next   slog.Handler // all sinks, with this logger's attributes and groups
	gate   *gate        // this logger's name, and its current level
	ops    *op          // what With and WithGroup added, newest first
	groups int          // number of open groups
	hidden bool         // a group with a redacted name is open: all its attributes are hidden
}

// pipeline is the state that a Handler shares with all handlers derived from it.
type pipeline struct {
	levels  *Levels
	redact  *redactor // nil when off
	sampler *sampler  // nil when off
	sampled *drops
	sinks   []*outlet
	foreign bool         // one of the sinks may write to package log
	root    slog.Handler // all sinks, without attributes
}

// op is one WithAttrs or one WithGroup.
type op struct {
	prev  *op
	attrs []slog.Attr
	group string // used when attrs is empty
}

// NewHandler returns the handler behind New. Nil sinks are left out.
func NewHandler(opts *Options, sinks ...Sink) *Handler {
	if opts == nil {
		opts = &Options{}
	}
	p := &pipeline{
		levels:  opts.Levels,
		redact:  newRedactor(opts.Redact),
		sampler: newSampler(opts.Sampling),
		sampled: newDrops(opts.Telemetry, ""),
	}
	if p.levels == nil {
		p.levels = NewLevels(slog.LevelInfo)
	}
	guarded := make([]slog.Handler, 0, len(sinks))
	for _, s := range sinks {
		if s == nil {
			continue
		}
		o := &outlet{name: sinkName(s), report: newReporter(opts.ErrorHandler), foreign: foreign(s)}
		if async, ok := s.(*AsyncSink); ok {
			o.behind = async.outlet
		}
		p.foreign = p.foreign || o.foreign
		o.drops = newDrops(opts.Telemetry, o.name)
		p.sinks = append(p.sinks, o)
		guarded = append(guarded, &guard{outlet: o, next: s})
	}
	p.root = slog.DiscardHandler
	if len(guarded) > 0 {
		p.root = slogmulti.Fanout(guarded...)
	}
	return &Handler{pipeline: p, next: p.root, gate: p.levels.gate("")}
}

// Stats counts records since the handler was created, over all loggers derived from it.
type Stats struct {
	// Sampled records were dropped by sampling.
	Sampled int64
	// Failed counts deliveries in which a sink returned an error or panicked. A record that fails in two sinks counts twice.
	Failed int64
}

// Stats returns the current counts.
func (h *Handler) Stats() Stats {
	st := Stats{Sampled: h.sampled.total.Load()}
	for _, o := range h.sinks {
		st.Failed += o.failed.Load()
	}
	return st
}

// Enabled reports whether the current level of the logger's name admits this level, and any sink accepts it.
func (h *Handler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= h.gate.level() && h.next.Enabled(ctx, level)
}

// Handle samples and redacts the record and passes it to every sink that accepts its level. It returns the joined errors of the sinks.
// slog.Logger ignores it; Options.ErrorHandler has received it already.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	if h.foreign && h.echo() {
		return h.refuseEcho(ctx)
	}
	if h.sampler != nil && !h.sampler.keep(ctx, h.gate.hash, r) {
		h.sampled.add(ctx, reasonSampled, 1)
		return nil
	}
	if h.redact != nil {
		r = h.redact.record(r, h.hidden)
	}
	return h.next.Handle(ctx, r)
}

// WithAttrs returns a handler whose records also have these attributes. Outside of groups, a string under LoggerKey names the logger,
// see Named.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if h.groups == 0 {
		if name, rest, ok := takeName(attrs); ok {
			return h.named(name).WithAttrs(rest)
		}
	}
	if len(attrs) == 0 {
		return h
	}
	if h.redact != nil {
		attrs = h.redact.attrs(attrs, h.hidden)
	}
	h2 := *h
	h2.ops = &op{prev: h.ops, attrs: attrs}
	h2.next = h.next.WithAttrs(attrs)
	return &h2
}

// WithGroup returns a handler that puts later attributes into a group of this name.
func (h *Handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	h2 := *h
	h2.ops = &op{prev: h.ops, group: name}
	h2.groups++
	h2.hidden = h.hidden || h.redact != nil && h.redact.match(name)
	h2.next = h.next.WithGroup(name)
	return &h2
}

// Named returns a logger of this name, by which Levels decides what it writes. Its records have the name in the attribute "logger",
// always at the top level. Names are hierarchical, the parts separated by dots or slashes: "state.kv.etcd". Naming a named logger
// replaces its name.
//
// A logger that this package did not create only gets the attribute, in the open group.
func Named(l *slog.Logger, name string) *slog.Logger {
	if h, ok := l.Handler().(*Handler); ok {
		return slog.New(h.named(name))
	}
	return l.With(LoggerKey, name)
}

// named rebuilds the sinks' handlers from those without attributes. The name is added first, so that it is outside of groups and
// appears once.
func (h *Handler) named(name string) *Handler {
	h2 := *h
	h2.gate = h.levels.gate(name)
	h2.next = h.root
	if name != "" {
		h2.next = h.root.WithAttrs([]slog.Attr{slog.String(LoggerKey, name)})
	}
	h2.next = h.ops.replay(h2.next)
	return &h2
}

func (o *op) replay(h slog.Handler) slog.Handler {
	if o == nil {
		return h
	}
	h = o.prev.replay(h)
	if len(o.attrs) > 0 {
		return h.WithAttrs(o.attrs)
	}
	return h.WithGroup(o.group)
}

// takeName returns the last name among attrs, and the attributes without names.
func takeName(attrs []slog.Attr) (name string, rest []slog.Attr, ok bool) {
	for i, a := range attrs {
		if a.Key != LoggerKey || a.Value.Kind() != slog.KindString {
			if ok {
				rest = append(rest, a)
			}
			continue
		}
		if !ok {
			rest = append(rest, attrs[:i]...)
		}
		name, ok = a.Value.String(), true
	}
	return name, rest, ok
}
