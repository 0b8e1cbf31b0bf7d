package exporters

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/go-os/go-os/internal/tooling/suite"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/middleware/oshttp"
)

// handler is a small service: a backend of two milliseconds, a span around it, a log line.
func handler(p *Pipeline) http.Handler {
	tracer, logger := p.Providers().Tracer("load"), p.Logger()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /buy/{what}", func(w http.ResponseWriter, r *http.Request) {
		ctx, span := tracer.Start(r.Context(), "backend", trace.WithAttributes(attribute.String("what", r.PathValue("what"))))
		timer := time.NewTimer(2 * time.Millisecond)
		<-timer.C
		span.End()
		logger.InfoContext(ctx, "bought", "what", r.PathValue("what"))
		_, _ = io.WriteString(w, "done")
	})
	return oshttp.NewHandler(mux, &oshttp.HandlerOptions{Telemetry: p.Providers()})
}

// nowhere is a response writer for requests without a network, whose noise would hide the effect.
type nowhere struct{ header http.Header }

func (w *nowhere) Header() http.Header         { return w.header }
func (w *nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (w *nowhere) WriteHeader(int)             {}

// think is the pause of a client between two requests. With eight clients that makes about 1,000 requests a second, each of two spans
// and a log record. A service at full load would measure the cost of exporting, a different question: on two cores, at 3,800 requests
// a second, a working collector adds 12 % to the 99th percentile.
const think = 6 * time.Millisecond

// window serves requests from several clients for a while and returns the 99th percentile of their durations.
func window(h http.Handler, clients int, d time.Duration) time.Duration {
	times := make([][]time.Duration, clients)
	var wg sync.WaitGroup
	end := time.Now().Add(d)
	for c := range clients {
		wg.Go(func() {
			for time.Now().Before(end) {
				r, _ := http.NewRequest(http.MethodGet, "http://shop/buy/tea", nil)
				start := time.Now()
				h.ServeHTTP(&nowhere{make(http.Header)}, r)
				times[c] = append(times[c], time.Since(start))
				<-time.After(think)
			}
		})
	}
	wg.Wait()
	all := slices.Concat(times...)
	slices.Sort(all)
	return all[len(all)*99/100]
}

// badDays are the ways in which a collector can fail; each returns the endpoint. Peers that answer are separate processes, because
// their work must not count as the service's.
func badDays(window time.Duration) map[string]func(t *testing.T) string {
	misbehaving := func(mode string) func(t *testing.T) string {
		return func(t *testing.T) string {
			_, addr := peerProcess(t, mode, "127.0.0.1:0")
			return "http://" + addr
		}
	}
	return map[string]func(t *testing.T) string{
		"refused":              func(t *testing.T) string { return "http://" + refusedAddr(t) },
		"unreachable":          func(t *testing.T) string { return "http://" + blackhole(t) },
		"slow":                 misbehaving("slow"),
		"429":                  misbehaving("429"),
		"503":                  misbehaving("503"),
		"killed and restarted": func(t *testing.T) string { return killedAndRestarted(t, window/2) },
	}
}

// killedAndRestarted is a peer that is up and down in turns, each for the given time, while the test measures. Its processes start
// and stop on the measured machine, so every window must contain equally many of them.
func killedAndRestarted(t *testing.T, each time.Duration) string {
	kill, addr := peerProcess(t, "200", "127.0.0.1:0")
	stop, done := make(chan struct{}), make(chan struct{})
	pause := func() bool {
		select {
		case <-stop:
			return false
		case <-time.After(each):
			return true
		}
	}
	go func() {
		defer close(done)
		for pause() {
			kill()
			if !pause() {
				return
			}
			kill, _ = peerProcess(t, "200", addr)
		}
	}()
	t.Cleanup(func() { close(stop); <-done })
	return "http://" + addr
}

// peerProcess runs serveBadly in another process. kill ends it abruptly.
func peerProcess(t *testing.T, mode, at string) (kill func(), addr string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Error(err)
		return func() {}, at
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childMode+"="+mode, peerAddr+"="+at)
	cmd.Stderr = os.Stderr
	in, inErr := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr, cmd.Start()); err != nil {
		t.Error(err)
		return func() {}, at
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = in.Close()
	})
	t.Cleanup(kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Errorf("the peer did not start: %v", err)
	}
	return kill, strings.TrimSpace(line)
}

// peerAddr is the variable with the address on which serveBadly listens.
const peerAddr = "EXPORTERS_TEST_PEER"

