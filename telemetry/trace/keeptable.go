package trace

import (
	"container/list"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// keepTable is the state of a Keeper. The Keeper's lock guards it.
//
// A trace is in one of four lists. Those with deadlines are sorted by them, since a deadline is a fixed time after
// insertion: expire looks only at the front.
//
//	open      the root runs; judged at the latest MaxAge after its start
//	late      the root has ended well and children run on; judged at the latest Linger after the end
//	kept      kept, and spans of it run on, which will follow; it holds no spans any more
//	finished  kept, and nothing of it runs; there because a child may still begin
//
// A discarded trace is forgotten. A kept one is remembered until its slot is needed: the oldest finished trace goes
// first, and a running one only when there is no finished one.
type keepTable struct {
	opts   *KeepOptions
	traces map[trace.TraceID]*watched
	closed bool
	stats  KeepStats

	open, late, kept, finished *list.List
}

// watched is a watched trace.
type watched struct {
	id       trace.TraceID
	root     trace.SpanID
	in       *list.List
	at       *list.Element
	deadline time.Time
	reason   string // why it is kept; "" while undecided
	running  int    // spans started and not ended
	ended    bool   // the root has ended
	spans    []sdktrace.ReadOnlySpan
}

// over reports whether all spans of the trace have ended.
func (w *watched) over() bool { return w.ended && w.running <= 0 }

func newKeepTable(opts *KeepOptions) keepTable {
	return keepTable{
		opts:     opts,
		traces:   make(map[trace.TraceID]*watched),
		open:     list.New(),
		late:     list.New(),
		kept:     list.New(),
		finished: list.New(),
	}
}

// start records the start of an unsampled span without a remote parent.
func (t *keepTable) start(s sdktrace.ReadOnlySpan, now time.Time) {
	if t.closed {
		return
	}
	id := s.SpanContext().TraceID()
	if w := t.traces[id]; w != nil {
		w.running++
		if w.in == t.finished {
			t.move(w, t.kept, time.Time{})
		}
		return
	}
	if s.Parent().IsValid() {
		return // a child of a trace that was never watched, or is forgotten
	}
	t.stats.Started++
	if len(t.traces) >= t.opts.MaxTraces && !t.makeRoom() {
		t.stats.Overflowed++
		return
	}
	w := &watched{id: id, root: s.SpanContext().SpanID(), running: 1}
	t.traces[id] = w
	t.move(w, t.open, now.Add(t.opts.MaxAge))
}

// makeRoom forgets a decided trace. It reports false if every trace is undecided.
func (t *keepTable) makeRoom() bool {
	oldest := t.finished.Front()
	if oldest == nil {
		oldest = t.kept.Front()
	}
	if oldest == nil {
		return false
	}
	t.forget(oldest.Value.(*watched))
	return true
}

// end decides on a span that has ended. It returns the spans to pass on, in the order in which they ended, and false if
// the trace is not watched.
func (t *keepTable) end(s sdktrace.ReadOnlySpan, reason string, now time.Time) ([]keptSpan, bool) {
	w := t.traces[s.SpanContext().TraceID()]
	if w == nil {
		t.stats.SpansUnwatched++
		return nil, false
	}
	w.running--
	isRoot := s.SpanContext().SpanID() == w.root
	w.ended = w.ended || isRoot

	var release []keptSpan
	if w.reason == "" && reason != "" {
		release = t.keep(w, reason)
	}
	if w.reason != "" {
		t.stats.SpansKept++
		if w.over() {
			t.move(w, t.finished, time.Time{})
		}
		return append(release, newKeptSpan(s, w.reason)), true
	}
	t.hold(w, s)
	switch {
	case w.over():
		t.discard(w)
	case isRoot:
		t.move(w, t.late, now.Add(t.opts.Linger))
	}
	return nil, true
}

// hold keeps an ended span of an undecided trace, within the bounds.
func (t *keepTable) hold(w *watched, s sdktrace.ReadOnlySpan) {
	if len(w.spans) >= t.opts.MaxSpans || t.stats.SpansBuffered >= int64(t.opts.MaxBuffered) {
		t.stats.SpansOverflowed++
		return
	}
	w.spans = append(w.spans, s)
	t.stats.SpansBuffered++
}

// keep marks a trace as kept and returns the spans that were held.
func (t *keepTable) keep(w *watched, reason string) []keptSpan {
	w.reason = reason
	t.stats.Kept++
	release := make([]keptSpan, 0, len(w.spans)+1)
	for _, s := range w.spans {
		release = append(release, newKeptSpan(s, reason))
	}
	t.stats.SpansKept += int64(t.drop(w))
	t.move(w, t.kept, time.Time{})
	return release
}

// discard discards a trace.
func (t *keepTable) discard(w *watched) {
	t.stats.Discarded++
	t.stats.SpansDiscarded += int64(t.drop(w))
	t.forget(w)
}

// overflow gives up a trace without a decision.
func (t *keepTable) overflow(w *watched) {
	t.stats.Overflowed++
	t.stats.SpansOverflowed += int64(t.drop(w))
	t.forget(w)
}

// drop empties the buffer of a trace and returns the number of spans that were in it.
func (t *keepTable) drop(w *watched) int {
	n := len(w.spans)
	w.spans = nil
	t.stats.SpansBuffered -= int64(n)
	return n
}

func (t *keepTable) move(w *watched, to *list.List, deadline time.Time) {
	if w.in != nil {
		w.in.Remove(w.at)
	}
	w.in, w.at, w.deadline = to, to.PushBack(w), deadline
}

func (t *keepTable) forget(w *watched) {
	w.in.Remove(w.at)
	delete(t.traces, w.id)
}

// expire decides the traces that are due and returns their spans to pass on.
func (t *keepTable) expire(now time.Time) []keptSpan {
	var release []keptSpan
	for w := due(t.open, now); w != nil; w = due(t.open, now) {
		release = append(release, t.giveUp(w)...)
	}
	for w := due(t.late, now); w != nil; w = due(t.late, now) {
		t.discard(w)
	}
	return release
}

// giveUp decides on a trace whose root has run for MaxAge, which is at least Slow.
func (t *keepTable) giveUp(w *watched) []keptSpan {
	if t.opts.Slow > 0 {
		return t.keep(w, keptSlow)
	}
	t.overflow(w)
	return nil
}

func due(l *list.List, now time.Time) *watched {
	front := l.Front()
	if front == nil {
		return nil
	}
	if w := front.Value.(*watched); !w.deadline.After(now) {
		return w
	}
	return nil
}

// close decides all traces, because nothing will later.
func (t *keepTable) close(now time.Time) []keptSpan {
	release := t.expire(now)
	t.closed = true
	for _, l := range []*list.List{t.open, t.late} {
		for e := l.Front(); e != nil; e = l.Front() {
			t.discard(e.Value.(*watched))
		}
	}
	return release
}
