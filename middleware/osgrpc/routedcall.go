package osgrpc

import (
	"context"
	"errors"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/internal/sanitize"
)

// call makes a unary call with the retries and hedges of the router.
func (s *service) call(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts []grpc.CallOption) error {
	request := s.request(ctx, method)
	c := newUnaryCall(request.Hedgeable, reply, opts)
	send := func(ctx context.Context, turn *router.Attempt) (*answer, router.Outcome) {
		a := &attempt{Attempt: turn}
		defer a.abandon()
		answer := c.answer(a)
		ctx = a.in(marking(ctx, c.sent.Add(1)))
		var o router.Outcome
		if to := turn.Service(); to != s.route {
			o = c.failed.outcome(s.fallback(to), func(conn grpc.ClientConnInterface) error {
				return conn.Invoke(ctx, method, req, answer.reply, answer.opts...)
			})
		} else {
			err := invoker(ctx, method, req, answer.reply, cc, answer.opts...)
			o = c.failed.keep(s.judge(ctx, a, err, c.sent.Load()))
		}
		a.returned = true
		return answer, o
	}
	for {
		answer, o := router.Do(ctx, s.route, request, send, nil)
		if isMisdirected(o.Err, s.name) && c.sent.Load() < router.MaxAttempts {
			continue // another instance may not be connected yet, and Do would not wait for it
		}
		err := s.result(o)
		if answer != nil {
			answer.attempt.describe(spanOf(opts), c.sent.Load())
		}
		c.finish(answer, err)
		return err
	}
}

// judge returns the outcome of an attempt that has ended, of so many that the call had. A call that was refused as misdirected is made again
// outside of Do.
func (s *service) judge(ctx context.Context, a *attempt, err error, sent int64) router.Outcome {
	if isMisdirected(err, s.name) {
		if picked := a.Picked(); picked.Endpoint() != nil {
			s.refuseAt(ctx, picked.Address())
		}
		return router.Outcome{Kind: router.Neutral, Err: err, Final: true}
	}
	o := a.outcome(err)
	o.Final = o.Final || sent >= router.MaxAttempts
	return o
}

var errAttemptTimeout = status.Error(codes.DeadlineExceeded, "the time limit of an attempt has passed (router.Retry.Timeout)")

// result returns the error of a call for its caller.
func (s *service) result(o router.Outcome) error {
	var own *router.Error
	switch {
	case o.Err == nil:
		return nil
	case o.Kind == router.Timeout && errors.As(o.Err, &own): // Do has ended the attempt
		return errAttemptTimeout
	}
	return s.explain(unmarked(o.Err))
}

// open opens a stream. It is repeated if it could not be opened. The attempt lasts until the stream ends.
func (s *service) open(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts []grpc.CallOption) (grpc.ClientStream, error) {
	request := s.request(ctx, method)
	request.Stream, request.Hedgeable = true, false
	span := spanOf(opts)
	var failed failure
	send := func(ctx context.Context, turn *router.Attempt) (stream grpc.ClientStream, o router.Outcome) {
		a := &attempt{Attempt: turn}
		defer a.abandon()
		ctx = a.in(marking(ctx, int64(a.Number())))
		if to := turn.Service(); to != s.route {
			o = failed.outcome(s.fallback(to), func(conn grpc.ClientConnInterface) (err error) {
				stream, err = conn.NewStream(ctx, desc, method, opts...)
				return err
			})
			a.returned = true
			return stream, o
		}
		// gRPC reports the end of each stream once, also of one that it cannot open.
		ended := grpc.OnFinish(func(err error) { a.Done(a.streamOutcome(s.name, err)) })
		stream, err := streamer(ctx, desc, cc, method, append(opts[:len(opts):len(opts)], ended)...)
		a.returned = true
		if err != nil {
			return nil, failed.keep(a.outcome(err))
		}
		a.describe(span, int64(a.Number()))
		return stream, router.Outcome{Open: true}
	}
	stream, o := router.Do(ctx, s.route, request, send, nil)
	if err := s.result(o); err != nil {
		return nil, err
	}
	return stream, nil
}

// streamOutcome returns the outcome of a stream that has ended.
func (a *attempt) streamOutcome(service string, err error) router.Outcome {
	if isMisdirected(err, service) {
		return router.Outcome{Kind: router.Neutral, Err: err}
	}
	return a.outcome(err)
}

// fallback returns the connection to the service that gets calls instead of this one, or nil.
func (s *service) fallback(to *router.Service) grpc.ClientConnInterface {
	if s.directory.opts.Fallback == nil {
		return nil
	}
	return s.directory.opts.Fallback(to.Name())
}

// failure is the outcome of the last attempt before a fallback.
type failure struct {
	last atomic.Pointer[router.Outcome]
}

// keep keeps an outcome.
func (f *failure) keep(o router.Outcome) router.Outcome {
	f.last.Store(&o)
	return o
}

// outcome returns the outcome of a call that is made on the connection of a fallback. Without one it is the last outcome.
func (f *failure) outcome(conn grpc.ClientConnInterface, send func(grpc.ClientConnInterface) error) router.Outcome {
	if last := f.last.Load(); conn == nil && last != nil {
		o := *last
		o.Kind, o.Final = router.Neutral, true
		return o
	}
	return router.Outcome{Kind: router.Neutral, Err: send(conn), Final: true}
}

const (
	armAttr     = attribute.Key("goos.router.arm")
	attemptAttr = attribute.Key("goos.router.attempt")
)

// describe adds to the span of a call which instance has answered, for which arm of a split, and after how many attempts.
func (a *attempt) describe(span trace.Span, sent int64) {
	picked := a.Picked()
	if span == nil || picked.Endpoint() == nil {
		return
	}
	attrs := []attribute.KeyValue{instanceAttr.String(sanitize.Text(picked.Endpoint().ID(), maxDetail)), attemptAttr.Int64(sent)}
	if arm := picked.Arm(); arm != "" {
		attrs = append(attrs, armAttr.String(arm))
	}
	span.SetAttributes(attrs...)
}
