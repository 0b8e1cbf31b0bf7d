package exporters

import (
	"context"
	stdlog "log"
	"log/slog"
	"reflect"
	"strings"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
)

// keep applies KeepGlobals to the options that it implies.
func (o *Options) keep() {
	o.KeepOTel = o.KeepOTel || o.KeepGlobals
	o.KeepSlog = o.KeepSlog || o.KeepGlobals
}

// install sets the process's globals to the pipeline's, as far as the Options allow, and reports which it has set. The error handler
// is set already.
func (p *Pipeline) install(ctx context.Context) {
	var set []slog.Attr
	replaced := false
	choice := func(name string, keep, others bool, install func()) {
		done := "set"
		switch {
		case keep:
			done = "kept"
		case others:
			done, replaced = "replaced", true
		}
		if !keep {
			install()
		}
		set = append(set, slog.String(name, done))
	}
	choice("otel_globals", p.opts.KeepOTel, otelIsSet(), p.installOTel)
	choice("slog_default", p.opts.KeepSlog, slogIsSet(), p.installSlog)
	choice("standard_log", !p.opts.StandardLog, false, p.installStandardLog)
	if p.opts.KeepOTel && p.opts.KeepSlog && !p.opts.StandardLog {
		return
	}
	level, message := slog.LevelInfo, "telemetry is set up"
	if replaced {
		level, message = slog.LevelWarn, "telemetry is set up, in the place of what was set before: KeepOTel and KeepSlog of the Options leave it"
	}
	p.own.LogAttrs(ctx, level, message, set...)
}

func (p *Pipeline) installOTel() {
	otel.SetLogger(logr.FromSlogHandler(sdkLog{p.own.Handler(), p.settings.sdkLevel}))
	otel.SetTracerProvider(p.providers.TracerProvider)
	otel.SetMeterProvider(p.providers.MeterProvider)
	otel.SetLoggerProvider(p.providers.LoggerProvider)
	otel.SetTextMapPropagator(p.providers.Propagator)
}

// installSlog sets slog.Default but leaves the standard log package unchanged, which slog.SetDefault would redirect as well.
func (p *Pipeline) installSlog() {
	w, flags := stdlog.Writer(), stdlog.Flags()
	slog.SetDefault(p.providers.Logger)
	stdlog.SetOutput(w)
	stdlog.SetFlags(flags)
}

func (p *Pipeline) installStandardLog() {
	stdlog.SetOutput(slog.NewLogLogger(p.providers.Logger.Handler(), slog.LevelInfo).Writer())
	stdlog.SetFlags(0)
}

// otelIsSet reports whether the program has set one of the process-wide providers. The otel package's own are placeholders until then.
func otelIsSet() bool {
	for _, global := range []any{otel.GetTracerProvider(), otel.GetMeterProvider(), otel.GetLoggerProvider(), otel.GetTextMapPropagator()} {
		if t := reflect.Indirect(reflect.ValueOf(global)).Type(); !strings.HasPrefix(t.PkgPath(), "go.opentelemetry.io/otel/") ||
			!strings.HasSuffix(t.PkgPath(), "internal/global") {
			return true
		}
	}
	return false
}

// slogIsSet reports whether the program has set slog.Default.
func slogIsSet() bool {
	t := reflect.Indirect(reflect.ValueOf(slog.Default().Handler())).Type()
	return t.PkgPath() != "log/slog" || t.Name() != "defaultHandler"
}
