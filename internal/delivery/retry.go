package delivery

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/go-os/go-os/internal/backoff"
)

// The default waits of a Retry.
const (
	DefaultFirst       = 250 * time.Millisecond
	DefaultLongest     = 5 * time.Second
	DefaultLongestHint = time.Minute
)

// Retry repeats an attempt until it works, fails for good, or runs out of time. The zero value works. Its fields must not change while it
// is in use; it is then safe for concurrent use.
type Retry struct {
	// First and Longest bound the waits between attempts. The waits double from First to Longest, with jitter. A value below 1 means the
	// default: 250 ms and 5 s.
	First, Longest time.Duration
	// Temporary reports whether another attempt may work. Default: always.
	Temporary func(error) bool
	// Hint returns the wait that the peer asked for, or 0 if it asked for none. The next wait is at least as long, and the deadline moves
	// by the hint: an overloaded peer must not cost the items. Default: no hints.
	Hint func(error) time.Duration
	// LongestHint bounds a hint, so that one absurd answer does not end the delivery. A value below 1 means the default: 1 min.
	LongestHint time.Duration
	// Interrupted reports whether an attempt failed only because ctx has ended. Default: the function Interrupted.
	Interrupted func(ctx context.Context, err error) bool
	// Draining is closed when Shutdown begins. It cuts a wait to First, but not below a hint. Default: never.
	Draining <-chan struct{}
	// GiveUp reports, while draining, that the peer will not return in time after this many attempts. Waiting for the deadline would only
	// slow every exit. Default: never.
	GiveUp func(err error, attempts int) bool
}

// Do repeats attempt until deadline; zero means no deadline. The context of an attempt ends with ctx and at the deadline.
//
// Do returns nil or the error of the last attempt. An attempt that the end of ctx interrupted shows nothing about the peer. Do then returns
// the error of the attempt before it, or an error that wraps ErrOutOfTime if there was none.
func (r *Retry) Do(ctx context.Context, deadline time.Time, attempt func(context.Context) error) error {
	waits := backoff.Backoff{First: or(r.First, DefaultFirst), Longest: or(r.Longest, DefaultLongest)}
	var last error
	for tries := 1; ; tries++ {
		err := r.once(ctx, deadline, attempt)
		if errors.Is(err, ErrOutOfTime) && last != nil {
			return last // the reason for which the time ran out
		}
		if err == nil || ctx.Err() != nil || !r.temporary(err) {
			return err
		}
		last = err
		wait, hint := waits.Next(), r.hint(err)
		if hint > 0 {
			wait = max(wait, hint)
			deadline = later(deadline, hint)
		}
		if !deadline.IsZero() && time.Until(deadline) < wait || r.hopeless(err, tries) || !r.wait(ctx, wait, hint) {
			return err
		}
	}
}

// once makes one attempt.
func (r *Retry) once(ctx context.Context, deadline time.Time, attempt func(context.Context) error) error {
	attemptCtx := ctx
	if !deadline.IsZero() {
		var cancel context.CancelFunc
		attemptCtx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	err := attempt(attemptCtx)
	if r.interrupted(ctx, err) {
		return OutOfTime(ctx)
	}
	return err
}

// interrupted reports whether an attempt failed because ctx has ended.
func (r *Retry) interrupted(ctx context.Context, err error) bool {
	if err == nil || ctx.Err() == nil {
		return false
	}
	if r.Interrupted != nil {
		return r.Interrupted(ctx, err)
	}
	return Interrupted(ctx, err)
}

// Interrupted reports whether an error wraps the cause of a context that has ended, or the error of any context.
func Interrupted(ctx context.Context, err error) bool {
	return errors.Is(err, context.Cause(ctx)) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// later moves a deadline, if it is set.
func later(deadline time.Time, by time.Duration) time.Time {
	if deadline.IsZero() {
		return deadline
	}
	return deadline.Add(by)
}

// wait sleeps, and reports false if ctx ends first. Draining cuts the wait short, but not below least, which the peer asked for.
func (r *Retry) wait(ctx context.Context, wait, least time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	draining := r.Draining
	for {
		select {
		case <-timer.C:
			return true
		case <-ctx.Done():
			return false
		case <-draining:
			draining = nil
			timer.Reset(max(least, min(wait, or(r.First, DefaultFirst))))
		}
	}
}

func (r *Retry) temporary(err error) bool { return r.Temporary == nil || r.Temporary(err) }

func (r *Retry) hopeless(err error, tries int) bool {
	return r.GiveUp != nil && closed(r.Draining) && r.GiveUp(err, tries)
}

// hint returns the wait that the peer asked for, within bounds. It is not positive if the peer asked for none.
func (r *Retry) hint(err error) time.Duration {
	if r.Hint == nil {
		return 0
	}
	return min(r.Hint(err), or(r.LongestHint, DefaultLongestHint))
}

// or returns d, or other if d is below 1.
func or(d, other time.Duration) time.Duration {
	if d < 1 {
		return other
	}
	return d
}

// closed reports whether a channel without senders is closed. A nil channel is not.
func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// dateLayouts are the forms of an HTTP date (RFC 9110, section 5.6.7).
var dateLayouts = [...]string{"Mon, 02 Jan 2006 15:04:05 GMT", time.RFC850, time.ANSIC}

// RetryAfter parses the value of a Retry-After header: a number of seconds or a date (RFC 9110, section 10.2.3). A date in the past and any
// other value mean no wait.
func RetryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	for _, layout := range dateLayouts {
		if at, err := time.Parse(layout, value); err == nil {
			return max(0, at.Sub(now))
		}
	}
	return 0
}
