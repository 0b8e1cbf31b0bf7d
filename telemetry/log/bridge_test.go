package log

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdklog "go.opentelemetry.io/otel/sdk/log"

	"github.com/go-os/go-os/telemetry"
)

type lazyError struct{ err error }

func (l lazyError) LogValue() slog.Value { return slog.AnyValue(l.err) }

// TestOTelKeepsEveryError checks that the text of every error arrives under its key, wherever the error is nested,
// and that the first is the exception.
func TestOTelKeepsEveryError(t *testing.T) {
	first, second := errors.New("FIRST"), errors.New("SECOND")
	var none *fs.PathError
	for name, c := range map[string]struct {
		write func(l *slog.Logger)
		want  map[string]string // values, as text, by attribute
	}{
		"one":                    {func(l *slog.Logger) { l.Info("m", "err", first) }, map[string]string{"err": "FIRST", "exception.message": "FIRST"}},
		"two":                    {func(l *slog.Logger) { l.Info("m", "err", first, "rollback", second) }, map[string]string{"err": "FIRST", "rollback": "SECOND", "exception.message": "FIRST"}},
		"from With":              {func(l *slog.Logger) { l.With("err", first).Info("m") }, map[string]string{"err": "FIRST", "exception.message": "FIRST"}},
		"With and call":          {func(l *slog.Logger) { l.With("with", first).Info("m", "err", second) }, map[string]string{"with": "FIRST", "err": "SECOND", "exception.message": "SECOND"}},
		"With and call, one key": {func(l *slog.Logger) { l.With("err", first).Info("m", "err", second) }, map[string]string{"err.previous": "FIRST", "err": "SECOND", "exception.message": "SECOND"}},
		"twice in With":          {func(l *slog.Logger) { l.With("err", first).With("err", second).Info("m", "err", 1) }, map[string]string{"err.previous.previous": "FIRST", "err.previous": "SECOND", "err": "1"}},
		"twice in a call":        {func(l *slog.Logger) { l.Info("m", "err", first, "err", second) }, map[string]string{"err.previous": "FIRST", "err": "SECOND", "exception.message": "FIRST"}},
		"open group":             {func(l *slog.Logger) { l.WithGroup("g").With("with", first).Info("m", "err", second) }, map[string]string{"g.with": "FIRST", "g.err": "SECOND", "exception.message": "SECOND"}},
		"group value":            {func(l *slog.Logger) { l.Info("m", slog.Group("g", slog.Any("err", first))) }, map[string]string{"g.err": "FIRST", "exception.message": "FIRST"}},
		"valuer":                 {func(l *slog.Logger) { l.Info("m", "err", lazyError{first}) }, map[string]string{"err": "FIRST", "exception.message": "FIRST"}},
		"list":                   {func(l *slog.Logger) { l.Info("m", "errs", []error{first, nil, second}) }, map[string]string{"errs": `["FIRST",null,"SECOND"]`}},
		"map":                    {func(l *slog.Logger) { l.Info("m", "errs", map[string]error{"a": first}) }, map[string]string{"errs.a": "FIRST"}},
		"list of any":            {func(l *slog.Logger) { l.Info("m", "errs", []any{map[string]any{"a": none}, first}) }, map[string]string{"errs": `[{"a":"<nil>"},"FIRST"]`}},
		"typed nil":              {func(l *slog.Logger) { l.Info("m", "err", none, "other", second) }, map[string]string{"err": "<nil>", "other": "SECOND", "exception.message": "SECOND"}},
		"nil":                    {func(l *slog.Logger) { l.Info("m", "err", error(nil), "n", 1) }, map[string]string{"n": "1"}},
		"pointer":                {func(l *slog.Logger) { l.Info("m", "err", &first) }, map[string]string{"err": "FIRST"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := map[string]string{}
			provider := sdklog.NewLoggerProvider(sdklog.WithProcessor(onEmit(func(r *sdklog.Record) {
				r.WalkAttributes(func(kv attribute.KeyValue) bool {
					flatten(got, string(kv.Key), kv.Value)
					return true
				})
			})))
			l := New(&Options{Telemetry: telemetry.Off(), ErrorHandler: func(err error) { t.Error(err) }},
				OTel("scope", telemetry.Providers{LoggerProvider: provider}))
			c.write(l)
			if len(got) == 0 {
				t.Fatal("the record is lost")
			}
			for key, want := range c.want {
				if got[key] != want {
					t.Errorf("%s is %q, want %q; all: %v", key, got[key], want, got)
				}
			}
		})
	}
}

func flatten(into map[string]string, key string, v attribute.Value) {
	if v.Type() != attribute.MAP {
		into[key] = v.String()
		return
	}
	for _, kv := range v.AsMap() {
		flatten(into, key+"."+string(kv.Key), kv.Value)
	}
}

// onEmit is a processor that passes each record to a function.
type onEmit func(r *sdklog.Record)

func (f onEmit) OnEmit(_ context.Context, r *sdklog.Record) error     { f(r); return nil }
func (onEmit) Enabled(context.Context, sdklog.EnabledParameters) bool { return true }
func (onEmit) Shutdown(context.Context) error                         { return nil }
func (onEmit) ForceFlush(context.Context) error                       { return nil }
