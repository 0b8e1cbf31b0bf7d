package oshttp

import (
	"context"
	"log/slog"
	"time"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/go-os/go-os/internal/sanitize"
)

// logAccess writes the access log's line. Its message is the method and the route, so that the five attributes of every
// line fit into a slog.Record without an allocation.
func (x *exchange) logAccess(ctx context.Context, took time.Duration, fault string) {
	level := x.level(fault)
	logger := x.h.opts.Telemetry.Slog()
	if !logger.Enabled(ctx, level) {
		return
	}
	if x.shed {
		if !x.h.refusals.Begin(x.start.Add(took)) {
			return
		}
		defer x.h.refusals.End()
	}
	status := x.status
	if status == 0 && fault == faultCanceled {
		status = statusGone
	}
	peer, _ := x.peer()
	buffer := [7]slog.Attr{slog.String(string(semconv.URLPathKey), sanitize.Text(x.caller.URL.Path, maxURL))}
	attrs := buffer[:1]
	if status != 0 { // else a handler took over the connection, and perhaps answered there
		attrs = append(attrs, slog.Int(string(semconv.HTTPResponseStatusCodeKey), status))
	}
	attrs = append(attrs,
		slog.Duration("duration", took),
		slog.Int64(string(semconv.HTTPResponseBodySizeKey), x.written),
		slog.String(string(semconv.ClientAddressKey), x.clientAddress(peer)),
	)
	if fault != "" {
		attrs = append(attrs, slog.String(string(semconv.ErrorTypeKey), fault))
	}
	if unlogged := x.h.refusals.TakeUnlogged(); unlogged > 0 {
		attrs = append(attrs, slog.Int64("unlogged_refusals", unlogged))
	}
	logger.LogAttrs(ctx, level, x.name(), attrs...)
}

func (x *exchange) level(fault string) slog.Level {
	switch {
	case x.isError(fault):
		return slog.LevelError
	case x.status >= 400 || fault != "":
		return slog.LevelWarn
	}
	return slog.LevelInfo
}
