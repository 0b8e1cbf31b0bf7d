package exporters

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc/codes"
)

// emit emits n spans, n log records and one point for each of n attribute sets. It returns the number of data points that the
// next collection has beside the usual ones.
func emit(t testing.TB, p *Pipeline, n int) {
	t.Helper()
	tracer := p.Providers().Tracer("test")
	counter, err := p.Providers().Meter("test").Int64Counter("test.things")
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		ctx, span := tracer.Start(t.Context(), "work")
		p.Logger().InfoContext(ctx, "worked", "i", i)
		counter.Add(ctx, 1, metric.WithAttributes(attribute.Int("i", i%10)))
		span.End()
	}
}

// drained shuts a pipeline down within a time and compares every account with the peer's counts.
func drained(t testing.TB, p *Pipeline, within time.Duration, peer *peer) Health {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	start, before := time.Now(), p.Health()
	err := p.Shutdown(ctx)
	if took := time.Since(start); took > within+500*time.Millisecond {
		t.Errorf("shutdown took %v of %v", took, within)
	}
	h := p.Health()
	var dropped int64
	for signal, s := range map[Signal]SignalHealth{Traces: h.Traces, Metrics: h.Metrics, Logs: h.Logs} {
		balanced(t, signal, s)
		if s.Queued != 0 {
			t.Errorf("%s: %d are queued after shutdown", signal, s.Queued)
		}
		if peer != nil && peer.count(signal) != s.Exported {
			t.Errorf("%s: exported %d by our account, the peer has %d", signal, s.Exported, peer.count(signal))
		}
		dropped += s.Dropped
	}
	dropped -= before.Traces.Dropped + before.Metrics.Dropped + before.Logs.Dropped
	if (err != nil) != (dropped > 0) {
		t.Errorf("%d were dropped by shutdown, which says %v", dropped, err)
	}
	return h
}

// protocols are the protocols with exporters of their own.
var protocols = []string{GRPC, HTTP, HTTPJSON}

func eachProtocol(t *testing.T, test func(t *testing.T, protocol string)) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			test(t, protocol)
		})
	}
}

func TestHealthyPeerGetsEverything(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, protocol string) {
		for _, compression := range []string{"none", "gzip"} {
			peer := startPeer(t)
			p, log := setup(t, Options{
				ServiceName: "healthy", Endpoint: peer.endpoint(protocol), Protocol: protocol, Compression: compression,
				Headers: map[string]string{"x-key": "secret"},
			})
			emit(t, p, 1000)
			if err := p.ForceFlush(t.Context()); err != nil {
				t.Error(err)
			}
			if peer.count(Traces) != 1000 || peer.count(Logs) != 1000 || peer.count(Metrics) < 10 {
				t.Errorf("after the flush the peer has %v", peer.items)
			}
			h := drained(t, p, 5*time.Second, peer)
			if h.Traces.Exported != 1000 || h.Logs.Exported != 1000 || h.Traces.Dropped+h.Logs.Dropped+h.Metrics.Dropped != 0 {
				t.Errorf("%+v", h)
			}
			if !h.Traces.Working() || h.Traces.LastSuccess.IsZero() || h.Traces.LastError != nil {
				t.Errorf("%+v is not the health of a pipeline that works", h.Traces)
			}
			if name := peer.resourceAttr("service.name"); name != "healthy" {
				t.Errorf("the resource is of %q", name)
			}
			if got := headerOf(peer, "x-key"); got != "secret" {
				t.Errorf("the header x-key is %q", got)
			}
			if lines := log.lines("goos.exporters"); len(lines) != 0 {
				t.Errorf("lines about a pipeline that works: %q", lines)
			}
		}
	})
}

func headerOf(p *peer, key string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range []string{key, http.CanonicalHeaderKey(key)} {
		if v := p.header[k]; len(v) == 1 {
			return v[0]
		}
	}
	return ""
}

func TestPartialSuccessCountsWhatWasRejected(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, protocol string) {
		peer := startPeer(t)
		peer.answering(func(Signal, int) answer { return answer{reject: 3, say: "three are bad"} })
		p, log := setup(t, Options{Endpoint: peer.endpoint(protocol), Protocol: protocol})
		emit(t, p, 10)
		h := drained(t, p, 5*time.Second, peer)
		for signal, s := range map[Signal]SignalHealth{Traces: h.Traces, Logs: h.Logs, Metrics: h.Metrics} {
			if s.Dropped != 3 || !s.Working() || errorType(s.LastError) != "rejected" {
				t.Errorf("%s: %+v, want 3 dropped as rejected by a peer that works", signal, s)
			}
		}
		if lines := log.lines("telemetry", "lost"); len(lines) != 1 {
			t.Errorf("want one line about 9 lost items, got %q", lines)
		}
	})
}

