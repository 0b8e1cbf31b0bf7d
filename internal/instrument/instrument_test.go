package instrument_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/go-os/go-os/internal/fault"
	"github.com/go-os/go-os/internal/instrument"
	"github.com/go-os/go-os/telemetry"
)

var errMissing = fault.New("not_found", "missing")

// stage is a set of Providers and the data that reached the SDK behind them.
type stage struct {
	telemetry.Providers
	spans  *tracetest.SpanRecorder
	reader *sdkmetric.ManualReader
	events *recorder
}

func newStage(sampler sdktrace.Sampler) *stage {
	s := &stage{spans: tracetest.NewSpanRecorder(), reader: sdkmetric.NewManualReader(), events: &recorder{}}
	s.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(s.spans), sdktrace.WithSampler(sampler))
	s.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(s.reader))
	s.LoggerProvider = sdklog.NewLoggerProvider(sdklog.WithProcessor(s.events))
	return s
}

// recorder keeps log records; it takes nothing below its minimum.
type recorder struct {
	min     log.Severity
	records []sdklog.Record
}

func (r *recorder) Enabled(_ context.Context, p sdklog.EnabledParameters) bool {
	return p.Severity >= r.min
}
func (r *recorder) OnEmit(_ context.Context, rec *sdklog.Record) error {
	r.records = append(r.records, rec.Clone())
	return nil
}
func (r *recorder) Shutdown(context.Context) error   { return nil }
func (r *recorder) ForceFlush(context.Context) error { return nil }

func (s *stage) points(t *testing.T) map[string]uint64 {
	t.Helper()
	var rm metricdata.ResourceMetrics
	if err := s.reader.Collect(t.Context(), &rm); err != nil {
		t.Fatal(err)
	}
	got := map[string]uint64{}
	for _, sm := range rm.ScopeMetrics {
		for _, m := range sm.Metrics {
			for _, p := range m.Data.(metricdata.Histogram[float64]).DataPoints {
				got[m.Name+" "+m.Unit+" "+p.Attributes.Encoded(attribute.DefaultEncoder())] += p.Count
			}
		}
	}
	return got
}

func config() instrument.Config {
	return instrument.Config{
		Name:     "example.com/kv",
		Duration: "goos.kv.operation.duration",
		Kind:     trace.SpanKindClient,
		Attrs:    []attribute.KeyValue{attribute.String("store", "orders")},
	}
}

func TestCall(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want string // error.type
	}{
		{"success", nil, ""},
		{"a class", fmt.Errorf("kv: get: %w", errMissing), "not_found"},
		{"cancelled", context.Canceled, "canceled"},
		{"timed out", context.DeadlineExceeded, "timeout"},
		{"unsupported", errors.ErrUnsupported, "unsupported"},
		{"anything else", errors.New("disk on fire"), "_OTHER"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(sdktrace.AlwaysSample())
			op := instrument.New(config(), s.Providers).Op("get", "kv.get", attribute.String("op", "get"))

			ctx, call := op.Start(t.Context(), "")
			if !call.Recording() {
				t.Error("a sampled call does not record")
			}
			call.Set(attribute.String("key", "cart/7"))
			call.End(ctx, &c.err)

			span := s.spans.Ended()[0]
			want := []attribute.KeyValue{attribute.String("store", "orders"), attribute.String("op", "get"), attribute.String("key", "cart/7")}
			point := "goos.kv.operation.duration s op=get,store=orders"
			code := codes.Unset
			if c.want != "" {
				want = append(want, attribute.String("error.type", c.want))
				point = "goos.kv.operation.duration s error.type=" + c.want + ",op=get,store=orders"
				code = codes.Error
			}
			if span.Name() != "kv.get" || span.SpanKind() != trace.SpanKindClient || span.Status().Code != code {
				t.Errorf("span %q, kind %v, status %v; want kv.get, client, %v", span.Name(), span.SpanKind(), span.Status().Code, code)
			}
			if !slices.Equal(span.Attributes(), want) {
				t.Errorf("attributes %v, want %v", span.Attributes(), want)
			}
			if got := s.points(t); len(got) != 1 || got[point] != 1 {
				t.Errorf("points %v, want one %q", got, point)
			}
		})
	}
}

func TestUnsampledCallStillCounts(t *testing.T) {
	s := newStage(sdktrace.NeverSample())
	op := instrument.New(config(), s.Providers).Op("get", "kv.get")
	ctx, call := op.Start(t.Context(), "")
	if call.Recording() {
		t.Error("an unsampled call records")
	}
	call.End(ctx, nil)
	if got := s.points(t); got["goos.kv.operation.duration s store=orders"] != 1 {
		t.Errorf("points %v", got)
	}
}

