package oshttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"

	"github.com/go-os/go-os/internal/sanitize"
)

// finishPanic determines the outcome of a request whose handler did not return. It returns the value to panic with again, or nil if
// the panic ends here. The value is nil if the handler ended by runtime.Goexit.
func (x *exchange) finishPanic(value any) (repanic any) {
	if value == nil || value == any(http.ErrAbortHandler) {
		x.fault = x.abortion()
		return value
	}
	x.fault = faultPanic
	x.detail = sanitize.Text(fmt.Sprint(value), maxDetail)
	x.h.exception.EmitPanic(x.req.Context(), value, debug.Stack(), notesOf(x.method, x.findRoute(), x.scheme)...)
	switch {
	case x.h.opts.NoRecovery:
		return value
	case x.hijacked:
		return nil // the connection is no longer the server's
	case x.status != 0:
		// Part of an answer is sent already. Returning now would end it properly, and the client would take it for complete.
		return http.ErrAbortHandler
	}
	x.answer(http.StatusInternalServerError)
	return nil
}

// abortion returns why a handler gave up its response. If the context has ended, that is the reason: reverse proxies abort when the
// client has left.
func (x *exchange) abortion() string {
	switch err := x.req.Context().Err(); {
	case errors.Is(err, context.DeadlineExceeded):
		return faultTimeout
	case err != nil:
		return faultCanceled
	}
	return faultAborted
}
