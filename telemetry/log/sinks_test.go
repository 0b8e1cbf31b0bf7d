package log

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"testing/slogtest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/trace"

	"github.com/go-os/go-os/telemetry"
)

// inSpan adds the span of ctx to every record, as if it had been logged in it.
type inSpan struct {
	slog.Handler

	ctx context.Context
}

func (h inSpan) Handle(_ context.Context, r slog.Record) error { return h.Handler.Handle(h.ctx, r) }

func (h inSpan) WithAttrs(attrs []slog.Attr) slog.Handler {
	return inSpan{h.Handler.WithAttrs(attrs), h.ctx}
}

func (h inSpan) WithGroup(name string) slog.Handler { return inSpan{h.Handler.WithGroup(name), h.ctx} }

// under runs the suite with a group open. It looks for the suite's own attributes in the group, and for the built-in
// ones outside.
func under(group string, out map[string]any) map[string]any {
	inner, _ := out[group].(map[string]any)
	delete(out, group)
	maps.Copy(out, inner)
	return out
}

// all returns a handler with every feature on, writing to sinks.
func all(sinks ...Sink) *Handler {
	return NewHandler(&Options{
		Levels:    NewLevels(slog.LevelDebug),
		Redact:    &Redaction{Keys: []string{"hidden"}},
		Sampling:  &Sampling{First: 1 << 20},
		Telemetry: telemetry.Off(),
	}, sinks...)
}

func TestHandlersKeepTheContract(t *testing.T) {
	ctx := spanContext(t, trace.FlagsSampled)
	type suite struct {
		handler slog.Handler
		result  func(*testing.T) map[string]any
	}
	jsonCase := func(wrap func(Sink) slog.Handler) func() suite {
		return func() suite {
			var out buffer
			h := wrap(JSON(&out, nil))
			return suite{h, func(t *testing.T) map[string]any { return line(t, out.String()) }}
		}
	}
	cases := map[string]func() suite{
		"JSON":         jsonCase(func(s Sink) slog.Handler { return s }),
		"JSON in span": jsonCase(func(s Sink) slog.Handler { return inSpan{s, ctx} }),
		"NewHandler":   jsonCase(func(s Sink) slog.Handler { return all(s) }),
		"NewHandler named": jsonCase(func(s Sink) slog.Handler {
			return Named(slog.New(all(s)), "x").Handler()
		}),
		"NewHandler fan-out in span": jsonCase(func(s Sink) slog.Handler {
			return inSpan{all(Text(io.Discard, nil), s, OTel("x", telemetry.Off())), ctx}
		}),
		"Text": func() suite {
			var out buffer
			return suite{Text(&out, nil), func(t *testing.T) map[string]any { return parseText(t, out.String()) }}
		},
		"Text in span": func() suite {
			var out buffer
			return suite{inSpan{Text(&out, nil), ctx}, func(t *testing.T) map[string]any { return parseText(t, out.String()) }}
		},
		"Async": func() suite {
			var out buffer
			s := Async(JSON(&out, nil), &AsyncOptions{Telemetry: telemetry.Off()})
			return suite{inSpan{all(s), ctx}, func(t *testing.T) map[string]any {
				if err := s.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
				return line(t, out.String())
			}}
		},
		"OTel": func() suite {
			var rec recorder
			p := telemetry.Off()
			p.LoggerProvider = sdklog.NewLoggerProvider(sdklog.WithProcessor(&rec))
			return suite{all(OTel("x", p)), func(*testing.T) map[string]any { return rec.maps()[0] }}
		},
	}
	for name, start := range cases {
		t.Run(name, func(t *testing.T) {
			var s suite
			slogtest.Run(t, func(*testing.T) slog.Handler { s = start(); return s.handler },
				func(t *testing.T) map[string]any { return s.result(t) })
		})
		t.Run(name+" under a group", func(t *testing.T) {
			var s suite
			slogtest.Run(t, func(*testing.T) slog.Handler { s = start(); return s.handler.WithGroup("outer") },
				func(t *testing.T) map[string]any { return under("outer", s.result(t)) })
		})
	}
}

