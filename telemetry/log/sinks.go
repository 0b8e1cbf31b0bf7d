package log

import (
	"context"
	"io"
	"log/slog"
	"sync"

	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/otel/trace"

	"github.com/go-os/go-os/telemetry"
)

// SinkOptions configure Text and JSON. Nil and the zero value work.
type SinkOptions struct {
	// Name of the sink in metrics and errors. Empty means "text" or "json".
	Name string
	// Level is the sink's own minimum. Nil means none: Options.Levels alone decides.
	Level slog.Leveler
	// AddSource adds the source position of the log call.
	AddSource bool
	// ReplaceAttr rewrites attributes, as in slog.HandlerOptions. It receives the trace's ids like any other attribute.
	ReplaceAttr func(groups []string, a slog.Attr) slog.Attr
}

func (o *SinkOptions) handlerOptions() *slog.HandlerOptions {
	if o == nil {
		return &slog.HandlerOptions{Level: everything}
	}
	opts := &slog.HandlerOptions{Level: o.Level, AddSource: o.AddSource, ReplaceAttr: o.ReplaceAttr}
	if opts.Level == nil {
		opts.Level = everything
	}
	return opts
}

func (o *SinkOptions) name(def string) string {
	if o == nil || o.Name == "" {
		return def
	}
	return o.Name
}

// everything is below every level in use.
const everything = slog.Level(-1 << 16)

// Text returns a sink that writes lines of key=value to w, one Write each. They have the trace's ids at the top level.
func Text(w io.Writer, opts *SinkOptions) Sink {
	h := slog.NewTextHandler(&lineWriter{w: w}, opts.handlerOptions())
	return newTraced(opts.name("text"), h, foreignWriter(w))
}

// JSON returns a sink that writes lines of JSON to w, one Write each. They have the trace's ids at the top level.
func JSON(w io.Writer, opts *SinkOptions) Sink {
	h := slog.NewJSONHandler(&lineWriter{w: w}, opts.handlerOptions())
	return newTraced(opts.name("json"), h, foreignWriter(w))
}

// OTel returns a sink that passes records through otelslog to the logger provider of p, under an instrumentation scope of this name.
// The provider takes the trace's ids from the context.
//
// Every error keeps its key, with its text as the value. The first error of a record, or else of With, is also the record's exception:
// exception.type and exception.message. An error whose key is reused in the same record is kept as KEY.previous.
func OTel(scope string, p telemetry.Providers) Sink {
	opts := []otelslog.Option{otelslog.WithSchemaURL(telemetry.SchemaURL)}
	if p.LoggerProvider != nil {
		opts = append(opts, otelslog.WithLoggerProvider(p.LoggerProvider))
	}
	return bridge{next: otelslog.NewHandler(scope, opts...)}
}

// TraceIDs returns a sink that writes to h, any slog.Handler, and adds the ids of the span in the context at the top level, as Text and
// JSON do. The sinks of this package, and records that one of them has written to, already have the ids and stay unchanged.
func TraceIDs(h slog.Handler) Sink {
	if addsIDs(h) {
		return h
	}
	t := newTraced(sinkName(h), h, foreign(h))
	t.spare = nil
	return t
}

// addsIDs reports whether a sink of this package adds the ids itself.
func addsIDs(h slog.Handler) bool {
	switch s := h.(type) {
	case *traced, bridge, *Handler:
		return true
	case *AsyncSink:
		return addsIDs(s.next)
	default:
		return false
	}
}

// hasIDs reports whether traced has added ids to a record.
func hasIDs(r slog.Record) (found bool) {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "" && a.Value.Kind() == slog.KindGroup {
			group := a.Value.Group()
			found = len(group) > 0 && group[0].Key == traceIDKey
		}
		return !found
	})
	return found
}

// traced adds the ids of the span in the context to the output of a handler of the standard library.
//
// That handler cannot leave a group. So traced keeps two: cur, which has every group and attribute and takes records without a span,
// and root, which has the attributes added before the first group. With a span and open groups, root receives the ids and, as one
// attribute, the groups.
type traced struct {
	name    string
	foreign bool       // it may write to package log
	spare   *sync.Pool // of *scratch; shared with all derived handlers
	root    slog.Handler
	cur     slog.Handler
	groups  []openGroup // outermost first
}

func newTraced(name string, h slog.Handler, foreign bool) *traced {
	return &traced{name: name, foreign: foreign, spare: &sync.Pool{New: func() any { return new(scratch) }}, root: h, cur: h}
}

// openGroup is a group opened by WithGroup, and the attributes that With added to it.
type openGroup struct {
	name  string
	attrs []slog.Attr
}

func (t *traced) Name() string { return t.name }

func (t *traced) Enabled(ctx context.Context, level slog.Level) bool {
	return t.cur.Enabled(ctx, level)
}

func (t *traced) Handle(ctx context.Context, r slog.Record) error {
	sc := trace.SpanContextFromContext(ctx)
	if !sc.IsValid() || hasIDs(r) {
		return t.cur.Handle(ctx, r)
	}
	var s *scratch
	if t.spare == nil {
		s = new(scratch)
	} else {
		s = t.spare.Get().(*scratch)
		defer func() {
			s.empty()
			t.spare.Put(s)
		}()
	}
	if len(t.groups) == 0 {
		r = r.Clone()
		r.AddAttrs(s.ids(sc))
		return t.cur.Handle(ctx, r)
	}
	out := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	out.AddAttrs(s.ids(sc), s.nest(t.groups, r))
	return t.root.Handle(ctx, out)
}

func (t *traced) WithAttrs(attrs []slog.Attr) slog.Handler {
	t2 := *t
	t2.cur = t.cur.WithAttrs(attrs)
	if len(t.groups) == 0 {
		t2.root = t2.cur
		return &t2
	}
	t2.groups = append([]openGroup(nil), t.groups...)
	inner := &t2.groups[len(t2.groups)-1]
	inner.attrs = inner.attrs[:len(inner.attrs):len(inner.attrs)]
	for _, a := range attrs {
		a.Value = a.Value.Resolve() // once, as in cur, and not for each record
		inner.attrs = append(inner.attrs, a)
	}
	return &t2
}

func (t *traced) WithGroup(name string) slog.Handler {
	if name == "" {
		return t
	}
	t2 := *t
	t2.cur = t.cur.WithGroup(name)
	t2.groups = append(t.groups[:len(t.groups):len(t.groups)], openGroup{name: name})
	return &t2
}
