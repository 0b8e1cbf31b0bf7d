package exporters

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	logspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logpb "go.opentelemetry.io/proto/otlp/logs/v1"
	metricpb "go.opentelemetry.io/proto/otlp/metrics/v1"
	spanpb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// answer configures how the peer answers one request. The zero value accepts everything.
type answer struct {
	status     int        // over HTTP; zero is 200
	code       codes.Code // over gRPC
	retryAfter time.Duration
	reject     int64 // of a partial success
	say        string
	delay      time.Duration
	reset      bool // reads the request, and resets the connection in place of an answer
	lose       bool // with reset: accepts nothing
}

// peer is an OTLP endpoint over both protocols with configurable faults.
type peer struct {
	t         testing.TB
	httpAddr  string
	grpcAddr  string
	http      *http.Server
	grpc      *grpc.Server
	grpcConns *trackedListener
	done      chan struct{} // closed with the peer
	once      sync.Once

	mu       sync.Mutex
	respond  func(signal Signal, request int) answer // request counts from 1, by signal
	requests map[Signal]int
	items    map[Signal]int64
	spans    []*spanpb.ResourceSpans
	records  []*logpb.ResourceLogs
	metrics  []*metricpb.ResourceMetrics
	ids      map[string]int // number of arrivals of each span id
	header   map[string][]string
}

// startPeer listens on free ports until the test ends.
func startPeer(t testing.TB) *peer {
	t.Helper()
	return startPeerAt(t, "127.0.0.1:0", "127.0.0.1:0")
}

func startPeerAt(t testing.TB, httpAddr, grpcAddr string) *peer {
	t.Helper()
	p := &peer{t: t, done: make(chan struct{}), requests: map[Signal]int{}, items: map[Signal]int64{}, ids: map[string]int{}}
	hl, gl := listen(t, httpAddr), listen(t, grpcAddr)
	p.httpAddr, p.grpcAddr = hl.Addr().String(), gl.Addr().String()
	p.http = &http.Server{Handler: http.HandlerFunc(p.serveHTTP)}
	p.grpcConns = &trackedListener{Listener: gl}
	p.grpc = grpc.NewServer()
	tracepb.RegisterTraceServiceServer(p.grpc, peerTraces{p: p})
	logspb.RegisterLogsServiceServer(p.grpc, peerLogs{p: p})
	metricspb.RegisterMetricsServiceServer(p.grpc, peerMetrics{p: p})
	var wg sync.WaitGroup
	wg.Go(func() { _ = p.http.Serve(hl) })
	wg.Go(func() { _ = p.grpc.Serve(p.grpcConns) })
	t.Cleanup(func() {
		p.close()
		wg.Wait()
	})
	return p
}

func listen(t testing.TB, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// close ends connections abruptly, like a kill.
func (p *peer) close() {
	p.once.Do(func() { close(p.done) })
	_ = p.http.Close()
	p.grpc.Stop()
}

// answering sets the answers to later requests.
func (p *peer) answering(respond func(signal Signal, request int) answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.respond = respond
}

// count returns the number of items of a signal that the peer has kept.
func (p *peer) count(signal Signal) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.items[signal]
}

func (p *peer) requestCount(signal Signal) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests[signal]
}

// uniqueSpans returns the number of different spans that arrived, and of those that arrived more than
// once.
func (p *peer) uniqueSpans() (unique, repeated int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.ids {
		if n > 1 {
			repeated++
		}
	}
	return len(p.ids), repeated
}

// next chooses the answer to a request and, unless the request is lost, accepts its items.
func (p *peer) next(signal Signal, n int64, take func()) answer {
	p.mu.Lock()
	p.requests[signal]++
	var a answer
	if p.respond != nil {
		a = p.respond(signal, p.requests[signal])
	}
	if (a.status == 0 || a.status == 200) && a.code == codes.OK && !a.lose {
		p.items[signal] += n - a.reject
		take()
	}
	p.mu.Unlock()
	if a.delay > 0 {
		select {
		case <-time.After(a.delay):
		case <-p.done:
		}
	}
	return a
}

