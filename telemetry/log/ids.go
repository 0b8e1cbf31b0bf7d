package log

import (
	"encoding/hex"
	"log/slog"

	"go.opentelemetry.io/otel/trace"
)

// The field names that the OpenTelemetry specification defines for log formats other than OTLP.
const (
	traceIDKey    = "trace_id"
	spanIDKey     = "span_id"
	traceFlagsKey = "trace_flags"
)

// scratch is the buffer of traced for one record. It is reused, because the handlers of the standard library keep nothing of a
// record after Handle. It caches the ids of the last span: a span usually writes more than one line.
type scratch struct {
	trace  trace.TraceID
	span   trace.SpanID
	fields [3]slog.Attr
	attrs  []slog.Attr
}

// maxScratch bounds the attributes of a buffer that is kept, so that one huge record does not stay in memory.
const maxScratch = 128

func (s *scratch) empty() {
	clear(s.attrs)
	s.attrs = s.attrs[:0]
	if cap(s.attrs) > maxScratch {
		s.attrs = nil
	}
}

// ids returns the ids as a group without a name, which handlers write inline. One attribute instead of three leaves the record
// room for four more before it allocates.
func (s *scratch) ids(sc trace.SpanContext) slog.Attr {
	traceID, spanID := sc.TraceID(), sc.SpanID()
	if s.trace != traceID || s.span != spanID {
		var text [48]byte
		hex.Encode(text[:32], traceID[:])
		hex.Encode(text[32:], spanID[:])
		both := string(text[:])
		s.fields[0] = slog.String(traceIDKey, both[:32])
		s.fields[1] = slog.String(spanIDKey, both[32:])
		s.trace, s.span = traceID, spanID
	}
	s.fields[2] = slog.String(traceFlagsKey, flags(sc.TraceFlags()))
	return slog.Attr{Value: slog.GroupValue(s.fields[:]...)}
}

// flags returns two hex digits. The flags in use, sampled (1) and random (2), do not allocate.
func flags(f trace.TraceFlags) string {
	const known = "00010203"
	if f < 4 {
		return known[2*f : 2*f+2]
	}
	return f.String()
}

// nest returns the open groups as one attribute, with the attributes of With in them and the record's own in the innermost.
func (s *scratch) nest(groups []openGroup, r slog.Record) slog.Attr {
	size := r.NumAttrs() + len(groups)
	for _, g := range groups {
		size += len(g.attrs)
	}
	if cap(s.attrs) < size {
		s.attrs = make([]slog.Attr, 0, size) // enough for all: the slices below must not move
	}
	inner := len(groups) - 1
	s.attrs = append(s.attrs, groups[inner].attrs...)
	r.Attrs(func(a slog.Attr) bool {
		s.attrs = append(s.attrs, a)
		return true
	})
	start := 0
	for i := inner; ; i-- {
		g := slog.Attr{Key: groups[i].name, Value: slog.GroupValue(s.attrs[start:]...)}
		if i == 0 {
			return g
		}
		start = len(s.attrs)
		s.attrs = append(append(s.attrs, groups[i-1].attrs...), g)
	}
}
