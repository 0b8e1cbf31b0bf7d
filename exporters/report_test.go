package exporters

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/internal/delivery"
	"github.com/go-os/go-os/telemetry/log"
)

// incident runs a reporter over one ledger in a synctest bubble.
func incident(t *testing.T, test func(l *ledger, out *logBuffer, close func())) {
	synctest.Test(t, func(t *testing.T) {
		out := &logBuffer{}
		r := newReporter(time.Minute)
		l := newLedger(Traces, component{"p", "p/0"}, component{"e", "e/0"}, 10, r.alarm)
		r.start(slog.New(log.Text(out, nil)), []*ledger{l})
		test(l, out, func() {
			r.halt()
			r.last(t.Context())
		})
	})
}

// lose drops n items because the queue is full.
func lose(l *ledger, n int64) {
	for range n {
		l.Refuse(1, delivery.QueueFull)
	}
}

func TestReporterSaysTheFirstLossAtOnceAndThenOncePerInterval(t *testing.T) {
	incident(t, func(l *ledger, out *logBuffer, close func()) {
		lose(l, 1)
		synctest.Wait()
		if lines := out.lines("WARN", "telemetry is lost", "lost=1", "signals=traces", "remedy="); len(lines) != 1 {
			t.Fatalf("the first loss: %s", out)
		}
		for range 1000 { // 100 seconds
			l.attempted(io.EOF)
			lose(l, 100)
			<-time.After(100 * time.Millisecond)
		}
		if lines := out.lines("WARN"); len(lines) != 2 {
			t.Errorf("want one line a minute, got %q", lines)
		}
		if lines := out.lines("still", "EOF"); len(lines) != 1 {
			t.Errorf("the second: %q", lines)
		}
		l.attempted(nil)
		<-time.After(10 * time.Second)
		if lines := out.lines("INFO", "exported again", "lost=100001"); len(lines) != 1 {
			t.Errorf("the recovery: %s", out)
		}
		<-time.After(time.Hour)
		close()
		if n := strings.Count(out.String(), "\n"); n != 3 {
			t.Errorf("%d lines in all: %s", n, out)
		}
	})
}

func TestReporterIsQuietAboutAShortFailureWithoutLoss(t *testing.T) {
	incident(t, func(l *ledger, out *logBuffer, close func()) {
		l.attempted(io.EOF)
		<-time.After(3 * time.Second)
		l.attempted(nil)
		<-time.After(time.Minute)
		close()
		if out.String() != "" {
			t.Errorf("said %s", out)
		}
	})
}

func TestReporterSaysThatNothingIsExportedBeforeAnythingIsLost(t *testing.T) {
	incident(t, func(l *ledger, out *logBuffer, close func()) {
		for range 100 {
			l.attempted(syscall.ECONNREFUSED)
			<-time.After(100 * time.Millisecond)
		}
		if lines := out.lines("WARN", "telemetry is not exported", "lost=0", "nothing listens there"); len(lines) != 1 {
			t.Errorf("after ten seconds: %s", out)
		}
		l.attempted(nil)
		<-time.After(10 * time.Second)
		close()
		if lines := out.lines("exported again"); len(lines) != 1 {
			t.Errorf("the recovery: %s", out)
		}
	})
}

// TestReporterBoundsAFlappingPeer uses a peer that fails and recovers every 20 seconds: at most two lines a
// minute.
func TestReporterBoundsAFlappingPeer(t *testing.T) {
	incident(t, func(l *ledger, out *logBuffer, close func()) {
		for range 60 {
			l.attempted(io.EOF)
			lose(l, 1)
			<-time.After(5 * time.Second)
			l.attempted(nil)
			<-time.After(15 * time.Second)
		}
		close()
		if n := strings.Count(out.String(), "\n"); n > 2*20+1 || n < 20 {
			t.Errorf("%d lines in 20 minutes", n)
		}
	})
}

