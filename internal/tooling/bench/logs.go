package bench

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/contrib/bridges/otelslog"

	oslog "github.com/go-os/go-os/telemetry/log"
)

// Logs are the cases of one log call with four attributes, to JSON and to OTLP's log records, inside a recording span.
var Logs = []Case{
	{"slog.MultiHandler", logCase(func(a, b slog.Handler) slog.Handler { return slog.NewMultiHandler(a, b) })},
	{"telemetry/log", logCase(func(a, b slog.Handler) slog.Handler { return oslog.NewHandler(nil, a, b) })},
}

func logCase(fan func(a, b slog.Handler) slog.Handler) func() (func(), func()) {
	return func() (func(), func()) {
		p := sampled()
		json := slog.NewJSONHandler(discard{}, nil)
		otlp := otelslog.NewHandler("bench", otelslog.WithLoggerProvider(p.LoggerProvider))
		logger := slog.New(fan(json, otlp))
		ctx, span := p.Tracer("bench").Start(context.Background(), "bench")
		return func() {
			logger.LogAttrs(ctx, slog.LevelInfo, "order placed", slog.String("order", "o-1042"),
				slog.Int("items", 3), slog.Float64("total", 42.5), slog.Bool("express", true))
		}, func() { span.End() }
	}
}
