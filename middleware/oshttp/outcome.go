package oshttp

import (
	"context"
	"errors"
	"net/http"
	"strconv"
)

// The values of error.type beside status codes. Those of 4xx answers do not make a span an error: the client caused them.
const (
	faultPanic       = "panic"          // the handler panicked
	faultAborted     = "aborted"        // the handler gave up the response with http.ErrAbortHandler or runtime.Goexit
	faultTimeout     = "timeout"        // the deadline of the request passed
	faultCanceled    = "canceled"       // the client disconnected
	faultTooLarge    = "body_too_large" // MaxBodyBytes
	faultOverload    = "overloaded"     // MaxConcurrent
	faultMisdirected = "misdirected"    // Services, Instance
	faultOther       = "_OTHER"         // an invalid status code
	statusGone       = 499              // the access log's status of a client that disconnected, as in nginx; it is never sent
	maxDetail        = 256              // bytes of a panic's value on the span
)

// finish determines the outcome of a request whose handler returned, and writes the answer if the handler wrote none. It returns
// http.ErrAbortHandler if the response must not end as if it were complete.
func (x *exchange) finish() (repanic any) {
	ctx := x.req.Context()
	silent := x.status == 0
	switch err := ctx.Err(); {
	case x.fault != "", x.hijacked: // refused; or no longer the server's
	case x.body.exceeded():
		x.fault = faultTooLarge
		if silent {
			x.answer(http.StatusRequestEntityTooLarge)
		}
	case errors.Is(err, context.DeadlineExceeded) && silent:
		x.fault = faultTimeout
		x.answer(http.StatusGatewayTimeout)
	case x.wasCut(err):
		x.fault = faultTimeout
		return http.ErrAbortHandler
	case errors.Is(err, context.DeadlineExceeded) && (x.failed || x.status >= http.StatusInternalServerError):
		x.fault = faultTimeout
	case err != nil && (silent || x.failed):
		x.fault = faultCanceled
	case silent:
		x.answering(http.StatusOK)
		x.status = http.StatusOK // the server sends it for us
	}
	return nil
}

// answer writes an error in place of the handler. The handler has written nothing, except perhaps headers for a body that will not
// come.
func (x *exchange) answer(status int) {
	for _, header := range [...]string{"Content-Encoding", "Cache-Control", "Etag", "Last-Modified"} {
		x.Header().Del(header)
	}
	http.Error(x, http.StatusText(status), status)
}

// errorType returns the error.type of the outcome, or "" if it is not an error.
func (x *exchange) errorType() string {
	switch {
	case x.fault != "":
		return x.fault
	case x.status > 599:
		return faultOther
	case x.status >= 500:
		return statusText(x.status)
	}
	return ""
}

// isError reports whether the span's status is Error. It is not for a 4xx answer or a client that left: the client caused them,
// and the conventions leave such spans unset. A handler that gave up is an error, whatever it had written before.
func (x *exchange) isError(fault string) bool {
	if fault == "" || fault == faultCanceled {
		return false
	}
	return x.status < 400 || x.status >= 500
}

// statusText returns the decimal form of a three-digit status code without allocating for the usual ones.
func statusText(code int) string {
	switch code {
	case 500:
		return "500"
	case 502:
		return "502"
	case 503:
		return "503"
	case 504:
		return "504"
	case 404:
		return "404"
	}
	return strconv.Itoa(code)
}
