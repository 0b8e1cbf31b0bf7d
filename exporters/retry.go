package exporters

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The waits between attempts, when the peer asks for none: doubled from the first to the longest, with jitter.
const (
	firstWait = 250 * time.Millisecond
	longWait  = 5 * time.Second
)

// longestThrottle bounds what a peer may ask for by Retry-After, so that one absurd answer does not end the telemetry of a process.
const longestThrottle = time.Minute

// refusedAtExit is how often a batch is tried while draining when nobody listens at the peer's address. Waiting out the
// whole deadline then would only make every exit slow.
const refusedAtExit = 3

// deliverer repeats an export until it works, fails for good, or its time is over.
//
// The OTLP exporters have retries of their own, which are turned off: over HTTP they give up at once when nobody listens,
// which is what a collector that restarts looks like, and nobody can see an attempt fail before the last one has.
type deliverer struct {
	ledger   *ledger
	draining <-chan struct{} // closed when there is no time left for patience
}

// do attempts an export until deadline; zero is never. Waits that the peer asked for do not count.
func (d deliverer) do(ctx context.Context, deadline time.Time, export func(context.Context) error) (err error) {
	start := time.Now()
	defer func() { d.ledger.measure(context.WithoutCancel(ctx), time.Since(start), err) }()
	var last error
	for try := 1; ; try++ {
		answer, err := d.attempt(ctx, deadline, export)
		if errors.Is(err, errOutOfTime) && last != nil {
			return last // which is why it took so long
		}
		if err == nil || !transient(err) || ctx.Err() != nil {
			return err
		}
		last = err
		wait := pause(try)
		if answer > 0 {
			deadline = later(deadline, answer)
			wait = max(wait, answer)
		}
		if !deadline.IsZero() && time.Until(deadline) < wait {
			return err
		}
		if d.leaving() && refused(err) && try >= refusedAtExit {
			return err
		}
		if !d.wait(ctx, wait, answer) {
			return err
		}
	}
}

// later moves a deadline, if there is one.
func later(deadline time.Time, by time.Duration) time.Time {
	if deadline.IsZero() {
		return deadline
	}
	return deadline.Add(by)
}

// attempt exports once, and returns what the peer asked to wait for. An attempt that shutdown interrupts says nothing of the peer.
func (d deliverer) attempt(ctx context.Context, deadline time.Time, export func(context.Context) error) (time.Duration, error) {
	once := ctx
	if !deadline.IsZero() {
		var cancel context.CancelFunc
		once, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	answer := new(httpAnswer)
	err := export(context.WithValue(once, httpAnswerKey{}, answer))
	if _, partial := rejected(err); !partial && err != nil && ctx.Err() != nil && interrupted(ctx, err) {
		return 0, outOfTime(ctx)
	}
	if err != nil && answer.failed() {
		err = &httpError{answer: *answer, err: err}
	}
	d.ledger.attempted(err)
	return min(retryAfter(err), longestThrottle), err
}

// interrupted reports whether an export failed because ctx has ended.
func interrupted(ctx context.Context, err error) bool {
	code, _ := rpcCode(err)
	return errors.Is(err, context.Cause(ctx)) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || code == codes.Canceled || code == codes.DeadlineExceeded
}

// wait sleeps, and reports false if the context ended. Draining cuts it short, but not below what the peer asked for.
func (d deliverer) wait(ctx context.Context, wait, least time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	draining := d.draining
	for {
		select {
		case <-timer.C:
			return true
		case <-ctx.Done():
			return false
		case <-draining:
			draining = nil
			timer.Reset(max(least, min(wait, firstWait)))
		}
	}
}

func (d deliverer) leaving() bool {
	select {
	case <-d.draining:
		return true
	default:
		return false
	}
}

func pause(try int) time.Duration {
	wait := min(firstWait<<min(try-1, 10), longWait)
	return wait/2 + rand.N(wait/2)
}

// retryAfter is the wait that the peer asked for, over either protocol.
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

// transient reports whether the same export may work later, by the tables of the OTLP specification; what is no answer of
// the peer at all is a connection that failed.
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

// refused reports whether nobody listens where the peer should be. gRPC says so in words only.
func refused(err error) bool {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return true
	}
	code, ok := rpcCode(err)
	return ok && code == codes.Unavailable && strings.Contains(err.Error(), "connection refused")
}

// rpcCode returns the status of a gRPC call, and false for an error that is none.
func rpcCode(err error) (codes.Code, bool) {
	var call interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &call) {
		return codes.OK, false
	}
	return call.GRPCStatus().Code(), true
}