func TestPartialSuccessWithoutRejectionLosesNothing(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, protocol string) {
		peer := startPeer(t)
		peer.answering(func(Signal, int) answer { return answer{say: "please upgrade"} })
		p, _ := setup(t, Options{Endpoint: peer.endpoint(protocol), Protocol: protocol})
		emit(t, p, 10)
		if h := drained(t, p, 5*time.Second, peer); h.Traces.Exported != 10 || h.Traces.Dropped != 0 || h.Logs.Dropped != 0 {
			t.Errorf("%+v", h)
		}
	})
}

// TestOverloadedPeerIsObeyed uses a peer that refuses the first requests of each signal, and requests a wait.
func TestOverloadedPeerIsObeyed(t *testing.T) {
	t.Parallel()
	for _, turnAway := range []answer{
		{status: http.StatusTooManyRequests, code: codes.ResourceExhausted, retryAfter: time.Second},
		{status: http.StatusServiceUnavailable, code: codes.Unavailable, retryAfter: time.Second},
		{status: http.StatusServiceUnavailable, code: codes.Unavailable},
	} {
		eachProtocol(t, func(t *testing.T, protocol string) {
			peer := startPeer(t)
			var mu sync.Mutex
			times := map[Signal][]time.Time{}
			peer.answering(func(signal Signal, request int) answer {
				mu.Lock()
				defer mu.Unlock()
				times[signal] = append(times[signal], time.Now())
				if request <= 2 {
					return turnAway
				}
				return answer{}
			})
			p, _ := setup(t, Options{Endpoint: peer.endpoint(protocol), Protocol: protocol})
			emit(t, p, 20)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := p.ForceFlush(ctx); err != nil {
				t.Error(err)
			}
			h := drained(t, p, 5*time.Second, peer)
			if h.Traces.Exported != 20 || h.Logs.Exported != 20 || h.Metrics.Dropped != 0 {
				t.Errorf("%+v, want everything exported in the end", h)
			}
			mu.Lock()
			defer mu.Unlock()
			if waited := times[Traces][1].Sub(times[Traces][0]); waited < turnAway.retryAfter {
				t.Errorf("tried again after %v, the peer asked for %v", waited, turnAway.retryAfter)
			}
		})
	}
}

func TestPeerThatRefusesTheDataGetsItOnce(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, protocol string) {
		peer := startPeer(t)
		peer.answering(func(Signal, int) answer { return answer{status: http.StatusBadRequest, code: codes.InvalidArgument} })
		p, log := setup(t, Options{Endpoint: peer.endpoint(protocol), Protocol: protocol})
		emit(t, p, 5)
		h := drained(t, p, 5*time.Second, peer)
		if h.Traces.Dropped != 5 || h.Logs.Dropped != 5 || peer.requestCount(Traces) != 1 {
			t.Errorf("%+v after %d requests, want 5 dropped after one", h, peer.requestCount(Traces))
		}
		if lines := log.lines("goos.exporters"); len(lines) != 1 {
			t.Errorf("want one line, got %q", lines)
		}
	})
}

// TestConnectionResetMidway uses a peer that reads requests and resets connections in place of an answer. Nothing is lost,
// and data that the peer had accepted arrives again, because the sender cannot know.
func TestConnectionResetMidway(t *testing.T) {
	t.Parallel()
	for _, lose := range []bool{true, false} {
		eachProtocol(t, func(t *testing.T, protocol string) {
			peer := startPeer(t)
			peer.answering(func(s Signal, request int) answer { // a reset may end requests of other signals on the same connection
				reset := s == Traces && request <= 2
				return answer{reset: reset, lose: lose && reset}
			})
			p, _ := setup(t, Options{Endpoint: peer.endpoint(protocol), Protocol: protocol})
			emit(t, p, 20)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if err := p.ForceFlush(ctx); err != nil {
				t.Error(err)
			}
			_ = p.Shutdown(ctx)
			h := p.Health().Traces
			unique, repeated := peer.uniqueSpans()
			if h.Exported != 20 || h.Dropped != 0 || unique != 20 {
				t.Errorf("%+v, and the peer has %d spans, want 20", h, unique)
			}
			if (repeated > 0) == lose {
				t.Errorf("%d spans came again; the peer had lost them: %t", repeated, lose)
			}
		})
	}
}

