package show

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// barWidth is the width of the time line of a trace, in characters.
const barWidth = 32

// node is one row of the tree.
type node struct {
	span  sdktrace.ReadOnlySpan
	label string // the name with the branches before it
}

// Tree writes the trace as a tree of its spans. Each span has a bar on the time line of the trace, a duration and an outcome. The log lines
// follow in the order of time.
func (t *Trace) Tree(w io.Writer) error {
	nodes := t.nodes()
	begin, end := t.window()
	labels, services := 0, 0
	for _, n := range nodes {
		labels = max(labels, utf8.RuneCountInString(n.label))
		services = max(services, utf8.RuneCountInString(serviceOf(n.span.Resource())))
	}
	var out strings.Builder
	for _, n := range nodes {
		fmt.Fprintf(&out, "  %s  %s  %s  ▕%s▏ %s  %s\n",
			left(n.label, labels), left(serviceOf(n.span.Resource()), services), left(kindOf(n.span), len("server")),
			bar(n.span, begin, end), right(millis(n.span.EndTime().Sub(n.span.StartTime())), 9), outcome(n.span))
	}
	t.lines(&out, begin, services)
	_, err := io.WriteString(w, out.String())
	return err
}

// nodes returns the spans in the order of the tree: parents before children, siblings by start time. A span without its parent is a root,
// so that an incomplete trace is shown, too.
func (t *Trace) nodes() []node {
	known := make(map[trace.SpanID]bool, len(t.Spans))
	for _, s := range t.Spans {
		known[s.SpanContext().SpanID()] = true
	}
	children := make(map[trace.SpanID][]sdktrace.ReadOnlySpan)
	for _, s := range t.Spans {
		parent := s.Parent().SpanID()
		if !known[parent] {
			parent = trace.SpanID{}
		}
		children[parent] = append(children[parent], s)
	}
	for _, siblings := range children {
		slices.SortStableFunc(siblings, func(a, b sdktrace.ReadOnlySpan) int { return a.StartTime().Compare(b.StartTime()) })
	}
	var nodes []node
	for _, root := range children[trace.SpanID{}] {
		nodes = descend(nodes, children, root, "", "")
	}
	return nodes
}

// descend appends a span and its descendants. The row of the span begins with branch, and the rows of its children begin with indent.
func descend(nodes []node, children map[trace.SpanID][]sdktrace.ReadOnlySpan, s sdktrace.ReadOnlySpan, branch, indent string) []node {
	nodes = append(nodes, node{span: s, label: branch + s.Name()})
	below := children[s.SpanContext().SpanID()]
	for i, child := range below {
		if i < len(below)-1 {
			nodes = descend(nodes, children, child, indent+"├─ ", indent+"│  ")
		} else {
			nodes = descend(nodes, children, child, indent+"└─ ", indent+"   ")
		}
	}
	return nodes
}

func (t *Trace) window() (begin, end time.Time) {
	for i, s := range t.Spans {
		if i == 0 || s.StartTime().Before(begin) {
			begin = s.StartTime()
		}
		if s.EndTime().After(end) {
			end = s.EndTime()
		}
	}
	return begin, end
}

// bar draws the position of a span on the time line of the trace. The shortest bar is one character.
func bar(s sdktrace.ReadOnlySpan, begin, end time.Time) string {
	whole := max(end.Sub(begin), 1)
	at := func(t time.Time) int { return int(int64(t.Sub(begin)) * barWidth / int64(whole)) }
	from := min(at(s.StartTime()), barWidth-1)
	to := max(at(s.EndTime()), from+1)
	return strings.Repeat(" ", from) + strings.Repeat("█", to-from) + strings.Repeat(" ", barWidth-to)
}

func kindOf(s sdktrace.ReadOnlySpan) string {
	if s.SpanKind() == trace.SpanKindInternal {
		return ""
	}
	return s.SpanKind().String()
}

// outcome returns the status of a span in its protocol, and whether it counts as an error.
func outcome(s sdktrace.ReadOnlySpan) string {
	var parts []string
	if s.Status().Code == codes.Error {
		parts = append(parts, "ERROR")
	}
	code := ""
	for _, key := range []attribute.Key{"http.response.status_code", "rpc.response.status_code", "error.type"} {
		if v := find(s.Attributes(), key); v != "" && v != code {
			code = v
			parts = append(parts, v)
		}
	}
	if len(parts) == 0 {
		return "ok"
	}
	return strings.Join(parts, " ")
}

func find(attrs []attribute.KeyValue, key attribute.Key) string {
	for _, kv := range attrs {
		if kv.Key == key {
			return kv.Value.String()
		}
	}
	return ""
}

func (t *Trace) lines(out *strings.Builder, begin time.Time, services int) {
	lines := slices.Clone(t.Lines)
	slices.SortStableFunc(lines, func(a, b Line) int { return a.Time.Compare(b.Time) })
	spans := make(map[trace.SpanID][]attribute.KeyValue, len(t.Spans))
	for _, s := range t.Spans {
		spans[s.SpanContext().SpanID()] = s.Attributes()
	}
	out.WriteByte('\n')
	for _, l := range lines {
		fmt.Fprintf(out, "  %s  %s  %s  %s  %s\n", right("+"+millis(l.Time.Sub(begin)), 9), left(l.Level, len("ERROR")),
			left(cmp.Or(l.Service, "-"), services), l.Message, l.text(spans[l.Span]))
	}
}
