package osgrpc

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/control/router"
)

// attempt is one attempt of a call. The interceptor makes it, and the picker finds it in the context of the call.
type attempt struct {
	*router.Attempt
	returned bool // from the interceptors below

	mu      sync.Mutex
	info    balancer.DoneInfo // of the last pick that was used
	ended   bool              // info is set
	refusal error             // the router rejected the attempt
}

type attemptKey struct{}

// attemptOf returns the attempt that a call belongs to, or nil.
func attemptOf(ctx context.Context) *attempt {
	a, _ := ctx.Value(attemptKey{}).(*attempt)
	return a
}

// in returns the context by which the picker finds the attempt.
func (a *attempt) in(ctx context.Context) context.Context {
	return context.WithValue(ctx, attemptKey{}, a)
}

var errNoOutcome = errors.New("osgrpc: an interceptor or a codec panicked")

// abandon ends an attempt whose interceptor or codec panicked. The panic goes on.
func (a *attempt) abandon() {
	if !a.returned {
		a.Done(router.Outcome{Kind: router.Neutral, Err: errNoOutcome, Final: true})
	}
}

// finished takes what gRPC knows at the end of a pick. gRPC picks again within an attempt if the connection was lost before anything was
// sent, or if the server has not processed the call.
func (a *attempt) finished(pick router.Pick, info balancer.DoneInfo) {
	if info.Err == nil && !info.BytesSent {
		pick.Done(router.Outcome{Kind: router.Neutral}) // the connection was not ready
		return
	}
	a.mu.Lock()
	a.info, a.ended = info, true
	a.mu.Unlock()
}

// outcome returns the outcome of the attempt. The error is what the interceptors below return: what gRPC knows about the endpoint comes first.
func (a *attempt) outcome(err error) router.Outcome {
	a.mu.Lock()
	info, ended, refusal := a.info, a.ended, a.refusal
	a.mu.Unlock()
	switch {
	case refusal != nil && err != nil:
		return router.Outcome{Kind: router.Neutral, Err: refusal, Final: true}
	case !ended: // nothing was picked: no connection, or an interceptor has answered
		return router.Outcome{Kind: router.Neutral, Err: err, Final: true}
	}
	o := outcomeOf(info)
	o.Final = o.Final || (err == nil) != (info.Err == nil)
	o.Err = err
	return o
}

// outcomeOf returns the outcome of a pick.
func outcomeOf(info balancer.DoneInfo) router.Outcome {
	code, message := statusOf(info.Err)
	if isOwnFault(code, message, info) {
		return router.Outcome{Kind: router.Neutral, Err: info.Err, Final: true}
	}
	o := router.FromGRPC(uint32(code), info.Err)
	o.Unsent = info.Err != nil && !info.BytesSent
	if r, ok := reportIn(info.Trailer); ok {
		o.Load = router.Load{Known: true, InFlight: r.InFlight, Latency: r.Latency}
	}
	switch code {
	case codes.ResourceExhausted:
		o.Pushback, _ = pushback(info)
	case codes.Unavailable:
		var told bool
		if o.Pushback, told = pushback(info); told {
			o.Kind = router.Overload
		}
	}
	return o
}

// isOwnFault reports whether the client itself failed a call: a message that cannot be encoded or is too large, missing credentials. It would fail
// at every endpoint. gRPC picks an endpoint before it encodes the message.
func isOwnFault(code codes.Code, message string, info balancer.DoneInfo) bool {
	switch {
	case info.Err == nil, info.BytesReceived:
		return false
	case code == codes.ResourceExhausted:
		return true
	case info.BytesSent: // of a stream, perhaps headers alone
		return code == codes.Internal && strings.HasPrefix(message, "grpc: error while ")
	}
	return code != codes.Unavailable && code != codes.DeadlineExceeded && code != codes.Canceled
}

// pushbackKey is the trailer key by which a server asks to wait before a retry (gRFC A6).
const pushbackKey = "grpc-retry-pushback-ms"

// maxPushback bounds what a server can ask for.
const maxPushback = time.Hour

// pushback returns how long a server asks to wait: by its trailer, or by a google.rpc.RetryInfo. It is negative if the server asks for no retry.
func pushback(info balancer.DoneInfo) (wait time.Duration, told bool) {
	switch values := info.Trailer[pushbackKey]; len(values) {
	case 0:
		return retryDelay(info.Err)
	case 1:
		if ms, err := strconv.ParseInt(values[0], 10, 32); err == nil && ms >= 0 {
			return min(time.Duration(ms)*time.Millisecond, maxPushback), true
		}
	}
	return -1, true // gRFC A6: a value that cannot be read asks for no retry
}

// retryDelay returns the delay of a RetryInfo among the details of an error.
func retryDelay(err error) (time.Duration, bool) {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			return min(max(info.GetRetryDelay().AsDuration(), 0), maxPushback), true
		}
	}
	return 0, false
}
