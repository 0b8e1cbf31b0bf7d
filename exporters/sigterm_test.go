package exporters

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-os/go-os/middleware/oshttp"
)

// childMode is the variable that turns the test binary into another process: "service", which sends telemetry as the OTEL_
// variables configure, or else a peer, see peerProcess.
const childMode = "EXPORTERS_TEST_CHILD"

func child() int {
	if mode := os.Getenv(childMode); mode != "service" {
		return serveBadly(mode)
	}
	return serve()
}

// childReport is the report of the service when it ends.
type childReport struct {
	Entered, Left int64
	Health        Health
	Error         string
}

// serve is a small service: it serves until SIGTERM, finishes every request, and flushes last.
func serve() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	p, err := Setup(ctx, &Options{ServiceName: "child", LogWriter: io.Discard, QueueSize: 100_000})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var report childReport
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		atomic.AddInt64(&report.Entered, 1)
		defer atomic.AddInt64(&report.Left, 1)
		<-time.After(rand.N(20 * time.Millisecond))
		_, _ = io.WriteString(w, "done")
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	server := &http.Server{Handler: oshttp.NewHandler(handler, &oshttp.HandlerOptions{Telemetry: p.Providers()})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	fmt.Println(l.Addr())
	<-ctx.Done()
	end, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := server.Shutdown(end); err != nil {
		report.Error = err.Error()
	}
	<-served
	if err := p.Shutdown(end); err != nil {
		report.Error += err.Error()
	}
	report.Health = p.Health()
	for _, s := range []*SignalHealth{&report.Health.Traces, &report.Health.Metrics, &report.Health.Logs} {
		s.LastError = nil // an interface, which JSON cannot read back; report.Error has the text
	}
	_ = json.NewEncoder(os.Stdout).Encode(report)
	return 0
}

// service is a running child.
type service struct {
	cmd *exec.Cmd
	url string
	out *bufio.Reader
}

func startService(t *testing.T, endpoint, protocol string) *service {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &service{cmd: exec.Command(self)}
	s.cmd.Env = append(os.Environ(), childMode+"=service", "OTEL_EXPORTER_OTLP_ENDPOINT="+endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL="+protocol)
	s.cmd.Stderr = os.Stderr
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.out = bufio.NewReader(out)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.cmd.Process.Kill() }) // no effect once it has ended
	addr, err := s.out.ReadString('\n')
	if err != nil {
		t.Fatalf("the service did not start: %v", err)
	}
	s.url = "http://" + addr[:len(addr)-1]
	return s
}

// terminate sends SIGTERM and returns the report of the service.
func (s *service) terminate(t *testing.T) childReport {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var report childReport
	if err := json.NewDecoder(s.out).Decode(&report); err != nil {
		t.Fatalf("the service did not report: %v", err)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("the service ended with %v", err)
	}
	return report
}

// load sends requests from several clients until it is stopped, and counts the answers.
type load struct {
	answered atomic.Int64
	broken   atomic.Int64 // incomplete answers, and those without status 200
	stop     chan struct{}
	wg       sync.WaitGroup
	client   *http.Client
}

func startLoad(url string, clients int) *load {
	l := &load{stop: make(chan struct{}), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}}
	for range clients {
		l.wg.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				default:
				}
				if !l.request(url) {
					return
				}
			}
		})
	}
	return l
}

// request reports false once the service accepts no more.
func (l *load) request(url string) bool {
	resp, err := l.client.Get(url)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || string(body) != "done" {
		l.broken.Add(1)
		return true
	}
	l.answered.Add(1)
	return true
}

func (l *load) end() {
	close(l.stop)
	l.wg.Wait()
	l.client.CloseIdleConnections()
}

// TestSIGTERMUnderLoad ends a real process while requests are in flight. Every accepted request is answered, and all of its spans
// arrive.
func TestSIGTERMUnderLoad(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{GRPC, HTTP} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			peer := startPeer(t)
			s := startService(t, peer.endpoint(protocol), protocol)
			l := startLoad(s.url, 16)
			eventually(t, 10*time.Second, saying("500 answers"), func() bool { return l.answered.Load() >= 500 })
			report := s.terminate(t)
			l.end()
			checkTerminated(t, report, l)
			unique, repeated := peer.uniqueSpans()
			if int64(unique) != report.Entered || repeated != 0 {
				t.Errorf("%d requests were accepted, and %d spans arrived, %d of them twice", report.Entered, unique, repeated)
			}
		})
	}
}

func checkTerminated(t *testing.T, report childReport, l *load) {
	t.Helper()
	if report.Error != "" {
		t.Errorf("the service ended with %s", report.Error)
	}
	if report.Entered != report.Left || l.answered.Load() != report.Entered || l.broken.Load() != 0 {
		t.Errorf("%d requests were accepted, %d ended, %d were answered whole and %d not", report.Entered, report.Left, l.answered.Load(), l.broken.Load())
	}
	h := report.Health.Traces
	balanced(t, Traces, h)
	if h.Exported != report.Entered || h.Dropped != 0 {
		t.Errorf("%d requests were accepted, and of their spans %+v", report.Entered, h)
	}
	t.Logf("%d requests accepted, answered and exported", report.Entered)
}