// TestPeerNotThere covers a peer that refuses, and one that never answers. The program is not slowed down, the queue bounds
// memory, shutdown returns in time, and one line reports the loss.
func TestPeerNotThere(t *testing.T) {
	t.Parallel()
	for name, address := range map[string]func(testing.TB) string{"refused": refusedAddr, "unreachable": blackhole} {
		eachProtocol(t, func(t *testing.T, protocol string) {
			p, log := setup(t, Options{
				Endpoint: "http://" + address(t), Protocol: protocol, QueueSize: 500, BatchSize: 100, BatchDelay: 10 * time.Millisecond,
			})
			start := time.Now()
			emit(t, p, 5000)
			emitting := time.Since(start)
			eventually(t, 5*time.Second, saying("a line about the loss in %s", log), func() bool {
				return len(log.lines("telemetry is")) > 0
			})
			h := p.Health()
			balanced(t, Traces, h.Traces)
			balanced(t, Logs, h.Logs)
			if h.Traces.Queued > 600 || h.Traces.Dropped < 4400 {
				t.Errorf("%+v, want no more than the queue and a batch to wait", h.Traces)
			}
			stop := time.Now()
			h = drained(t, p, 4*time.Second, nil)
			if h.Traces.Dropped != 5000 || h.Logs.Dropped != 5000 || h.Metrics.Dropped != h.Metrics.Emitted {
				t.Errorf("%+v, want everything dropped", h)
			}
			if took := time.Since(stop); name == "refused" && took > 3*time.Second {
				t.Errorf("shutdown took %v where nobody listens", took)
			}
			if emitting > 3*time.Second && !raced {
				t.Errorf("emitting took %v", emitting)
			}
			if lines := log.lines("goos.exporters"); len(lines) != 2 {
				t.Errorf("want one line when it began and one at the end, got %d: %q", len(lines), lines)
			}
		})
	}
}

func TestSlowPeerDropsAndRecovers(t *testing.T) {
	t.Parallel()
	peer := startPeer(t)
	slow := true
	peer.answering(func(signal Signal, _ int) answer {
		if slow && signal == Traces {
			return answer{delay: 300 * time.Millisecond}
		}
		return answer{}
	})
	p, log := setup(t, Options{Endpoint: peer.endpoint(HTTP), QueueSize: 200, BatchSize: 100, BatchDelay: 5 * time.Millisecond})
	emit(t, p, 2000)
	if h := p.Health().Traces; h.Dropped == 0 {
		t.Errorf("%+v, want drops for the full queue", h)
	}
	peer.mu.Lock()
	slow = false
	peer.mu.Unlock()
	if err := p.ForceFlush(t.Context()); err != nil {
		t.Error(err)
	}
	emit(t, p, 100)
	h := drained(t, p, 5*time.Second, peer)
	if h.Traces.Emitted != 2100 || !h.Traces.Working() {
		t.Errorf("%+v", h.Traces)
	}
	if lines := log.lines("WARN", "telemetry is"); len(lines) != 1 {
		t.Errorf("want one warning while it lasted, got %q", lines)
	}
}

// TestPeerComesBack kills a peer under load and restarts it at the same address.
func TestPeerComesBack(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{GRPC, HTTP} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			first := startPeer(t)
			p, log := setup(t, Options{
				Endpoint: first.endpoint(protocol), Protocol: protocol, QueueSize: 1000, BatchDelay: 20 * time.Millisecond,
				ReportInterval: time.Hour,
			})
			emit(t, p, 300)
			if err := p.ForceFlush(t.Context()); err != nil {
				t.Error(err)
			}
			first.close()
			emit(t, p, 5000)
			eventually(t, 5*time.Second, saying("a line about the loss in %s", log), func() bool {
				return len(log.lines("WARN", "telemetry is")) > 0
			})
			second := startPeerAt(t, first.httpAddr, first.grpcAddr)
			eventually(t, 20*time.Second, func() string { return fmt.Sprintf("%+v", p.Health()) }, func() bool {
				h := p.Health()
				return h.Traces.Queued+h.Logs.Queued == 0 && h.Traces.Working() && h.Logs.Working()
			})
			emit(t, p, 200)
			_ = p.Shutdown(t.Context())
			h := p.Health().Traces
			balanced(t, Traces, h)
			unique := func() int64 {
				a, _ := first.uniqueSpans()
				b, _ := second.uniqueSpans()
				return int64(a + b)
			}()
			if unique != h.Exported || h.Dropped == 0 || h.Emitted != 5500 {
				t.Errorf("%+v, and the peers have %d spans", h, unique)
			}
			if lines := log.lines("WARN", "telemetry is"); len(lines) != 1 {
				t.Errorf("want one warning while it lasted, got %q", lines)
			}
		})
	}
}
