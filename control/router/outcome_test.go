package router_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/go-os/go-os/control/router"
)

// TestFromHTTP lists how the answers and errors of HTTP count.
func TestFromHTTP(t *testing.T) {
	answer := func(code int, retryAfter string) *http.Response {
		res := &http.Response{StatusCode: code, Header: http.Header{}}
		if retryAfter != "" {
			res.Header.Set("Retry-After", retryAfter)
		}
		return res
	}
	tests := []struct {
		res  *http.Response
		err  error
		want router.Kind
		wait time.Duration
	}{
		{answer(200, ""), nil, router.Success, 0},
		{answer(404, ""), nil, router.Success, 0},
		{answer(501, ""), nil, router.Success, 0},
		{answer(500, ""), nil, router.Fault, 0},
		{answer(502, ""), nil, router.GatewayFault, 0},
		{answer(503, ""), nil, router.GatewayFault, 0},
		{answer(504, ""), nil, router.GatewayFault, 0},
		{answer(503, "2"), nil, router.Overload, 2 * time.Second},
		{answer(429, ""), nil, router.Overload, 0},
		{answer(429, "100000"), nil, router.Overload, time.Hour},
		{answer(429, "-1"), nil, router.Overload, 0},
		{answer(429, "soon"), nil, router.Overload, 0},
		{answer(429, "Mon, 01 Jan 2001 00:00:00 GMT"), nil, router.Overload, 0},
		{nil, io.ErrUnexpectedEOF, router.GatewayFault, 0},
		{nil, fmt.Errorf("read: %w", syscall.ECONNRESET), router.GatewayFault, 0},
		{nil, &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, router.GatewayFault, 0},
		{nil, &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, router.Timeout, 0},
		{nil, context.DeadlineExceeded, router.Timeout, 0},
		{nil, context.Canceled, router.Neutral, 0},
		{nil, &router.Error{Op: "pick", Err: router.ErrUnavailable}, router.Neutral, 0},
	}
	for _, tt := range tests {
		o := router.FromHTTP(tt.res, tt.err)
		if o.Kind != tt.want || o.Pushback != tt.wait || !errors.Is(o.Err, tt.err) {
			t.Errorf("%v, %v: got %+v, want %v with a pushback of %v", tt.res, tt.err, o, tt.want, tt.wait)
		}
	}
}

// TestFromGRPC lists how the codes of gRPC count.
func TestFromGRPC(t *testing.T) {
	want := map[codes.Code]router.Kind{
		codes.Canceled: router.Neutral, codes.DeadlineExceeded: router.Timeout, codes.ResourceExhausted: router.Overload,
		codes.Unavailable: router.GatewayFault, codes.Unknown: router.Fault, codes.Internal: router.Fault, codes.DataLoss: router.Fault,
	}
	for code := codes.OK; code <= codes.Unauthenticated; code++ {
		if got := router.FromGRPC(uint32(code), nil).Kind; got != want[code] {
			t.Errorf("%v: %v, want %v", code, got, want[code])
		}
	}
}