// parseText parses one line of key=value with dots for groups; the suite uses no values that need quotes.
func parseText(t *testing.T, text string) map[string]any {
	t.Helper()
	out := map[string]any{}
	for field := range strings.FieldsSeq(text) {
		path, v, ok := strings.Cut(field, "=")
		if !ok {
			t.Fatalf("%q is not key=value", field)
		}
		keys := strings.Split(path, ".")
		m := out
		for _, key := range keys[:len(keys)-1] {
			if m[key] == nil {
				m[key] = map[string]any{}
			}
			m = m[key].(map[string]any)
		}
		m[keys[len(keys)-1]] = v
	}
	return out
}

// recorder is an OTel log processor that keeps its records.
type recorder struct{ records []sdklog.Record }

func (p *recorder) OnEmit(_ context.Context, r *sdklog.Record) error {
	p.records = append(p.records, r.Clone())
	return nil
}

func (*recorder) Enabled(context.Context, sdklog.EnabledParameters) bool { return true }

func (*recorder) Shutdown(context.Context) error { return nil }

func (*recorder) ForceFlush(context.Context) error { return nil }

// maps returns the records in the form that slogtest requires.
func (p *recorder) maps() []map[string]any {
	var out []map[string]any
	for _, r := range p.records {
		m := map[string]any{slog.MessageKey: r.Body().AsString(), slog.LevelKey: r.SeverityText()}
		if !r.Timestamp().IsZero() && r.Timestamp().Unix() > 0 {
			m[slog.TimeKey] = r.Timestamp()
		}
		r.WalkAttributes(func(kv attribute.KeyValue) bool {
			m[string(kv.Key)] = anyOf(kv.Value)
			return true
		})
		out = append(out, m)
	}
	return out
}

func anyOf(v attribute.Value) any {
	if v.Type() != attribute.MAP {
		return v.AsInterface()
	}
	m := map[string]any{}
	for _, kv := range v.AsMap() {
		m[string(kv.Key)] = anyOf(kv.Value)
	}
	return m
}

func TestTraceIDsAreAtTheTopLevel(t *testing.T) {
	var out buffer
	for _, c := range []struct {
		name string
		sink Sink
		read func(*testing.T, string) map[string]any
	}{{"text", Text(&out, nil), parseText}, {"json", JSON(&out, nil), line}} {
		t.Run(c.name, func(t *testing.T) {
			base := New(nil, c.sink)
			for name, l := range map[string]*slog.Logger{
				"plain":          base,
				"with":           base.With("a", "1"),
				"group":          base.WithGroup("g"),
				"group and with": base.With("a", "1").WithGroup("g").With("b", "2").WithGroup("h").With("c", "3"),
			} {
				out.Reset()
				l.InfoContext(spanContext(t, trace.FlagsSampled), "hello", "k", "v", "n", 1)
				got := c.read(t, out.String())
				if got["trace_id"] != testTraceID || got["span_id"] != testSpanID || got["trace_flags"] != "01" {
					t.Errorf("%s: ids are not at the top level: %s", name, out.String())
				}
			}
			out.Reset()
			base.With("a", "1").WithGroup("g").With("b", "2").WithGroup("h").InfoContext(spanContext(t, 0), "hello", "k", "v")
			got := c.read(t, out.String())
			if got["a"] != "1" || dig(got, "g", "b") != "2" || dig(got, "g", "h", "k") != "v" || got["trace_flags"] != "00" {
				t.Errorf("groups are not as they were opened: %s", out.String())
			}
		})
	}
}

func TestTraceIDsFollowTheSpan(t *testing.T) {
	var out buffer
	l := New(nil, JSON(&out, nil))
	var want []string
	for range 3 {
		ctx := recording(t)
		for range 2 {
			l.InfoContext(ctx, "x")
			want = append(want, trace.SpanContextFromContext(ctx).SpanID().String())
		}
	}
	l.InfoContext(t.Context(), "no span")
	want = append(want, "")
	for i, m := range lines(t, out.String()) {
		if got, _ := m["span_id"].(string); got != want[i] {
			t.Errorf("line %d has span_id %q, want %q", i, got, want[i])
		}
	}
}

