package exporters

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"

	"go.opentelemetry.io/otel/exporters/stdout/stdoutlog"
	"go.opentelemetry.io/otel/exporters/stdout/stdoutmetric"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// errConsole reports a failure of the program's console writer.
var errConsole = errors.New("the console's writer")

// exclusiveWriter serializes the writes of all signals to a writer of the program. The writer runs on a separate goroutine, so that a
// writer that blocks delays no caller beyond its context. The next write waits for its turn, within its own context.
type exclusiveWriter struct {
	to   io.Writer
	turn chan struct{} // holds a value while a write runs
}

func newExclusiveWriter(w io.Writer) *exclusiveWriter {
	return &exclusiveWriter{w, make(chan struct{}, 1)}
}

// write writes one item, whole. If ctx ends first, the item counts as lost, although it may be written later.
func (w *exclusiveWriter) write(ctx context.Context, p []byte) error {
	select {
	case w.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("%w blocks: %w", errConsole, context.Cause(ctx))
	}
	wrote := make(chan error, 1)
	go func() {
		defer func() { <-w.turn }()
		wrote <- w.call(p)
	}()
	select {
	case err := <-wrote:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w blocks: %w", errConsole, context.Cause(ctx))
	}
}

// call calls the writer. A panic and a short write become errors.
func (w *exclusiveWriter) call(p []byte) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w panicked: %v", errConsole, v)
		}
	}()
	n, err := w.to.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fmt.Errorf("%w failed: %w", errConsole, err)
	}
	return nil
}

// Write implements io.Writer, for a readable log that shares its writer with the console.
func (w *exclusiveWriter) Write(p []byte) (int, error) {
	if err := w.write(context.Background(), bytes.Clone(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// sameWriter reports whether a and b are the same writer. Writers that cannot be compared count as different.
func sameWriter(a, b io.Writer) bool {
	return a != nil && b != nil && reflect.TypeOf(a).Comparable() && reflect.TypeOf(b).Comparable() && a == b
}

// each writes the n items of a batch one by one. An item that cannot be encoded is lost alone; an error of the writer ends the batch.
func (w *exclusiveWriter) each(ctx context.Context, n int, encode func(i int) ([]byte, error)) error {
	var lost int64
	var reason error
	for i := range n {
		text, err := encode(i)
		if err != nil {
			lost, reason = lost+1, err
			continue
		}
		if err := w.write(ctx, text); err != nil {
			return partly(n, int64(n-i)+lost, err)
		}
	}
	return partly(n, lost, reason)
}

// partialError is the error of an export of which some items arrived.
type partialError struct {
	lost int64
	err  error
}

func (e *partialError) Error() string { return e.err.Error() }
func (e *partialError) Unwrap() error { return e.err }

// partly returns the error of an export that lost some or all of n items.
func partly(n int, lost int64, err error) error {
	if lost == 0 || lost == int64(n) {
		return err
	}
	return &partialError{lost, err}
}

// errNotFinite reports a data point that JSON cannot express. An attribute is written as text instead.
var errNotFinite = errors.New("NaN and infinite values have no form in JSON")

// The console exporters encode one item at a time with the SDK's exporters, and write it through the exclusiveWriter.
type (
	consoleSpans struct {
		*stdouttrace.Exporter
		buf *bytes.Buffer
		out *exclusiveWriter
	}
	consoleRecords struct {
		*stdoutlog.Exporter
		buf *bytes.Buffer
		out *exclusiveWriter
	}
	consolePoints struct {
		sdkmetric.Exporter
		buf *bytes.Buffer
		out *exclusiveWriter
	}
)

func newConsoleSpans(out *exclusiveWriter) (sdktrace.SpanExporter, error) {
	buf := new(bytes.Buffer)
	e, err := stdouttrace.New(stdouttrace.WithWriter(buf))
	return consoleSpans{e, buf, out}, err
}

func newConsoleRecords(out *exclusiveWriter) (sdklog.Exporter, error) {
	buf := new(bytes.Buffer)
	e, err := stdoutlog.New(stdoutlog.WithWriter(buf))
	return consoleRecords{e, buf, out}, err
}

func newConsolePoints(out *exclusiveWriter) (sdkmetric.Exporter, error) {
	buf := new(bytes.Buffer)
	e, err := stdoutmetric.New(stdoutmetric.WithWriter(buf))
	return consolePoints{e, buf, out}, err
}

// ExportSpans implements sdktrace.SpanExporter.
func (e consoleSpans) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	return e.out.each(ctx, len(spans), func(i int) ([]byte, error) {
		return encoded(e.buf, func() error {
			return e.Exporter.ExportSpans(context.WithoutCancel(ctx), []sdktrace.ReadOnlySpan{finiteSpan(spans[i])})
		})
	})
}

// Export implements sdklog.Exporter.
func (e consoleRecords) Export(ctx context.Context, records []sdklog.Record) error {
	return e.out.each(ctx, len(records), func(i int) ([]byte, error) {
		makeFinite(&records[i])
		return encoded(e.buf, func() error { return e.Exporter.Export(context.WithoutCancel(ctx), records[i:i+1]) })
	})
}

// Export implements sdkmetric.Exporter. Points that JSON cannot express are left out and count as lost.
func (e consolePoints) Export(ctx context.Context, rm *metricdata.ResourceMetrics) error {
	n := int(points(rm))
	kept := finiteMetrics(rm)
	lost := int64(n) - points(kept)
	if lost < int64(n) {
		text, err := encoded(e.buf, func() error { return e.Exporter.Export(context.WithoutCancel(ctx), kept) })
		if err == nil {
			err = e.out.write(ctx, text)
		}
		if err != nil {
			return err
		}
	}
	if lost > 0 {
		return partly(n, lost, errNotFinite)
	}
	return nil
}

// encoded runs an exporter that writes to buf and returns a copy of the output. A write that blocks may outlive the buffer.
func encoded(buf *bytes.Buffer, export func() error) ([]byte, error) {
	buf.Reset()
	err := export()
	return bytes.Clone(buf.Bytes()), err
}
