package router

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"time"
)

// FromHTTP returns the outcome of an HTTP request: either a response or an error. It knows no Unsent and no Final: the transport sets them.
func FromHTTP(res *http.Response, err error) Outcome {
	if err != nil {
		return fromError(err)
	}
	o := Outcome{Pushback: retryAfter(res.Header)}
	switch code := res.StatusCode; {
	case code == http.StatusTooManyRequests, code == http.StatusServiceUnavailable && res.Header.Get("Retry-After") != "":
		o.Kind = Overload
	case code == http.StatusBadGateway, code == http.StatusServiceUnavailable, code == http.StatusGatewayTimeout:
		o.Kind = GatewayFault
	case code >= http.StatusInternalServerError && code != http.StatusNotImplemented:
		o.Kind = Fault
	}
	return o
}

// maxPushback bounds what a server can ask for.
const maxPushback = time.Hour

func retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if text == "" { // the usual case: the errors of parsers allocate
		return 0
	}
	if seconds, err := strconv.ParseUint(text, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, maxPushback)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(time.Until(at), 0), maxPushback)
	}
	return 0
}

func fromError(err error) Outcome {
	o := Outcome{Err: err, Kind: GatewayFault}
	var timeout net.Error
	var dial *net.OpError
	switch own := (*Error)(nil); {
	case errors.As(err, &own), errors.Is(err, ErrRejected), errors.Is(err, context.Canceled):
		o.Kind = Neutral
	case errors.As(err, &dial) && dial.Op == "dial":
		// The endpoint accepts no connection: that is a fault of the path, however long it took to find out.
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		o.Kind = Timeout
	}
	return o
}

// FromGRPC returns the outcome of a gRPC call by its status code, a google.golang.org/grpc/codes.Code, and its error.
func FromGRPC(code uint32, err error) Outcome {
	o := Outcome{Err: err}
	switch code {
	case 1: // CANCELLED
		o.Kind = Neutral
	case 4: // DEADLINE_EXCEEDED
		o.Kind = Timeout
	case 8: // RESOURCE_EXHAUSTED
		o.Kind = Overload
	case 14: // UNAVAILABLE
		o.Kind = GatewayFault
	case 2, 13, 15: // UNKNOWN, INTERNAL, DATA_LOSS
		o.Kind = Fault
	}
	return o
}
