package oshttp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/go-os/go-os/internal/sanitize"
)

// finishPanic determines the outcome of a request whose handler did not return. It returns the value to panic with again, nil if the
// panic ends here. The value is nil if the handler ended by runtime.Goexit.
func (x *exchange) finishPanic(value any) (repanic any) {
	if value == nil || value == any(http.ErrAbortHandler) {
		x.fault = x.abortion()
		return value
	}
	x.fault = faultPanic
	x.detail = sanitize.Text(fmt.Sprint(value), maxDetail)
	x.reportPanic(value, debug.Stack())
	switch {
	case x.h.opts.NoRecovery:
		return value
	case x.hijacked:
		return nil // the connection is no longer the server's
	case x.status != 0:
		// Part of an answer is on its way. Returning now would end it properly, and the client would take it for whole.
		return http.ErrAbortHandler
	}
	x.answer(http.StatusInternalServerError)
	return nil
}

// abortion returns why a handler gave up its response. Where the context has ended, that is the reason: reverse proxies abort
// when the client has left.
func (x *exchange) abortion() string {
	switch err := x.req.Context().Err(); {
	case errors.Is(err, context.DeadlineExceeded):
		return faultTimeout
	case err != nil:
		return faultCanceled
	}
	return faultAborted
}

// reportPanic emits a panic as an event, or logs it if no provider takes events. No recovered panic is silent.
func (x *exchange) reportPanic(value any, stack []byte) {
	ctx, route := x.req.Context(), x.findRoute()
	attrs := notesOf(x.method, route, x.scheme)
	if x.h.exception.EmitPanic(ctx, value, stack, attrs...) {
		return
	}
	x.h.opts.Telemetry.Slog().LogAttrs(ctx, slog.LevelError, "panic in HTTP handler",
		slog.String(string(semconv.HTTPRequestMethodKey), x.method),
		slog.String(string(semconv.HTTPRouteKey), route),
		slog.String(string(semconv.ExceptionTypeKey), fmt.Sprintf("%T", value)),
		slog.String(string(semconv.ExceptionMessageKey), fmt.Sprint(value)),
		slog.String(string(semconv.ExceptionStacktraceKey), string(stack)),
	)
}