// TestPanicIsAFailure: a method that panics has failed, whatever its named result is.
func TestPanicIsAFailure(t *testing.T) {
	s := newStage(sdktrace.AlwaysSample())
	op := instrument.New(config(), s.Providers).Op("get", "kv.get")
	value := errors.New("index out of \xff range")
	get := func() (err error) {
		ctx, call := op.Start(t.Context(), "")
		defer call.End(ctx, &err)
		panic(value)
	}
	func() {
		defer func() {
			if v := recover(); v != value {
				t.Errorf("recovered %v, want the panic to go on with the same value", v)
			}
		}()
		_ = get()
	}()
	span := s.spans.Ended()[0]
	if got, want := span.Status(), (sdktrace.Status{Code: codes.Error, Description: "panic: index out of \uFFFD range"}); got != want {
		t.Errorf("the span has the status %+v, want %+v", got, want)
	}
	if want := attribute.String("error.type", "panic"); !slices.Contains(span.Attributes(), want) {
		t.Errorf("the span has the attributes %v, want error.type=panic", span.Attributes())
	}
	if got := s.points(t); len(got) != 1 || got["goos.kv.operation.duration s error.type=panic,store=orders"] != 1 {
		t.Errorf("points %v, want one of a panic", got)
	}
}

// TestDeferredEndSeesTheResult: End reads the result when the method returns, not when End is deferred.
func TestDeferredEndSeesTheResult(t *testing.T) {
	s := newStage(sdktrace.AlwaysSample())
	op := instrument.New(config(), s.Providers).Op("get", "kv.get")
	_ = func() (err error) {
		ctx, call := op.Start(t.Context(), "")
		defer call.End(ctx, &err)
		return errMissing
	}()
	func() {
		ctx, call := op.Start(t.Context(), "")
		defer call.End(ctx, nil)
	}()
	got := s.points(t)
	if len(got) != 2 || got["goos.kv.operation.duration s error.type=not_found,store=orders"] != 1 || got["goos.kv.operation.duration s store=orders"] != 1 {
		t.Errorf("points %v, want a failure and a success", got)
	}
}

// brittle is an error whose methods fail on a nil pointer, as most do.
type brittle struct{ text string }

func (b *brittle) Error() string        { return b.text }
func (b *brittle) ErrorType() string    { return b.text }
func (b *brittle) Is(target error) bool { return b.text == target.Error() }

// TestHostileErrors: an error that holds a nil pointer, or whose text is malformed, must not break telemetry.
func TestHostileErrors(t *testing.T) {
	for _, c := range []struct {
		err     error
		message string
		kind    string // exception.type
	}{
		{(*brittle)(nil), "*instrument_test.brittle", "*instrument_test.brittle"},
		{errors.New("bad \xff byte"), "bad \uFFFD byte", "*errors.errorString"},
		{errors.New(strings.Repeat("x", 5000)), strings.Repeat("x", 4096), "*errors.errorString"},
	} {
		s := newStage(sdktrace.AlwaysSample())
		scope := instrument.New(config(), s.Providers)
		ctx, call := scope.Op("get", "kv.get").Start(t.Context(), "")
		scope.Event("exception", log.SeverityError, "").EmitError(ctx, c.err)
		scope.Event("exception", log.SeverityError, "").EmitPanic(ctx, c.err, []byte("stack \xff"))
		call.End(ctx, &c.err)
		if got := s.spans.Ended()[0].Status().Description; got != c.message {
			t.Errorf("the status message is %.60q, want %.60q", got, c.message)
		}
		if got := s.points(t); got["goos.kv.operation.duration s error.type=_OTHER,store=orders"] != 1 {
			t.Errorf("points %v", got)
		}
		for _, r := range s.events.records {
			attrs := map[attribute.Key]string{}
			r.WalkAttributes(func(kv attribute.KeyValue) bool { attrs[kv.Key] = kv.Value.AsString(); return true })
			if attrs["exception.message"] != c.message || attrs["exception.type"] != c.kind {
				t.Errorf("the event has the attributes %.200v, want %.60q of type %s", attrs, c.message, c.kind)
			}
		}
	}
}

func TestEmitPanicIsValidText(t *testing.T) {
	s := newStage(sdktrace.AlwaysSample())
	e := instrument.New(config(), s.Providers).Event("exception", log.SeverityError, "")
	e.EmitPanic(t.Context(), "bad \xff byte", []byte("stack \xff"))
	got := map[attribute.Key]string{}
	s.events.records[0].WalkAttributes(func(kv attribute.KeyValue) bool { got[kv.Key] = kv.Value.AsString(); return true })
	want := map[attribute.Key]string{
		"exception.type": "string", "exception.message": "bad \uFFFD byte", "exception.stacktrace": "stack \uFFFD",
	}
	if !maps.Equal(got, want) {
		t.Errorf("the event has the attributes %q, want %q", got, want)
	}
}

