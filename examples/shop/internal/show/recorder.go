package show

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const (
	maxTraces = 256 // kept at a time, besides the worst one
	maxSpans  = 64  // of one trace
	maxLines  = 64  // of one trace
)

// Recorder keeps the latest traces with their log lines, and the worst trace. All pipelines of a process share one recorder, so that it has
// all spans of a trace across services. It is safe for concurrent use.
type Recorder struct {
	mu     sync.Mutex
	traces map[trace.TraceID]*Trace
	order  []trace.TraceID // oldest first
	worst  *Trace          // of the traces that are no longer among the latest
}

var _ sdktrace.SpanProcessor = (*Recorder)(nil)

// NewRecorder returns an empty Recorder.
func NewRecorder() *Recorder { return &Recorder{traces: make(map[trace.TraceID]*Trace)} }

// Trace has the spans and log lines of one trace.
type Trace struct {
	ID    trace.TraceID
	Spans []sdktrace.ReadOnlySpan
	Lines []Line
}

// Line is one log record or event.
type Line struct {
	Time    time.Time
	Service string
	Level   string
	Message string
	Span    trace.SpanID
	Attrs   []attribute.KeyValue
}

// Worst returns the trace with the most failed spans, and among equals the longest one. It returns nil if no span was recorded. A trace
// that is not sampled may have log lines nevertheless.
func (r *Recorder) Worst() *Trace {
	r.mu.Lock()
	defer r.mu.Unlock()
	worst := r.worst
	for _, id := range r.order {
		worst = worse(worst, r.traces[id])
	}
	if worst == nil || len(worst.Spans) == 0 {
		return nil
	}
	return worst
}

func worse(a, b *Trace) *Trace {
	switch {
	case a == nil:
		return b
	case a.failures() != b.failures():
		if a.failures() > b.failures() {
			return a
		}
		return b
	case a.duration() > b.duration() || len(b.Spans) == 0:
		return a
	}
	return b
}

func (t *Trace) failures() (n int) {
	for _, s := range t.Spans {
		if s.Status().Code == codes.Error {
			n++
		}
	}
	return n
}

// duration returns the duration of the root span, or zero if there is no root span yet.
func (t *Trace) duration() time.Duration {
	for _, s := range t.Spans {
		if !s.Parent().IsValid() {
			return s.EndTime().Sub(s.StartTime())
		}
	}
	return 0
}

// keep calls f with the trace of an ID. If the trace is new, keep adds it, and discards the oldest one over the limit.
func (r *Recorder) keep(id trace.TraceID, f func(*Trace)) {
	if !id.IsValid() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.traces[id]
	if t == nil {
		t = &Trace{ID: id}
		r.traces[id] = t
		r.order = append(r.order, id)
	}
	f(t)
	if len(r.order) > maxTraces {
		oldest := r.order[0]
		r.worst = worse(r.worst, r.traces[oldest])
		delete(r.traces, oldest)
		r.order = r.order[1:]
	}
}

// OnStart implements sdktrace.SpanProcessor.
func (*Recorder) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// OnEnd implements sdktrace.SpanProcessor.
func (r *Recorder) OnEnd(s sdktrace.ReadOnlySpan) {
	r.keep(s.SpanContext().TraceID(), func(t *Trace) {
		if len(t.Spans) < maxSpans {
			t.Spans = append(t.Spans, s)
		}
	})
}

// Shutdown implements sdktrace.SpanProcessor. The recorded traces stay readable.
func (*Recorder) Shutdown(context.Context) error { return nil }

// ForceFlush implements sdktrace.SpanProcessor.
func (*Recorder) ForceFlush(context.Context) error { return nil }

func serviceOf(res *resource.Resource) string {
	if res == nil {
		return ""
	}
	v, _ := res.Set().Value("service.name")
	return v.AsString()
}
