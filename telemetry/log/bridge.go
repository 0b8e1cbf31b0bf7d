package log

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
)

// bridge gives otelslog's handler a name, and keeps the errors of a record. otelslog turns one error into the exception of the record,
// drops its key, and drops all other errors. The bridge keeps each error as text under its key, and also passes one of them on.
//
// OpenTelemetry keeps one attribute per key. If the key of an error is reused, the error moves to another key.
type bridge struct {
	next   slog.Handler
	err    error       // the first error of With
	errors []slog.Attr // the errors of With in the open group, as text
}

// again is the suffix for the key of an error whose key is reused.
const again = ".previous"

func (bridge) Name() string { return "otel" }

func (b bridge) Enabled(ctx context.Context, level slog.Level) bool {
	return b.next.Enabled(ctx, level)
}

func (b bridge) Handle(ctx context.Context, r slog.Record) error {
	found := b.err != nil
	r.Attrs(func(a slog.Attr) bool {
		found = found || holdsError(a.Value, 0)
		return !found
	})
	if !found {
		return b.next.Handle(ctx, r)
	}
	out := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	attrs := make([]slog.Attr, 0, r.NumAttrs())
	r.Attrs(func(a slog.Attr) bool {
		attrs = append(attrs, a)
		return true
	})
	attrs, _, first := b.texts(attrs)
	out.AddAttrs(attrs...)
	if first == nil {
		first = b.err
	}
	if first != nil {
		out.AddAttrs(slog.Any("error", first)) // otelslog takes it out again
	}
	return b.next.Handle(ctx, out)
}

// texts replaces the errors in attributes by texts. It also returns the errors of With that remain, and the first error.
func (b bridge) texts(attrs []slog.Attr) (out, errs []slog.Attr, first error) {
	out, errs = make([]slog.Attr, 0, len(attrs)), slices.Clone(b.errors)
	for _, a := range attrs {
		isError := false
		if err, ok := a.Value.Resolve().Any().(error); ok {
			isError = err != nil
		}
		a, err := textOfErrors(a, 0)
		if first == nil {
			first = err
		}
		out = displace(out, errs, a.Key)
		if isError {
			errs = append(errs, a)
		}
		out = append(out, a)
	}
	return out, errs, first
}

// displace moves the error under a key, if there is one, to another key in out, because the key is about to be reused.
func displace(out, errs []slog.Attr, key string) []slog.Attr {
	i := slices.IndexFunc(errs, func(a slog.Attr) bool { return a.Key == key })
	if i < 0 {
		return out
	}
	out = displace(out, errs, key+again)
	errs[i].Key += again
	return append(out, errs[i])
}

func (b bridge) WithAttrs(attrs []slog.Attr) slog.Handler {
	out, errs, first := b.texts(attrs)
	if b.err == nil {
		b.err = first
	}
	b.errors = errs
	b.next = b.next.WithAttrs(out)
	return b
}

func (b bridge) WithGroup(name string) slog.Handler {
	if name == "" {
		return b
	}
	b.next, b.errors = b.next.WithGroup(name), nil
	return b
}

// holdsError reports whether a value is an error, or may contain one.
func holdsError(v slog.Value, depth int) bool {
	switch v.Kind() {
	case slog.KindLogValuer:
		return true
	case slog.KindGroup:
		for _, a := range v.Group() {
			if depth >= maxDepth || holdsError(a.Value, depth+1) {
				return true
			}
		}
		return false
	case slog.KindAny:
		return mayHoldError(reflect.TypeOf(v.Any()), 0)
	default:
		return false
	}
}

var errorType = reflect.TypeFor[error]()

// mayHoldError reports whether values of a type are errors, or lists or maps that may contain errors.
func mayHoldError(t reflect.Type, depth int) bool {
	switch {
	case t == nil || depth >= maxDepth:
		return false
	case t.Implements(errorType):
		return true
	}
	switch t.Kind() {
	case reflect.Slice, reflect.Array, reflect.Map, reflect.Pointer:
		return mayHoldError(t.Elem(), depth+1)
	default:
		return t.Kind() == reflect.Interface
	}
}

// textOfErrors replaces the errors in an attribute by texts. It also returns the first error outside of lists and maps.
func textOfErrors(a slog.Attr, depth int) (slog.Attr, error) {
	a.Value = a.Value.Resolve()
	switch a.Value.Kind() {
	case slog.KindGroup:
		if depth >= maxDepth {
			return a, nil
		}
		group := a.Value.Group()
		out := make([]slog.Attr, len(group))
		var first error
		for i, inner := range group {
			var err error
			if out[i], err = textOfErrors(inner, depth+1); first == nil {
				first = err
			}
		}
		a.Value = slog.GroupValue(out...)
		return a, first
	case slog.KindAny:
		if err, ok := a.Value.Any().(error); ok {
			text, sound := errorText(err)
			a.Value = slog.StringValue(text)
			if !sound {
				err = nil
			}
			return a, err
		}
		if v := a.Value.Any(); mayHoldError(reflect.TypeOf(v), 0) {
			a.Value = slog.AnyValue(withTexts(reflect.ValueOf(v), 0))
		}
	}
	return a, nil
}

// withTexts copies lists and maps and replaces errors by texts.
func withTexts(v reflect.Value, depth int) any {
	for v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer && !v.Type().Implements(errorType) && mayHoldError(v.Type(), 0) {
		if v.IsNil() || depth >= maxDepth {
			return nil
		}
		v, depth = v.Elem(), depth+1
	}
	if err, ok := v.Interface().(error); ok {
		text, _ := errorText(err)
		return text
	}
	if depth >= maxDepth || !mayHoldError(v.Type(), 0) {
		return v.Interface()
	}
	switch v.Kind() {
	case reflect.Slice, reflect.Array:
		out := make([]any, v.Len())
		for i := range out {
			out[i] = withTexts(v.Index(i), depth+1)
		}
		return out
	case reflect.Map:
		out := make(map[string]any, v.Len())
		for it := v.MapRange(); it.Next(); {
			out[mapKey(it.Key())] = withTexts(it.Value(), depth+1)
		}
		return out
	default:
		return v.Interface()
	}
}

// errorText returns the text of an error, and false if its Error method panics, as it often does for a nil pointer.
func errorText(err error) (text string, sound bool) {
	defer func() {
		if r := recover(); r != nil {
			text, sound = fmt.Sprintf("!PANIC: %v", r), false
			if v := reflect.ValueOf(err); v.Kind() == reflect.Pointer && v.IsNil() {
				text = "<nil>"
			}
		}
	}()
	return err.Error(), true
}
