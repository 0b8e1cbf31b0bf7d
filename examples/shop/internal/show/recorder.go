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

// Recorder keeps the latest traces, each with its log lines, and the worst trace of all. One recorder serves every pipeline
// of a process, so that a trace that crosses services is whole in it. It is safe for concurrent use.
type Recorder struct {
	mu     sync.Mutex
	traces map[trace.TraceID]*Trace
	order  []trace.TraceID // oldest first
	worst  *Trace          // of those that no longer are among the latest
}

var _ sdktrace.SpanProcessor = (*Recorder)(nil)

// NewRecorder returns an empty Recorder.
func NewRecorder() *Recorder { return &Recorder{traces: make(map[trace.TraceID]*Trace)} }

// Trace is what one trace left behind.
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

// Worst returns the trace in which most spans failed; of equals, the one that took longest. It is nil if no span was
// recorded: log lines are kept of traces that are not sampled, too.
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

// duration is that of the root span; zero while the trace has none.
func (t *Trace) duration() time.Duration {
	for _, s := range t.Spans {
		if !s.Parent().IsValid() {
			return s.EndTime().Sub(s.StartTime())
		}
	}
	return 0
}

// keep runs f on the trace of this id, which it makes if need be at the cost of the oldest.
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

// Shutdown implements sdktrace.SpanProcessor. What was recorded stays readable.
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
