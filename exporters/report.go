package exporters

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/go-os/go-os/internal/delivery"
)

const (
	// failingGrace is how long attempts may fail without a loss before a line reports it.
	failingGrace = 5 * time.Second
	// reportTick is the interval between looks while something is wrong.
	reportTick = time.Second
	// settleTime without a loss ends an incident in which the exports themselves succeeded.
	settleTime = 5 * time.Second
)

// reporter writes the log lines about lost telemetry: one when the loss begins, at most one an interval while it lasts,
// one when it ends. All destinations share them, since one cause usually breaks all.
type reporter struct {
	ledgers  []*ledger
	logger   *slog.Logger
	interval time.Duration
	rung     chan struct{} // capacity 1: something was lost or failed
	stop     chan struct{}
	done     chan struct{}

	// The fields below belong to the goroutine, and to last after it ends.
	open     bool      // an incident was announced and is not over
	quiet    time.Time // no line before this
	reported tally     // losses that a line has reported
	atStart  int64     // losses reported before this incident
	seen     int64
	lastLoss time.Time
}

func newReporter(interval time.Duration) *reporter {
	return &reporter{
		interval: interval, rung: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
}

// tally counts the lost items, and those of them that are not the fault of a peer.
type tally struct {
	lost      int64
	overBytes int64 // the queue had no room for the bytes
	late      int64 // Shutdown ran out of time
}

// start starts watching the ledgers. It does not miss earlier alarms.
func (r *reporter) start(logger *slog.Logger, ledgers []*ledger) {
	r.logger, r.ledgers = logger, ledgers
	go r.run()
}

// alarm wakes the reporter. The code that loses telemetry calls it, so it neither blocks nor allocates.
func (r *reporter) alarm() {
	select {
	case r.rung <- struct{}{}:
	default:
	}
}

// halt suppresses lines until last: the losses of a draining pipeline are not known yet.
func (r *reporter) halt() {
	if r.logger != nil {
		close(r.stop)
	}
}

func (r *reporter) run() {
	defer close(r.done)
	tick := time.NewTicker(reportTick)
	defer tick.Stop()
	for {
		// At least a tick passes between two looks: a million dropped spans cost one look, not one each.
		select {
		case <-r.rung:
			r.look(time.Now())
		case <-r.stop:
			return
		}
		for busy := true; busy; {
			select {
			case <-tick.C:
				busy = r.look(time.Now())
			case <-r.stop:
				return
			}
		}
	}
}

// state sums up all ledgers.
type state struct {
	tally
	queued  int64
	failing time.Time // since when; zero if all succeed
	pages   []page    // those that lost or fail
	err     error
	failed  page  // the page of err
	lateErr error // why Shutdown had no time
}

// recentError is how long an error explains a loss, even if later attempts succeeded.
const recentError = 10 * time.Second

func (r *reporter) state(now time.Time) state {
	var s state
	for _, l := range r.ledgers {
		p := l.read()
		s.lost += p.Dropped()
		s.overBytes += p.overBytes
		s.late += p.refused[lossShutdown] + p.FailedBy[errorType(delivery.ErrOutOfTime)]
		if p.LateErr != nil {
			s.lateErr = p.LateErr
		}
		s.queued += p.Queued()
		if p.Dropped() > 0 || p.Failures > 0 {
			s.pages = append(s.pages, p)
		}
		if p.Failures > 0 && (s.failing.IsZero() || p.FailingSince.Before(s.failing)) {
			s.failing = p.FailingSince
		}
		if p.LastErr == nil || p.Failures == 0 && now.Sub(p.LastErrAt) > recentError {
			continue
		}
		if s.err == nil || p.Failures > s.failed.Failures {
			s.err, s.failed = p.LastErr, p
		}
	}
	return s
}

// look writes the line that is due, if any, and reports whether to look again soon.
func (r *reporter) look(now time.Time) bool {
	s := r.state(now)
	if s.lost > r.seen {
		r.seen, r.lastLoss = s.lost, now
	}
	failing := !s.failing.IsZero()
	wrong := s.lost > r.reported.lost || failing && now.Sub(s.failing) >= failingGrace
	over := !failing && now.Sub(r.lastLoss) >= settleTime
	switch {
	case r.open && over:
		r.open = false
		r.logger.LogAttrs(context.Background(), slog.LevelInfo, "telemetry is exported again",
			slog.Int64("lost", s.lost-r.atStart))
		r.reported = s.tally
	case wrong && !now.Before(r.quiet):
		if !r.open {
			r.atStart = r.reported.lost
		}
		r.warn(s, now)
	}
	return r.open || failing || s.lost > r.reported.lost
}

func (r *reporter) warn(s state, now time.Time) {
	message := "telemetry is not exported"
	if s.failing.IsZero() {
		message = "telemetry is lost"
	}
	if r.open {
		message += " still"
	}
	r.open, r.quiet = true, now.Add(r.interval)
	lost := s.lost - r.atStart
	reason, remedy := s.reason(r.reported)
	r.reported = s.tally
	r.logger.LogAttrs(context.Background(), slog.LevelWarn, message,
		slog.String("signals", s.signals()), slog.Int64("lost", lost), slog.Int64("queued", s.queued),
		slog.String("reason", reason), slog.String("remedy", remedy),
		slog.Duration("next_report", r.interval))
}

// last reports the losses that no line has reported yet, because nothing looks after it. Call halt first.
func (r *reporter) last(ctx context.Context) {
	if r.logger == nil || !delivery.Await(ctx, r.done, delivery.Grace) {
		return
	}
	s := r.state(time.Now())
	if s.lost <= r.reported.lost {
		return
	}
	reason, remedy := s.reason(r.reported)
	r.logger.LogAttrs(ctx, slog.LevelWarn, "telemetry was lost at shutdown",
		slog.String("signals", s.signals()), slog.Int64("lost", s.lost-r.reported.lost),
		slog.String("reason", reason), slog.String("remedy", remedy))
}

func (s state) signals() string {
	var names []string
	for _, p := range s.pages {
		name := string(p.signal)
		if len(names) == 0 || names[len(names)-1] != name {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// reason describes the losses since an earlier tally, and a remedy.
func (s state) reason(since tally) (reason, remedy string) {
	switch {
	case s.lateErr != nil && s.late > since.late && s.failing.IsZero():
		return s.lateErr.Error(), "give Shutdown a context that has not ended (context.WithoutCancel), or raise Options.ShutdownTimeout"
	case s.err == nil && s.overBytes > since.overBytes:
		return "the queue is full: its items hold as many bytes as it may", "raise Options.QueueBytes, or put less into each item: " +
			"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT cuts attributes"
	case s.err == nil:
		return "the queue is full: more is made than the destination takes",
			"raise OTEL_BSP_MAX_QUEUE_SIZE or OTEL_BLRP_MAX_QUEUE_SIZE, or sample less"
	}
	reason = s.err.Error()
	switch kind := errorType(s.err); {
	case refused(s.err):
		remedy = "nothing listens there: start the collector, or correct OTEL_EXPORTER_OTLP_ENDPOINT"
	case errors.Is(s.err, errNotFinite):
		remedy = "record finite numbers, or export to a collector, which takes the others"
	case errors.Is(s.err, errConsole):
		remedy = "the console exporter writes to Options.Console, by default the standard output: see that it is read, and not full"
	case strings.Contains(reason, "invalid UTF-8"):
		remedy = "a text is not valid UTF-8 although it should have been repaired: report it to the authors of this package"
	case kind == "invalid_answer":
		remedy = "something other than a collector answers there: correct the host, port and path of OTEL_EXPORTER_OTLP_ENDPOINT"
	case len(kind) == 3 && kind[0] == '3':
		remedy = "the endpoint redirects, and a redirect would lose the data or the headers: set OTEL_EXPORTER_OTLP_ENDPOINT to where it leads"
	case kind == "401" || kind == "403" || kind == "UNAUTHENTICATED" || kind == "PERMISSION_DENIED":
		remedy = "the collector refuses the credentials: check OTEL_EXPORTER_OTLP_HEADERS and the client certificate"
	case kind == "404" || kind == "405" || kind == "UNIMPLEMENTED":
		remedy = "the endpoint does not take this signal: check the path of OTEL_EXPORTER_OTLP_ENDPOINT and its protocol"
	case tooLarge(s.err, 0):
		remedy = "an item is larger than the collector takes: raise its limit (max_recv_msg_size_mib, max_request_body_size), " +
			"or cut attributes by OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"
	case kind == "429" || kind == "503" || kind == "RESOURCE_EXHAUSTED":
		remedy = "the collector is overloaded: give it more capacity, or sample less"
	case kind == "rejected":
		remedy = "the collector rejects some of the data: see its log for the reason"
	default:
		remedy = "check that the collector is up and reachable, and that OTEL_EXPORTER_OTLP_PROTOCOL is what it speaks there"
	}
	return reason, remedy + mismatch(s.err)
}

// mismatch adds a hint for the most common mistake: one protocol sent to the port of the other.
func mismatch(err error) string {
	text := err.Error()
	switch {
	case strings.Contains(text, ":4317") && strings.Contains(text, "malformed HTTP"):
		return fmt.Sprintf("; port 4317 usually speaks gRPC: set %s=grpc or use port 4318", envProtocol)
	case strings.Contains(text, ":4318") && strings.Contains(text, "http2"):
		return fmt.Sprintf("; port 4318 usually speaks HTTP: set %s=http/protobuf or use port 4317", envProtocol)
	}
	return ""
}

// redactURL removes possible secrets from an endpoint before it is logged.
func redactURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "[unreadable]"
	}
	u.User, u.RawQuery = nil, ""
	return u.String()
}
