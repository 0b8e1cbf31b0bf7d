package exporters

import (
	"context"
	"errors"
	"net"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-os/go-os/internal/delivery"
)

// rejected returns the number of items that the peer rejected, and whether err is such a partial success.
//
// Each OTLP exporter has its own, unexported type for it, all with the field RejectedItems. rejected finds it by that name. The
// tests send a partial success through every exporter, so that they fail if a release renames it.
func rejected(err error) (items int64, partial bool) {
	if err == nil {
		return 0, false
	}
	if some, ok := err.(*partialError); ok {
		return some.lost, true
	}
	if v := reflect.Indirect(reflect.ValueOf(err)); v.Kind() == reflect.Struct {
		if f := v.FieldByName("RejectedItems"); f.IsValid() && f.CanInt() {
			return f.Int(), true
		}
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return rejected(e.Unwrap())
	case interface{ Unwrap() []error }:
		return rejectedAmong(e.Unwrap())
	}
	return 0, false
}

// rejectedAmong reports a partial success only if all errors are. With any other failure the whole export has failed.
func rejectedAmong(errs []error) (items int64, partial bool) {
	for _, err := range errs {
		n, ok := rejected(err)
		if !ok {
			return 0, false
		}
		items, partial = max(items, n), true
	}
	return items, partial
}

// lostOf returns the number of items that an export of n items lost, given its error.
func lostOf(n int64, err error) int64 {
	if err == nil {
		return 0
	}
	if lost, partial := rejected(err); partial {
		return min(max(lost, 0), n)
	}
	return n
}

// errorType returns the error.type of a failed export, from a small fixed set. It is rejected for a partial success,
// invalid_answer for a 2xx answer that is not OTLP, the status for any other HTTP answer, and the code's name for a gRPC answer.
func errorType(err error) string {
	if _, partial := rejected(err); partial {
		return "rejected"
	}
	var answered *httpError
	if errors.As(err, &answered) {
		if answered.answer.invalid != "" {
			return "invalid_answer"
		}
		return strconv.Itoa(answered.answer.status)
	}
	if code, ok := rpcCode(err); ok {
		return strings.ToUpper(snake(code.String()))
	}
	var network net.Error
	switch {
	case errors.Is(err, delivery.ErrOutOfTime), errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, http.ErrHandlerTimeout):
		return "timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection_refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection_reset"
	case errors.As(err, &network) && network.Timeout():
		return "timeout"
	case errors.As(err, &network):
		return "connection_failed"
	}
	return "_OTHER"
}

// snake writes DeadlineExceeded as Deadline_Exceeded.
func snake(name string) string {
	var b strings.Builder
	for i, r := range name {
		if i > 0 && 'A' <= r && r <= 'Z' && !('A' <= name[i-1] && name[i-1] <= 'Z') {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return b.String()
}
