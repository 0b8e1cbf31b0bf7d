package exporters

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/internal/delivery"
	"github.com/go-os/go-os/internal/tooling/testenv"
)

func TestTransientFollowsTheSpecification(t *testing.T) {
	http := func(code int) error { return &httpError{httpAnswer{status: code}, errors.New("x")} }
	rpc := func(code codes.Code) error { return fmt.Errorf("traces export: %w", status.Error(code, "x")) }
	for _, c := range []struct {
		err       error
		transient bool
		kind      string
	}{
		{http(400), false, "400"}, {http(401), false, "401"}, {http(404), false, "404"}, {http(413), false, "413"},
		{http(429), true, "429"}, {http(500), false, "500"}, {http(502), true, "502"}, {http(503), true, "503"}, {http(504), true, "504"},
		{rpc(codes.Canceled), true, "CANCELED"}, {rpc(codes.DeadlineExceeded), true, "DEADLINE_EXCEEDED"},
		{rpc(codes.Aborted), true, "ABORTED"}, {rpc(codes.OutOfRange), true, "OUT_OF_RANGE"}, {rpc(codes.Unavailable), true, "UNAVAILABLE"},
		{rpc(codes.DataLoss), true, "DATA_LOSS"}, {rpc(codes.ResourceExhausted), false, "RESOURCE_EXHAUSTED"},
		{rpc(codes.InvalidArgument), false, "INVALID_ARGUMENT"}, {rpc(codes.Unauthenticated), false, "UNAUTHENTICATED"},
		{rpc(codes.Unimplemented), false, "UNIMPLEMENTED"}, {rpc(codes.Internal), false, "INTERNAL"},
		{&url.Error{Op: "Post", Err: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}}, true, "connection_refused"},
		{&url.Error{Op: "Post", Err: &net.OpError{Op: "read", Err: syscall.ECONNRESET}}, true, "connection_reset"},
		{&url.Error{Op: "Post", Err: &net.DNSError{Err: "no such host", IsNotFound: true}}, true, "connection_failed"},
		{&url.Error{Op: "Post", Err: context.DeadlineExceeded}, true, "timeout"},
		{io.ErrUnexpectedEOF, true, "_OTHER"},
		{errors.New("request body too large"), false, "_OTHER"},
	} {
		if transient(c.err) != c.transient || errorType(c.err) != c.kind {
			t.Errorf("%v: transient %t as %s, want %t as %s", c.err, transient(c.err), errorType(c.err), c.transient, c.kind)
		}
	}
}

func TestRetryAfterIsReadInBothForms(t *testing.T) {
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-1": 0, "soon": 0, "99999999999999999999": 0,
		"Mon, 23 Nov 2026 10:00:05 GMT": 5 * time.Second, "Mon, 23 Nov 2026 09:00:00 GMT": 0,
	} {
		if got := delivery.RetryAfter(value, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

// The context of a batcher lives as long as its process, so an attempt must remove everything that it registers on it.
func TestAttemptsLeaveNothingBehind(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	d := deliverer{ledger: newLedger(Traces, component{}, component{}, 1, func() {}), draining: make(chan struct{})}
	deadline := time.Now().Add(time.Hour)
	deliver := func(n int) {
		for range n {
			_ = d.do(ctx, deadline, func(context.Context) error { return nil })
			_ = d.do(ctx, time.Time{}, func(context.Context) error { return nil })
		}
	}
	deliver(1000)
	before := testenv.Heap()
	deliver(20000)
	if grown := testenv.Heap() - before; grown > 1<<20 {
		t.Errorf("20,000 exports leave %d KiB behind", grown>>10)
	}
}

// TestThrottleDoesNotCountAgainstTheBudget uses a peer that once requests a wait longer than the whole budget, and one that
// is absurd.
func TestThrottleDoesNotCountAgainstTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(Traces, component{}, component{}, 1, func() {})
		d := deliverer{ledger: l, draining: make(chan struct{})}
		start, calls := time.Now(), 0
		err := d.do(t.Context(), start.Add(10*time.Second), func(ctx context.Context) error {
			calls++
			answer := ctx.Value(httpAnswerKey{}).(*httpAnswer)
			if calls == 1 {
				answer.status, answer.retryAfter = 503, 24*time.Hour
				return errors.New("busy")
			}
			return nil
		})
		if took := time.Since(start); err != nil || calls != 2 || took != delivery.DefaultLongestHint {
			t.Errorf("%v after %d calls in %v, want success after %v", err, calls, took, delivery.DefaultLongestHint)
		}
	})
}
