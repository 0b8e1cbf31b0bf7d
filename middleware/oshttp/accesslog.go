package oshttp

import (
	"context"
	"log/slog"
	"time"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/go-os/go-os/internal/sanitize"
)

// logAccess writes the access log's line. Method and route are its message, so that the five attributes that always stand
// on it fit into a slog.Record without an allocation.
func (x *exchange) logAccess(ctx context.Context, took time.Duration, fault string) {
	level := x.level(fault)
	logger := x.h.opts.Telemetry.Slog()
	if !logger.Enabled(ctx, level) {
		return
	}
	status := x.status
	if status == 0 && fault == faultCanceled {
		status = statusGone
	}
	peer, _ := x.peer()
	attrs := [6]slog.Attr{
		slog.String(string(semconv.URLPathKey), sanitize.Text(x.caller.URL.Path, maxURL)),
		slog.Int(string(semconv.HTTPResponseStatusCodeKey), status),
		slog.Duration("duration", took),
		slog.Int64(string(semconv.HTTPResponseBodySizeKey), x.written),
		slog.String(string(semconv.ClientAddressKey), x.clientAddress(peer)),
		slog.String(string(semconv.ErrorTypeKey), fault),
	}
	n := len(attrs)
	if fault == "" {
		n--
	}
	logger.LogAttrs(ctx, level, x.name(), attrs[:n]...)
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
