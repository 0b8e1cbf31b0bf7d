package trace_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/go-os/go-os/telemetry"
	"github.com/go-os/go-os/telemetry/trace"
)

type observed struct {
	spans  *tracetest.SpanRecorder
	events recorded
	tracer *trace.Tracer
}

func observe() *observed {
	o := &observed{spans: tracetest.NewSpanRecorder()}
	o.tracer = trace.New("example.com/shop", telemetry.Providers{
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(o.spans)),
		LoggerProvider: sdklog.NewLoggerProvider(sdklog.WithProcessor(&o.events)),
	})
	return o
}

// span returns the only span.
func (o *observed) span(t *testing.T) sdktrace.ReadOnlySpan {
	t.Helper()
	ended := o.spans.Ended()
	if len(ended) != 1 {
		t.Fatalf("%d spans have ended, want 1", len(ended))
	}
	return ended[0]
}

func attr(s sdktrace.ReadOnlySpan, key attribute.Key) string {
	for _, kv := range s.Attributes() {
		if kv.Key == key {
			return kv.Value.String()
		}
	}
	return ""
}

func TestDoWell(t *testing.T) {
	o := observe()
	err := o.tracer.Do(t.Context(), "charge", func(context.Context) error { return nil }, attribute.String("k", "v"))
	if err != nil {
		t.Fatal(err)
	}
	s := o.span(t)
	if s.Name() != "charge" || attr(s, "k") != "v" || s.InstrumentationScope().Name != "example.com/shop" {
		t.Errorf("the span is %s %v of %s", s.Name(), s.Attributes(), s.InstrumentationScope().Name)
	}
	if s.Status().Code != codes.Unset || attr(s, "error.type") != "" {
		t.Errorf("the span has the status %v and error.type %q, want none", s.Status(), attr(s, "error.type"))
	}
	equal(t, "events", o.events.lines(), nil)
}

func TestDoFails(t *testing.T) {
	o := observe()
	cause := &url.Error{Op: "Get", URL: "x", Err: errors.New("refused")}
	err := o.tracer.Do(t.Context(), "charge", func(context.Context) error { return fmt.Errorf("paying: %w", cause) })
	if !errors.Is(err, cause) {
		t.Errorf("Do returned %v, want the error of the function", err)
	}
	s := o.span(t)
	if s.Status().Code != codes.Error || s.Status().Description != err.Error() {
		t.Errorf("the span has the status %v, want Error with the text", s.Status())
	}
	if got := attr(s, "error.type"); got != "*url.Error" {
		t.Errorf("error.type = %q, want *url.Error", got)
	}
	equal(t, "events", o.events.lines("exception.message"), []string{`exception paying: Get "x": refused`})
	if id := o.events.records[0].SpanID(); id != s.SpanContext().SpanID() {
		t.Errorf("the event belongs to the span %v, want %v", id, s.SpanContext().SpanID())
	}
	if len(s.Events()) != 0 {
		t.Errorf("the span has the events %v, want none without the bridge", s.Events())
	}
}

func TestDoPanics(t *testing.T) {
	o := observe()
	func() {
		defer func() {
			if v := recover(); v != "boom" {
				t.Errorf("recovered %v, want the panic to go on", v)
			}
		}()
		_ = o.tracer.Do(t.Context(), "charge", func(context.Context) error { panic("boom") })
	}()
	s := o.span(t)
	if s.Status().Code != codes.Error || attr(s, "error.type") != "panic" {
		t.Errorf("the span has the status %v and error.type %q, want Error and panic", s.Status(), attr(s, "error.type"))
	}
	equal(t, "events", o.events.lines("exception.type", "exception.message"), []string{"exception string boom"})
	stack := o.events.lines("exception.stacktrace")[0]
	if !strings.Contains(stack, "TestDoPanics") {
		t.Errorf("the stack does not name the function that panicked:\n%s", stack)
	}
	if len(s.Events()) != 0 {
		t.Errorf("the SDK has recorded the panic a second time: %v", s.Events())
	}
}

