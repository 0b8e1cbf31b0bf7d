package trace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/codes"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/go-os/go-os/telemetry"
)

// counting returns a tracer, the number of events it has emitted, and its spans.
func counting() (t *Tracer, events *int, spans *tracetest.SpanRecorder) {
	events, spans = new(int), tracetest.NewSpanRecorder()
	p := telemetry.Off()
	p.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	p.LoggerProvider = sdklog.NewLoggerProvider(sdklog.WithProcessor(eventCounter{events}))
	return New("test", p), events, spans
}

type eventCounter struct{ n *int }

func (c eventCounter) OnEmit(context.Context, *sdklog.Record) error         { *c.n++; return nil }
func (eventCounter) Enabled(context.Context, sdklog.EnabledParameters) bool { return true }
func (eventCounter) Shutdown(context.Context) error                         { return nil }
func (eventCounter) ForceFlush(context.Context) error                       { return nil }

type uncomparable struct{ all []string }

func (u uncomparable) Error() string { return "uncomparable: " + strings.Join(u.all, ", ") }

// TestOneFailureIsOneEvent checks that an error passing through spans is one event of the innermost, and that every span
// has its status.
func TestOneFailureIsOneEvent(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		run  func(ctx context.Context, tr *Tracer) error
		want int
	}{
		"three spans": {func(ctx context.Context, tr *Tracer) error {
			return tr.Do(ctx, "b", func(ctx context.Context) error {
				return tr.Do(ctx, "c", func(context.Context) error { return broken })
			})
		}, 1},
		"wrapped on the way": {func(ctx context.Context, tr *Tracer) error {
			err := tr.Do(ctx, "b", func(ctx context.Context) error {
				return fmt.Errorf("b: %w", tr.Do(ctx, "c", func(context.Context) error { return broken }))
			})
			return fmt.Errorf("a: %w", err)
		}, 1},
		"replaced on the way": {func(ctx context.Context, tr *Tracer) error {
			_ = tr.Do(ctx, "b", func(context.Context) error { return broken })
			return io.EOF
		}, 2},
		"two of two": {func(ctx context.Context, tr *Tracer) error {
			one := tr.Do(ctx, "b", func(context.Context) error { return broken })
			two := tr.Do(ctx, "c", func(context.Context) error { return io.EOF })
			return errors.Join(two, one)
		}, 2},
		"made new each time": {func(ctx context.Context, tr *Tracer) error {
			for range 2 {
				_ = tr.Do(ctx, "b", func(context.Context) error { return errors.New("broken") })
			}
			return nil
		}, 2},
		"cannot be compared": {func(ctx context.Context, tr *Tracer) error {
			return tr.Do(ctx, "b", func(context.Context) error { return uncomparable{} })
		}, 2},
		"panic": {func(ctx context.Context, tr *Tracer) error {
			return tr.Do(ctx, "b", func(context.Context) error { panic(broken) })
		}, 1},
		"panic with what cannot be compared": {func(ctx context.Context, tr *Tracer) error {
			return tr.Do(ctx, "b", func(context.Context) error { panic(uncomparable{}) })
		}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			tr, events, spans := counting()
			func() {
				defer func() { _ = recover() }()
				_ = tr.Do(t.Context(), "a", func(ctx context.Context) error { return c.run(ctx, tr) })
			}()
			if *events != c.want {
				t.Errorf("%d events, want %d", *events, c.want)
			}
			for _, s := range spans.Ended() {
				if s.Status().Code != codes.Error && name != "made new each time" {
					t.Errorf("span %q has the status %v", s.Name(), s.Status())
				}
			}
		})
	}
}
