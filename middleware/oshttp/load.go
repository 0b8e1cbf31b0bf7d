package oshttp

import (
	"net/http"

	"github.com/go-os/go-os/internal/serverload"
)

// Load measures how busy a server is: its requests in flight, and the latency that one more can expect. Make it by NewLoad, and pass it to
// HandlerOptions.ReportLoad, and to osgrpc.Options.ReportLoad if the process has a gRPC server too.
type Load = serverload.Load

// NewLoad returns the Load of an idle server.
func NewLoad() *Load { return serverload.New() }

// The headers of a report, as net/http spells them.
var (
	inFlightHeader = http.CanonicalHeaderKey(serverload.InFlightKey)
	latencyHeader  = http.CanonicalHeaderKey(serverload.LatencyKey)
)

// reportsLoad reports whether clients may see the load.
func (o *HandlerOptions) reportsLoad() bool { return o.ReportLoad != nil && !o.Public }

// probed reports whether a request asks only for the load.
func (h *handler) probed(r *http.Request) bool {
	return h.opts.reportsLoad() && r.URL.Path == serverload.ProbePath && (r.Method == http.MethodGet || r.Method == http.MethodHead)
}

// serveProbe answers a probe. It is neither counted nor limited nor observed: a server at its limit must still report that.
func (h *handler) serveProbe(w http.ResponseWriter, r *http.Request) {
	if h.opts.misdirected(r) {
		refuseMisdirected(w, r)
		return
	}
	w.Header()["Cache-Control"] = []string{"no-store"}
	setLoad(w.Header(), h.opts.ReportLoad.Report())
	w.WriteHeader(http.StatusOK)
}

func setLoad(h http.Header, r serverload.Report) {
	inFlight, latency := r.Values()
	values := [...]string{inFlight, latency}
	h[inFlightHeader], h[latencyHeader] = values[:1:1], values[1:]
}

// loaded is a request that counts as in flight. It has an allocation of its own, because most handlers report nothing.
type loaded struct {
	request  serverload.Request
	answered bool
}

// count counts a request that was admitted.
func (h *handler) count() *loaded {
	if h.opts.ReportLoad == nil {
		return nil
	}
	return &loaded{request: h.opts.ReportLoad.Begin()}
}

// leave ends the request.
func (l *loaded) leave() {
	if l != nil {
		l.request.Leave()
	}
}

// answer takes the time until the answer begins as a sample, as clients do. A stream is then still in flight. A server that fails fast
// gives no samples: it would attract the requests of all clients.
func (l *loaded) answer(status int) {
	if l.answered {
		return
	}
	l.answered = true
	if status < http.StatusInternalServerError && status != http.StatusSwitchingProtocols || status == http.StatusGatewayTimeout {
		l.request.Sample()
	}
}

// reportLoad adds the load to an answer that is about to begin. The request itself is almost over, and does not count.
func (x *exchange) reportLoad(status int) {
	if x.h.opts.ReportLoad == nil || x.status != 0 || x.hijacked {
		return
	}
	counted := 0
	if x.load != nil {
		x.load.answer(status)
		counted = 1
	}
	if x.h.opts.reportsLoad() {
		setLoad(x.rw.Header(), x.h.opts.ReportLoad.ReportBeside(counted))
	}
}