// serveBadly answers every request with the status in mode, or with 200 after a while. It runs until its input ends, together with
// the test.
func serveBadly(mode string) int {
	l, err := net.Listen("tcp", os.Getenv(peerAddr))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(l.Addr())
	go func() {
		_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if mode == "slow" {
				<-time.After(2 * time.Second)
				return
			}
			if mode == "429" {
				w.Header().Set("Retry-After", "1")
			}
			status, _ := strconv.Atoi(mode)
			w.WriteHeader(status)
		}))
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// TestP99WhileTheCollectorIsInTrouble serves the same load without export and with an export to a failing collector. It alternates in
// one process, and compares the 99th percentiles pair by pair.
//
// With -long, which needs an otherwise idle machine, the median of the ratios may be at most 5 % above 1. The short form is for
// shared machines, where other processes dominate the 99th percentile. It allows the lower quartile of the ratios 50 %, which an
// export that sometimes blocks the service exceeds by far.
//
// It compares times, so it is skipped under the race detector, whose own work dominates a 99th percentile on a busy machine. The
// other tests cover the same code with the detector on. Run this one without:
//
//	OS_TEST_LONG=short go test -run P99 ./exporters
func TestP99WhileTheCollectorIsInTrouble(t *testing.T) {
	if raced {
		t.Skip("needs a build without the race detector, which distorts the times that are compared: go test -run P99 ./exporters")
	}
	if !*long {
		suite.Short(t)
	}
	pairs, each, quantile, limit := 8, 150*time.Millisecond, 0.25, 1.5
	if *long {
		pairs, each, quantile, limit = 40, time.Second, 0.5, 1.05
	}
	const clients = 8
	// The live memory of a service. With almost none, the garbage collector would run many times a second, and determine the 99th
	// percentile in both configurations.
	held := make([]byte, 128<<20)
	defer runtime.KeepAlive(held)
	for name, trouble := range badDays(each) {
		t.Run(name, func(t *testing.T) {
			without, _ := setup(t, Options{LogWriter: onlyOurs{io.Discard}, NoRuntimeMetrics: true})
			out := &logBuffer{}
			opts := Options{Endpoint: trouble(t), LogWriter: onlyOurs{out}, NoRuntimeMetrics: true, ReportInterval: time.Hour}
			if !*long { // a queue that one short window fills; the long form measures the defaults
				opts.QueueSize, opts.BatchSize, opts.BatchDelay = 256, 128, 20*time.Millisecond
			}
			with, _ := setup(t, opts)
			plain, exporting := handler(without), handler(with)
			window(plain, clients, each)
			window(exporting, clients, each) // fills the queue, so that the rest measures the steady state
			ratios := make([]float64, pairs)
			for i := range ratios {
				var p99 [2]time.Duration // without and with export, in alternating order
				for j := range p99 {
					at := (i + j) % 2
					p99[at] = window([]http.Handler{plain, exporting}[at], clients, each)
				}
				ratios[i] = float64(p99[1]) / float64(p99[0])
			}
			slices.Sort(ratios)
			ratio := ratios[int(quantile*float64(pairs-1))]
			_ = without.Shutdown(t.Context())
			h := drained(t, with, 500*time.Millisecond, nil)
			t.Logf("p99 with export / without, %d pairs: %.3f at quantile %.2f (%.3f to %.3f); %d spans emitted, %d exported, %d dropped",
				pairs, ratio, quantile, ratios[0], ratios[pairs-1], h.Traces.Emitted, h.Traces.Exported, h.Traces.Dropped)
			if ratio > limit {
				t.Errorf("p99 is %.3f of that without export, more than %.2f", ratio, limit)
			}
			if h.Traces.Emitted == 0 || name != "killed and restarted" && h.Traces.Dropped == 0 {
				t.Errorf("the trouble was none: %+v", h.Traces)
			}
			if lines := out.lines("telemetry is not"); len(lines) > 1 {
				t.Errorf("want one line, got %q", lines)
			}
		})
	}
}

// onlyOurs passes only the pipeline's own lines on. The others are written in both configurations, but only one keeps them.
type onlyOurs struct{ w io.Writer }

func (o onlyOurs) Write(p []byte) (int, error) {
	if strings.Contains(string(p[:min(len(p), 200)]), "goos.exporters") {
		return o.w.Write(p)
	}
	return len(p), nil
}

// TestMemoryIsBoundedWhileNothingIsExported emits far more than the queue holds, twice, and compares the heap.
func TestMemoryIsBoundedWhileNothingIsExported(t *testing.T) {
	for name, address := range map[string]func(testing.TB) string{"refused": refusedAddr, "unreachable": blackhole} {
		t.Run(name, func(t *testing.T) {
			p, _ := setup(t, Options{Endpoint: "http://" + address(t), LogWriter: io.Discard, BatchDelay: 10 * time.Millisecond})
			text := strings.Repeat("x", 1000)
			tracer := p.Providers().Tracer("t")
			flood := func(n int) {
				for i := range n {
					ctx, span := tracer.Start(t.Context(), "work")
					span.SetAttributes(attribute.String("text", fmt.Sprint(i, text)))
					p.Logger().InfoContext(ctx, "worked", "text", fmt.Sprint(i, text))
					span.End()
				}
			}
			flood(5_000)
			full := testenv.Heap()
			flood(20_000)
			after := testenv.Heap()
			t.Logf("heap with full queues %d kB, after four times as much %d kB", full>>10, after>>10)
			if after > full+2<<20 {
				t.Errorf("the heap grew from %d to %d kB while nothing was exported", full>>10, after>>10)
			}
			drained(t, p, 2*time.Second, nil)
		})
	}
}