// samplerFunc is a sampler that decides by its parameters.
type samplerFunc func(sdktrace.SamplingParameters) sdktrace.SamplingDecision

func (f samplerFunc) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	return sdktrace.SamplingResult{Decision: f(p)}
}
func (samplerFunc) Description() string { return "func" }

func TestSamplersSeeTheAttributes(t *testing.T) {
	var seen []attribute.KeyValue
	s := newStage(samplerFunc(func(p sdktrace.SamplingParameters) sdktrace.SamplingDecision {
		seen = p.Attributes
		return sdktrace.Drop
	}))
	_, call := instrument.New(config(), s.Providers).Op("get", "kv.get", attribute.String("op", "get")).Start(t.Context(), "")
	call.End(t.Context(), nil)
	if want := []attribute.KeyValue{attribute.String("store", "orders"), attribute.String("op", "get")}; !slices.Equal(seen, want) {
		t.Errorf("the sampler saw %v, want %v", seen, want)
	}
}

func TestOffCostsNothing(t *testing.T) {
	op := instrument.New(config(), telemetry.Off()).Op("get", "kv.get")
	ctx := t.Context()
	get := func() (err error) {
		ctx, call := op.Start(ctx, "")
		defer call.End(ctx, &err)
		return errMissing
	}
	if n := testing.AllocsPerRun(100, func() { _ = get() }); n != 0 {
		t.Errorf("%v allocations with telemetry off, want 0", n)
	}
	if got, _ := op.Start(ctx, ""); got != ctx {
		t.Error("a call with telemetry off changes the context")
	}
}

func TestEvents(t *testing.T) {
	s := newStage(sdktrace.AlwaysSample())
	scope := instrument.New(config(), s.Providers)
	ctx, call := scope.Op("get", "kv.get").Start(t.Context(), "")
	scope.Event("goos.kv.lost", log.SeverityWarn, "").Emit(ctx, attribute.String("reason", "compacted"))
	scope.Event("exception", log.SeverityError, "").EmitError(ctx, errMissing)
	scope.Event("exception", log.SeverityError, "").EmitPanic(ctx, "out of range", []byte("stack"))
	call.End(ctx, nil)

	if len(s.events.records) != 3 {
		t.Fatalf("%d events, want 3", len(s.events.records))
	}
	span := s.spans.Ended()[0].SpanContext()
	wants := []struct {
		name, attr, value string
	}{
		{"goos.kv.lost", "reason", "compacted"},
		{"exception", "exception.message", "missing"},
		{"exception", "exception.stacktrace", "stack"},
	}
	for i, want := range wants {
		r := s.events.records[i]
		if r.EventName() != want.name || r.TraceID() != span.TraceID() || r.SpanID() != span.SpanID() || r.Timestamp().IsZero() {
			t.Errorf("event %d: name %q, trace %v, span %v, time %v", i, r.EventName(), r.TraceID(), r.SpanID(), r.Timestamp())
		}
		found := false
		r.WalkAttributes(func(kv attribute.KeyValue) bool {
			found = found || string(kv.Key) == want.attr && kv.Value.AsString() == want.value
			return true
		})
		if !found {
			t.Errorf("event %d has no %s=%s", i, want.attr, want.value)
		}
	}
}

func TestEventGate(t *testing.T) {
	s := newStage(sdktrace.AlwaysSample())
	s.events.min = log.SeverityError
	e := instrument.New(config(), s.Providers).Event("goos.kv.noise", log.SeverityInfo, "")
	e.Emit(t.Context())
	if e.Enabled(t.Context()) || len(s.events.records) != 0 {
		t.Errorf("an event below the minimum was emitted: %v", s.events.records)
	}
}

func BenchmarkCall(b *testing.B) {
	for name, p := range map[string]telemetry.Providers{
		"off":       telemetry.Off(),
		"unsampled": newStage(sdktrace.NeverSample()).Providers,
		"sampled": {
			TracerProvider: sdktrace.NewTracerProvider(),
			MeterProvider:  sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())),
		},
	} {
		b.Run(name, func(b *testing.B) {
			op := instrument.New(config(), p).Op("get", "kv.get")
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				ctx, call := op.Start(ctx, "")
				call.End(ctx, nil)
			}
		})
	}
}