func (p *peer) traces(r *tracepb.ExportTraceServiceRequest) answer {
	var n int64
	var ids []string
	for _, rs := range r.ResourceSpans {
		for _, ss := range rs.ScopeSpans {
			n += int64(len(ss.Spans))
			for _, s := range ss.Spans {
				ids = append(ids, string(s.SpanId))
			}
		}
	}
	return p.next(Traces, n, func() {
		p.spans = append(p.spans, r.ResourceSpans...)
		for _, id := range ids {
			p.ids[id]++
		}
	})
}

func (p *peer) logs(r *logspb.ExportLogsServiceRequest) answer {
	var n int64
	for _, rl := range r.ResourceLogs {
		for _, sl := range rl.ScopeLogs {
			n += int64(len(sl.LogRecords))
		}
	}
	return p.next(Logs, n, func() { p.records = append(p.records, r.ResourceLogs...) })
}

func (p *peer) points(r *metricspb.ExportMetricsServiceRequest) answer {
	var n int64
	for _, rm := range r.ResourceMetrics {
		for _, sm := range rm.ScopeMetrics {
			for _, m := range sm.Metrics {
				n += int64(len(m.GetGauge().GetDataPoints()) + len(m.GetSum().GetDataPoints()) +
					len(m.GetHistogram().GetDataPoints()) + len(m.GetExponentialHistogram().GetDataPoints()) + len(m.GetSummary().GetDataPoints()))
			}
		}
	}
	return p.next(Metrics, n, func() { p.metrics = append(p.metrics, r.ResourceMetrics...) })
}

func (p *peer) serveHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := readBody(r)
	if err != nil {
		return // the client disconnected
	}
	p.mu.Lock()
	p.header = r.Header
	p.mu.Unlock()
	decode := proto.Unmarshal
	if r.Header.Get("Content-Type") == "application/json" {
		decode = jsonIDs
	}
	var a answer
	var response proto.Message
	switch {
	case strings.HasSuffix(r.URL.Path, "/v1/traces"):
		var m tracepb.ExportTraceServiceRequest
		if err = decode(body, &m); err == nil {
			a = p.traces(&m)
		}
		response = &tracepb.ExportTraceServiceResponse{PartialSuccess: &tracepb.ExportTracePartialSuccess{RejectedSpans: a.reject, ErrorMessage: a.say}}
	case strings.HasSuffix(r.URL.Path, "/v1/logs"):
		var m logspb.ExportLogsServiceRequest
		if err = decode(body, &m); err == nil {
			a = p.logs(&m)
		}
		response = &logspb.ExportLogsServiceResponse{PartialSuccess: &logspb.ExportLogsPartialSuccess{RejectedLogRecords: a.reject, ErrorMessage: a.say}}
	case strings.HasSuffix(r.URL.Path, "/v1/metrics"):
		var m metricspb.ExportMetricsServiceRequest
		if err = decode(body, &m); err == nil {
			a = p.points(&m)
		}
		response = &metricspb.ExportMetricsServiceResponse{PartialSuccess: &metricspb.ExportMetricsPartialSuccess{RejectedDataPoints: a.reject, ErrorMessage: a.say}}
	default:
		http.NotFound(w, r)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if a.reset {
		resetHTTP(w)
		return
	}
	if a.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(a.retryAfter.Seconds())))
	}
	if a.status != 0 && a.status != 200 {
		http.Error(w, "the test says so", a.status)
		return
	}
	out, _ := proto.Marshal(response)
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write(out)
}

