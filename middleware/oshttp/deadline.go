package oshttp

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// DefaultDeadlineHeader is a name for DeadlineHeader, the header with the time that a client will still wait: an integer
// number of milliseconds with at most ten digits. No standard defines such a header. It has the form of Connect-Timeout-Ms
// and of Envoy's X-Envoy-Expected-Rq-Timeout-Ms, which may be used instead. Unlike a time of day, a duration needs no
// synchronised clocks.
const DefaultDeadlineHeader = "X-Request-Timeout-Ms"

// allowance returns the time limit of the request: the one that a trusted caller requests, else the default, at most the
// limit. A deadline that the request's context already has applies in any case.
func (x *exchange) allowance() (d time.Duration, ok bool) {
	opts := &x.h.opts
	if d, ok = x.requestedTimeout(); !ok {
		d, ok = opts.DefaultTimeout, opts.DefaultTimeout > 0
	}
	if opts.Timeout > 0 && (!ok || d > opts.Timeout) {
		return opts.Timeout, true
	}
	return d, ok
}

// requestedTimeout returns how long a trusted caller will wait.
func (x *exchange) requestedTimeout() (time.Duration, bool) {
	opts := &x.h.opts
	if opts.DeadlineHeader == "" || opts.Public {
		return 0, false
	}
	values := x.caller.Header[opts.DeadlineHeader]
	if len(values) != 1 {
		return 0, false
	}
	return parseMillis(values[0])
}

// limit returns ctx with a deadline. The deadline of an upgrade request can be lifted once the connection is upgraded.
func (x *exchange) limit(ctx context.Context, d time.Duration) context.Context {
	if asksForUpgrade(x.caller) {
		x.handshake = newHandshake(ctx, d)
		x.cancel = x.handshake.stop
		return x.handshake
	}
	ctx, x.cancel = context.WithTimeout(ctx, d)
	return ctx
}

// asksForUpgrade reports whether the connection of a request may outlive its response. A client gains nothing by requesting
// an upgrade: the deadline holds until the handler agrees.
func asksForUpgrade(r *http.Request) bool {
	return len(r.Header["Upgrade"]) > 0 || r.Method == http.MethodConnect
}

// wasCut reports whether the deadline passed in the middle of the response. Only the handler knows whether more was to come,
// so a response counts as complete only if it has all bytes of its Content-Length.
func (x *exchange) wasCut(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) && x.status != 0 && !x.late && !x.whole()
}

// whole reports whether the response has all its bytes.
func (x *exchange) whole() bool {
	if x.caller.Method == http.MethodHead || x.status < 200 || x.status == http.StatusNoContent || x.status == http.StatusNotModified {
		return true
	}
	length, err := strconv.ParseInt(x.Header().Get("Content-Length"), 10, 64)
	return err == nil && x.written >= length
}

// parseMillis parses one to ten digits, and nothing else, as milliseconds.
func parseMillis(s string) (time.Duration, bool) {
	if s == "" || len(s) > 10 {
		return 0, false
	}
	var n int64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return time.Duration(n) * time.Millisecond, true
}

// remaining returns the value of the deadline header for a request under ctx, or "" if it has no deadline. It rounds up, so
// that the server never gives up before the client.
func remaining(ctx context.Context) string {
	deadline, ok := ctx.Deadline()
	if !ok {
		return ""
	}
	const most = 9_999_999_999 // ten digits, over a hundred days
	left := max(time.Until(deadline), 0)
	return strconv.FormatInt(min(int64((left+time.Millisecond-1)/time.Millisecond), most), 10)
}

// deadline returns the value of the deadline header for a request under ctx, or "" for none. Deadlines are not sent to a
// host that an earlier request was redirected to.
func (t *Transport) deadline(ctx context.Context, r *http.Request) string {
	if t.opts.DeadlineHeader == "" || redirectedAway(r) {
		return ""
	}
	return remaining(ctx)
}

// redirectedAway reports whether a redirect led http.Client to another host than the original one.
func redirectedAway(r *http.Request) bool {
	first := r
	for range maxRedirects {
		if first.Response == nil || first.Response.Request == nil {
			break
		}
		first = first.Response.Request
	}
	return first.URL.Host != r.URL.Host
}