// TestEventFallback: an event that nobody takes becomes a line, and one that somebody takes does not.
func TestEventFallback(t *testing.T) {
	var lines strings.Builder
	p := telemetry.Off()
	p.Logger = slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	off := instrument.New(config(), p)
	off.Event("goos.kv.lease.lost", log.SeverityWarn, "lease lost").EmitError(t.Context(), errMissing, attribute.Int("ttl", 3))
	off.Event("goos.kv.resync", log.SeverityInfo, "starts over").Emit(t.Context())
	off.Event("goos.kv.noise", log.SeverityDebug, "below the level of the logger").Emit(t.Context())
	off.Event("goos.kv.quiet", log.SeverityWarn, "").Emit(t.Context())
	want := `level=WARN msg="lease lost" event=goos.kv.lease.lost ttl=3 exception.type=not_found exception.message=missing` + "\n" +
		`level=INFO msg="starts over" event=goos.kv.resync` + "\n"
	if lines.String() != want {
		t.Errorf("lines %q, want %q", lines.String(), want)
	}

	lines.Reset()
	s := newStage(sdktrace.AlwaysSample())
	s.Logger = p.Logger
	instrument.New(config(), s.Providers).Event("goos.kv.lease.lost", log.SeverityWarn, "lease lost").Emit(t.Context())
	if lines.Len() != 0 || len(s.events.records) != 1 {
		t.Errorf("with a taker: lines %q, %d events", lines.String(), len(s.events.records))
	}
}

// TestLinesHaveTheAttributesOfEvents: an event and the line in its place have the same attributes.
func TestLinesHaveTheAttributesOfEvents(t *testing.T) {
	note := attribute.Int("ttl", 3)
	wrapped := fmt.Errorf("renew: %w", errors.New("bad \xff byte"))
	for name, emit := range map[string]func(*instrument.Event){
		"event":          func(e *instrument.Event) { e.Emit(t.Context(), note) },
		"error":          func(e *instrument.Event) { e.EmitError(t.Context(), errMissing, note) },
		"wrapped error":  func(e *instrument.Event) { e.EmitError(t.Context(), wrapped, note) },
		"joined errors":  func(e *instrument.Event) { e.EmitError(t.Context(), errors.Join(wrapped, errMissing)) },
		"value error":    func(e *instrument.Event) { e.EmitError(t.Context(), syscall.ENOENT) },
		"nil pointer":    func(e *instrument.Event) { e.EmitError(t.Context(), (*brittle)(nil)) },
		"panic":          func(e *instrument.Event) { e.EmitPanic(t.Context(), "bug", []byte("stack"), note) },
		"panic of error": func(e *instrument.Event) { e.EmitPanic(t.Context(), wrapped, []byte("stack"), note) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(sdktrace.AlwaysSample())
			emit(instrument.NewEventOrLine(s.Providers, "scope", "goos.happened", log.SeverityWarn, "it happened"))
			r := s.events.records[0]
			want := map[string]any{"level": "WARN", "msg": r.Body().AsString(), "event": r.EventName()}
			r.WalkAttributes(func(kv attribute.KeyValue) bool {
				want[string(kv.Key)] = kv.Value.String()
				return true
			})
			if want["msg"] != "it happened" {
				t.Errorf("the body of the event is %q, want the message", want["msg"])
			}

			var line bytes.Buffer
			p := telemetry.Off()
			p.Logger = slog.New(slog.NewJSONHandler(&line, nil))
			emit(instrument.NewEventOrLine(p, "scope", "goos.happened", log.SeverityWarn, "it happened"))
			got := map[string]any{}
			if err := json.Unmarshal(line.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			delete(got, "time")
			for key, value := range got {
				got[key] = fmt.Sprint(value)
			}
			if !maps.Equal(got, want) {
				t.Errorf("line %v\nevent %v", got, want)
			}
		})
	}
}

// TestSubject: the subject of a call is on its span and in its error, but on no metric, whichever signal is off.
func TestSubject(t *testing.T) {
	cfg := config()
	cfg.Subject = "goos.kv.key"
	cfg.Wrap = func(operation, subject string, err error) error {
		return fmt.Errorf("%s %q: %w", operation, subject, err)
	}
	call := func(p telemetry.Providers, subject string) (err error) {
		ctx, call := instrument.New(cfg, p).Op("get", "kv.get").Start(t.Context(), subject)
		defer call.End(ctx, &err)
		return errMissing
	}
	s := newStage(sdktrace.AlwaysSample())
	for name, p := range map[string]telemetry.Providers{"on": s.Providers, "off": telemetry.Off()} {
		if err := call(p, "cart/7"); err.Error() != `get "cart/7": missing` || !errors.Is(err, errMissing) {
			t.Errorf("telemetry %s: %v", name, err)
		}
	}
	span := s.spans.Ended()[0]
	if !slices.Contains(span.Attributes(), attribute.String("goos.kv.key", "cart/7")) || span.Status().Description != `get "cart/7": missing` {
		t.Errorf("span with %v, status %v", span.Attributes(), span.Status())
	}
	for point := range s.points(t) {
		if strings.Contains(point, "cart/7") {
			t.Errorf("the subject is on a metric: %s", point)
		}
	}
	_ = call(s.Providers, "")
	for _, kv := range s.spans.Ended()[1].Attributes() {
		if kv.Key == "goos.kv.key" {
			t.Error("a call without a subject has the attribute")
		}
	}
}
