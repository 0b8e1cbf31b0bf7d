package oshttp

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

// DefaultDeadlineHeader is the header in which a client says how much longer it will wait, as a whole number of
// milliseconds in at most ten digits. No standard has such a header; the form is that of Connect-Timeout-Ms and of Envoy's
// X-Envoy-Expected-Rq-Timeout-Ms, either of which may be set as DeadlineHeader instead. A duration, other than a time of
// day, needs no synchronised clocks.
const DefaultDeadlineHeader = "X-Request-Timeout-Ms"

// allowance returns how long the request may take: the least of what the options and the caller allow. The deadline that
// the request's context has already holds without us.
func (x *exchange) allowance() (d time.Duration, ok bool) {
	opts := &x.h.opts
	d, ok = opts.Timeout, opts.Timeout > 0
	if opts.NoDeadline || opts.Public {
		return d, ok
	}
	if values := x.caller.Header[opts.DeadlineHeader]; len(values) == 1 {
		if asked, valid := parseMillis(values[0]); valid && (!ok || asked < d) {
			return asked, true
		}
	}
	return d, ok
}

// parseMillis reads one to ten digits, and nothing else, as milliseconds.
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

// remaining returns the value of the deadline header for a request under ctx, "" if it has no deadline. It rounds up, so
// that the server never gives up before the client would.
func remaining(ctx context.Context) string {
	deadline, ok := ctx.Deadline()
	if !ok {
		return ""
	}
	const most = 9_999_999_999 // ten digits, over a hundred days
	left := max(time.Until(deadline), 0)
	return strconv.FormatInt(min(int64((left+time.Millisecond-1)/time.Millisecond), most), 10)
}

// setDeadline tells the server how long the caller will wait, unless the caller said so itself.
func setDeadline(ctx context.Context, header http.Header, key string) {
	if _, set := header[key]; set {
		return
	}
	if left := remaining(ctx); left != "" {
		header[key] = []string{left}
	}
}