func TestReporterDoesNotBlameAnErrorThatIsOver(t *testing.T) {
	incident(t, func(l *ledger, out *logBuffer, close func()) {
		l.attempted(io.EOF)
		l.attempted(nil)
		<-time.After(time.Minute)
		lose(l, 1)
		synctest.Wait()
		close()
		if lines := out.lines("the queue is full"); len(lines) != 1 {
			t.Errorf("%s", out)
		}
	})
}

func TestReporterTellsAtTheEndWhatNoLineTold(t *testing.T) {
	incident(t, func(l *ledger, out *logBuffer, close func()) {
		lose(l, 2)
		synctest.Wait()
		lose(l, 3)
		close()
		if lines := out.lines("lost at shutdown", "lost=3"); len(lines) != 1 {
			t.Errorf("%s", out)
		}
	})
}

func TestRemediesFitTheReason(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, "OTEL_BSP_MAX_QUEUE_SIZE"},
		{syscall.ECONNREFUSED, "start the collector"},
		{errors.New("rpc error: code = Internal desc = grpc: error while marshaling: string field contains invalid UTF-8"), "report it"},
		{&httpError{httpAnswer{status: 401}, errors.New("x")}, "OTEL_EXPORTER_OTLP_HEADERS"},
		{&httpError{httpAnswer{status: 404}, errors.New("x")}, "path of OTEL_EXPORTER_OTLP_ENDPOINT"},
		{&httpError{httpAnswer{status: 429}, errors.New("x")}, "overloaded"},
		{&httpError{httpAnswer{status: 413}, errors.New("x")}, "raise its limit"},
		{status.Error(codes.ResourceExhausted, "grpc: received message larger than max (5 vs. 4)"), "raise its limit"},
		{status.Error(codes.ResourceExhausted, "quota exceeded"), "overloaded"},
		{&httpError{httpAnswer{status: 307}, errors.New("x")}, "where it leads"},
		{&httpError{httpAnswer{status: 200, invalid: "its body is a page"}, errors.New("x")}, "something other than a collector"},
		{&partialError{1, errors.New("x")}, "see its log for the reason"},
		{fmt.Errorf("%w blocks", errConsole), "Options.Console"},
		{errNotFinite, "finite numbers"},
		{errors.New(`Post "http://c:4317/v1/traces": net/http: HTTP/1.x transport connection broken: malformed HTTP response`), "port 4317 usually speaks gRPC: set OTEL_EXPORTER_OTLP_PROTOCOL=grpc"},
		{errors.New("dial c:4318: error reading server preface: http2: frame too large"), "port 4318 usually speaks HTTP"},
	} {
		if _, remedy := (state{err: c.err}).reason(tally{}); !strings.Contains(remedy, c.want) {
			t.Errorf("%v: %q", c.err, remedy)
		}
	}
}

func TestErrorLogBoundsLinesAndMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &logBuffer{}
		draining := make(chan struct{})
		l := newErrorLog(time.Minute, draining)
		l.Handle(errors.New("too early"))
		l.start(slog.New(log.Text(out, nil)))
		for range 1000 {
			l.Handle(errors.New("same"))
		}
		<-time.After(time.Minute)
		l.Handle(errors.New("same"))
		if lines := out.lines("same"); len(lines) != 2 || !strings.Contains(lines[1], "repeated=999") {
			t.Errorf("%q", lines)
		}
		l.Handle(context.Canceled)
		close(draining)
		l.Handle(fmt.Errorf("collecting: %w", context.Canceled))
		if lines := out.lines("canceled"); len(lines) != 1 {
			t.Errorf("a cancellation, and one that is meant: %q", lines)
		}
		for i := range 10_000 {
			l.Handle(errors.New("other " + time.Duration(i).String()))
		}
		if n := len(l.seen); n > errorsRemembered+1 {
			t.Errorf("%d errors are remembered", n)
		}
		if n := strings.Count(out.String(), "\n"); n > errorsRemembered+4 {
			t.Errorf("%d lines about 10,000 errors", n)
		}
	})
}