func readBody(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil || r.Header.Get("Content-Encoding") != "gzip" {
		return body, err
	}
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// jsonIDs decodes OTLP's JSON. Its ids are hex, where protojson expects base64; this is good enough to
// count.
func jsonIDs(body []byte, m proto.Message) error {
	return protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(body, m)
}

// resetHTTP closes the connection with a TCP reset.
func resetHTTP(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
}

// rpc converts an answer to the result of a gRPC method.
func (p *peer) rpc(ctx context.Context, a answer) error {
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		p.mu.Lock()
		p.header = md
		p.mu.Unlock()
	}
	if a.reset {
		p.grpcConns.reset()
		return status.Error(codes.Unavailable, "reset")
	}
	if a.code == codes.OK {
		return nil
	}
	s := status.New(a.code, "the test says so")
	if a.retryAfter > 0 {
		s, _ = s.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(a.retryAfter)})
	}
	return s.Err()
}

type peerTraces struct {
	tracepb.UnimplementedTraceServiceServer
	p *peer
}

func (s peerTraces) Export(ctx context.Context, r *tracepb.ExportTraceServiceRequest) (*tracepb.ExportTraceServiceResponse, error) {
	a := s.p.traces(r)
	if err := s.p.rpc(ctx, a); err != nil {
		return nil, err
	}
	return &tracepb.ExportTraceServiceResponse{PartialSuccess: &tracepb.ExportTracePartialSuccess{RejectedSpans: a.reject, ErrorMessage: a.say}}, nil
}

type peerLogs struct {
	logspb.UnimplementedLogsServiceServer
	p *peer
}

func (s peerLogs) Export(ctx context.Context, r *logspb.ExportLogsServiceRequest) (*logspb.ExportLogsServiceResponse, error) {
	a := s.p.logs(r)
	if err := s.p.rpc(ctx, a); err != nil {
		return nil, err
	}
	return &logspb.ExportLogsServiceResponse{PartialSuccess: &logspb.ExportLogsPartialSuccess{RejectedLogRecords: a.reject, ErrorMessage: a.say}}, nil
}

type peerMetrics struct {
	metricspb.UnimplementedMetricsServiceServer
	p *peer
}

func (s peerMetrics) Export(ctx context.Context, r *metricspb.ExportMetricsServiceRequest) (*metricspb.ExportMetricsServiceResponse, error) {
	a := s.p.points(r)
	if err := s.p.rpc(ctx, a); err != nil {
		return nil, err
	}
	return &metricspb.ExportMetricsServiceResponse{PartialSuccess: &metricspb.ExportMetricsPartialSuccess{RejectedDataPoints: a.reject, ErrorMessage: a.say}}, nil
}

// trackedListener records its connections, to reset them.
type trackedListener struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func (l *trackedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.mu.Lock()
		l.conns = append(l.conns, c)
		l.mu.Unlock()
	}
	return c, err
}

func (l *trackedListener) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
	l.conns = nil
}

// resourceAttr returns an attribute of the resource that arrived first.
func (p *peer) resourceAttr(key string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.spans) == 0 {
		return ""
	}
	return attr(p.spans[0].Resource.Attributes, key)
}

func attr(attrs []*commonpb.KeyValue, key string) string {
	for _, kv := range attrs {
		if kv.Key == key {
			return kv.Value.GetStringValue()
		}
	}
	return ""
}

// refusedAddr returns an address at which nothing listens.
func refusedAddr(t testing.TB) string {
	t.Helper()
	l := listen(t, "127.0.0.1:0")
	defer l.Close()
	return l.Addr().String()
}

// blackhole accepts connections, at least in the kernel, and never reads.
func blackhole(t testing.TB) string {
	t.Helper()
	l := listen(t, "127.0.0.1:0")
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// endpoint returns the endpoint of the peer for a protocol.
func (p *peer) endpoint(protocol string) string {
	if protocol == GRPC {
		return "http://" + p.grpcAddr
	}
	return "http://" + p.httpAddr
}

// eventually waits for a condition.
func eventually(t testing.TB, within time.Duration, what func() string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what())
		}
		<-time.After(2 * time.Millisecond)
	}
}

func saying(format string, args ...any) func() string {
	return func() string { return fmt.Sprintf(format, args...) }
}