// TestSpanIDsThatRepeat covers the cache of ids: a span's id is unique only within its trace.
func TestSpanIDsThatRepeat(t *testing.T) {
	var out buffer
	l := New(nil, JSON(&out, nil))
	ctx := spanContext(t, 0)
	other := trace.SpanContextFromContext(ctx).WithTraceID(trace.TraceID{1})
	l.InfoContext(ctx, "x")
	l.InfoContext(trace.ContextWithSpanContext(ctx, other), "x")
	l.InfoContext(trace.ContextWithSpanContext(ctx, other.WithSpanID(trace.SpanID{2})), "x")
	got := lines(t, out.String())
	if got[0]["trace_id"] != testTraceID || got[1]["trace_id"] != other.TraceID().String() || got[1]["span_id"] != testSpanID ||
		got[2]["trace_id"] != other.TraceID().String() || got[2]["span_id"] != (trace.SpanID{2}).String() {
		t.Errorf("ids are not those of the traces: %s", out.String())
	}
}

func TestLoggersOfOneGroupAreApart(t *testing.T) {
	var out buffer
	parent := New(nil, JSON(&out, nil)).WithGroup("g").With("a", 1, "a2", 1, "a3", 1)
	one, two := parent.With("b", 2), parent.With("c", 3)
	for _, l := range []*slog.Logger{parent, one, two} {
		l.InfoContext(spanContext(t, 0), "x")
	}
	var got []string
	for _, m := range lines(t, out.String()) {
		got = append(got, fmt.Sprint(m["g"]))
	}
	if want := "[map[a:1 a2:1 a3:1] map[a:1 a2:1 a3:1 b:2] map[a:1 a2:1 a3:1 c:3]]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestTraceFlags(t *testing.T) {
	for f := range 256 {
		if got, want := flags(trace.TraceFlags(f)), trace.TraceFlags(f).String(); got != want {
			t.Errorf("flags(%d) = %q, want %q", f, got, want)
		}
	}
}

func TestSinkOptions(t *testing.T) {
	var out buffer
	sink := JSON(&out, &SinkOptions{Name: "mine", Level: slog.LevelWarn, AddSource: true,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			if len(groups) == 1 && a.Key == "k" {
				a.Value = slog.StringValue(groups[0] + " seen")
			}
			return a
		}})
	if sinkName(sink) != "mine" || sinkName(Text(io.Discard, nil)) != "text" || sinkName(slog.DiscardHandler) != "slog.discardHandler" {
		t.Errorf("names: %q, %q, %q", sinkName(sink), sinkName(Text(io.Discard, nil)), sinkName(slog.DiscardHandler))
	}
	l := New(nil, sink)
	l.Info("below the sink's level")
	l.WithGroup("g").WarnContext(spanContext(t, 1), "x", "k", "v")
	got := line(t, out.String())
	if _, ok := got["time"]; ok || dig(got, "g", "k") != "g seen" {
		t.Errorf("ReplaceAttr was not heeded: %s", out.String())
	}
	if fn, _ := dig(got, "source", "function").(string); !strings.HasSuffix(fn, ".TestSinkOptions") {
		t.Errorf("source is %v", got["source"])
	}
}

func TestOTelSink(t *testing.T) {
	var rec recorder
	p := telemetry.Off()
	p.LoggerProvider = sdklog.NewLoggerProvider(sdklog.WithProcessor(&rec))
	l := New(nil, OTel("shop/orders", p))
	ctx := recording(t)
	l.With("a", 1).WithGroup("g").WarnContext(ctx, "low", "password", "hunter2", "took", time.Second)
	if len(rec.records) != 1 {
		t.Fatalf("got %d records, want 1", len(rec.records))
	}
	r, m, sc := rec.records[0], rec.maps()[0], trace.SpanContextFromContext(ctx)
	if r.InstrumentationScope().Name != "shop/orders" || r.InstrumentationScope().SchemaURL != telemetry.SchemaURL {
		t.Errorf("scope is %+v", r.InstrumentationScope())
	}
	if r.TraceID() != sc.TraceID() || r.SpanID() != sc.SpanID() || r.TraceFlags() != sc.TraceFlags() {
		t.Error("the record is not of the span")
	}
	if m["a"] != int64(1) || dig(m, "g", "password") != "[redacted]" || dig(m, "g", "took") != int64(time.Second) {
		t.Errorf("attributes are %v", m)
	}
}