// Goexit, which t.FailNow and others use, is not a failure that a span can detect, but the span must end.
func TestDoLeftByGoexit(t *testing.T) {
	o := observe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = o.tracer.Do(context.Background(), "charge", func(context.Context) error { runtime.Goexit(); return nil })
	}()
	<-done
	if s := o.span(t); s.Status().Code != codes.Unset {
		t.Errorf("the span has the status %v, want none", s.Status())
	}
}

func TestSpanSetsAndNests(t *testing.T) {
	o := observe()
	ctx, outer := o.tracer.Start(t.Context(), "outer")
	ctx, inner := o.tracer.Start(ctx, "inner")
	if !inner.Recording() {
		t.Error("Recording() = false in a sampled span")
	}
	inner.Set(attribute.Int("n", 1))
	inner.End(ctx, nil)
	outer.End(ctx, nil)
	ended := o.spans.Ended()
	if ended[0].Parent().SpanID() != ended[1].SpanContext().SpanID() || attr(ended[0], "n") != "1" {
		t.Errorf("the inner span has the parent %v and attributes %v", ended[0].Parent().SpanID(), ended[0].Attributes())
	}
}

func TestTracerOff(t *testing.T) {
	tracer := trace.New("example.com/shop", telemetry.Off())
	want := errors.New("refused")
	if err := tracer.Do(t.Context(), "charge", func(context.Context) error { return want }); err != want {
		t.Errorf("Do returned %v, want %v", err, want)
	}
}

// brittle is an error whose methods panic on a nil pointer, as most do.
type brittle struct{ text string }

func (b *brittle) Error() string        { return b.text }
func (b *brittle) Is(target error) bool { return b.text == target.Error() }

// The content of an error must neither make the span panic nor corrupt the batch that exports it.
func TestHostileErrors(t *testing.T) {
	for _, test := range []struct {
		err     error
		message string
	}{
		{(*brittle)(nil), "*trace_test.brittle"},
		{errors.New("bad \xff byte"), "bad \uFFFD byte"},
		{errors.New(strings.Repeat("x", 5000)), strings.Repeat("x", 4096)},
	} {
		o := observe()
		if err := o.tracer.Do(t.Context(), "charge", func(context.Context) error { return test.err }); err != test.err {
			t.Errorf("Do returned another error than the function")
		}
		if got := o.span(t).Status().Description; got != test.message {
			t.Errorf("the status message is %.60q, want %.60q", got, test.message)
		}
		equal(t, "events", o.events.lines("exception.message"), []string{"exception " + test.message})
	}
}

func TestHostilePanics(t *testing.T) {
	o := observe()
	func() {
		defer func() {
			if v := recover(); v != "bad \xff byte" {
				t.Errorf("recovered %q, want the panic to go on as it was", v)
			}
		}()
		_ = o.tracer.Do(t.Context(), "charge", func(context.Context) error { panic("bad \xff byte") })
	}()
	if got, want := o.span(t).Status().Description, "panic: bad \uFFFD byte"; got != want {
		t.Errorf("the status message is %q, want %q", got, want)
	}
	equal(t, "events", o.events.lines("exception.message"), []string{"exception bad \uFFFD byte"})
}

type outage struct{}

func (outage) Error() string     { return "out" }
func (outage) ErrorType() string { return "outage" }

func TestErrorType(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{fmt.Errorf("x: %w", context.Canceled), "canceled"},
		{context.DeadlineExceeded, "timeout"},
		{fmt.Errorf("x: %w", outage{}), "outage"},
		{fmt.Errorf("x: %w", fmt.Errorf("y: %w", &url.Error{Err: errors.New("z")})), "*url.Error"},
		{errors.New("x"), "*errors.errorString"},
		{errors.Join(&url.Error{Err: errors.New("x")}, errors.New("y")), "*url.Error"},
		{fmt.Errorf("x: %w, %w", fmt.Errorf("y: %w", errors.Join(nil, &url.Error{Err: errors.New("z")})), errors.New("z")), "*url.Error"},
		{fmt.Errorf("x: %w", nil), "*fmt.wrapError"},
		{(*brittle)(nil), "*trace_test.brittle"},
	} {
		if got := trace.ErrorType(test.err); got != test.want {
			t.Errorf("ErrorType(%v) = %q, want %q", test.err, got, test.want)
		}
	}
}
