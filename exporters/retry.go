package exporters

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/internal/delivery"
)

// refusedAtExit bounds the attempts for a batch during Shutdown when nothing listens at the peer's address. Retrying until the deadline
// would only slow down every exit.
const refusedAtExit = 3

// deliverer retries an export until it succeeds, fails for good, or its time is over.
//
// The retries of the OTLP exporters are turned off. Over HTTP they give up at once when nothing listens, as while a collector restarts.
// They also report only the last failed attempt.
type deliverer struct {
	ledger   *ledger
	draining <-chan struct{} // closed when Shutdown begins
}

// do attempts an export until deadline; zero means no deadline. Waits that the peer requests extend it.
func (d deliverer) do(ctx context.Context, deadline time.Time, export func(context.Context) error) (err error) {
	start := time.Now()
	defer func() { d.ledger.measure(context.WithoutCancel(ctx), time.Since(start), err) }()
	retry := &delivery.Retry{
		Temporary: transient, Hint: retryAfter, Interrupted: interrupted, Draining: d.draining,
		GiveUp: func(err error, attempts int) bool { return refused(err) && attempts >= refusedAtExit },
	}
	return retry.Do(ctx, deadline, func(attempt context.Context) error { return d.attempt(ctx, attempt, export) })
}

// attempt exports once and records the outcome. An attempt that ends with ctx, at Shutdown, shows nothing about the peer.
func (d deliverer) attempt(ctx, attempt context.Context, export func(context.Context) error) error {
	answer := new(httpAnswer)
	err := export(context.WithValue(attempt, httpAnswerKey{}, answer))
	if err != nil && ctx.Err() != nil && interrupted(ctx, err) {
		return err
	}
	if err != nil && answer.failed() {
		err = &httpError{answer: *answer, err: err}
	}
	d.ledger.attempted(err)
	return err
}

// interrupted reports whether an export failed because ctx has ended. A partial success is an answer, and no interruption.
func interrupted(ctx context.Context, err error) bool {
	if _, partial := rejected(err); partial {
		return false
	}
	code, _ := rpcCode(err)
	return delivery.Interrupted(ctx, err) || code == codes.Canceled || code == codes.DeadlineExceeded
}

// retryAfter returns the wait that the peer requested, over either protocol.
func retryAfter(err error) time.Duration {
	var answered *httpError
	if errors.As(err, &answered) {
		return answered.answer.retryAfter
	}
	if s, ok := status.FromError(err); ok {
		for _, detail := range s.Details() {
			if info, ok := detail.(*errdetails.RetryInfo); ok {
				return info.GetRetryDelay().AsDuration()
			}
		}
	}
	return 0
}

// transient reports whether the same export may succeed later, by the tables of the OTLP specification. An error without an answer of
// the peer is a failed connection, and transient.
func transient(err error) bool {
	if _, partial := rejected(err); partial {
		return false
	}
	var answered *httpError
	if errors.As(err, &answered) {
		switch answered.answer.status {
		case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return false
	}
	if code, ok := rpcCode(err); ok {
		switch code {
		case codes.Canceled, codes.DeadlineExceeded, codes.Aborted, codes.OutOfRange, codes.Unavailable, codes.DataLoss:
			return true
		case codes.ResourceExhausted:
			return retryAfter(err) > 0
		}
		return false
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// refused reports whether nothing listens at the address of the peer. gRPC reports this only as text.
func refused(err error) bool {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return true
	}
	code, ok := rpcCode(err)
	return ok && code == codes.Unavailable && strings.Contains(err.Error(), "connection refused")
}

// rpcCode returns the status of a gRPC call, and false for any other error.
func rpcCode(err error) (codes.Code, bool) {
	var call interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &call) {
		return codes.OK, false
	}
	return call.GRPCStatus().Code(), true
}
