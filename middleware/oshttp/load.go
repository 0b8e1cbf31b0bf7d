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

// reportLoad adds the load to an answer that is about to begin. The request itself is almost over, and does not count.
func (x *exchange) reportLoad() {
	if !x.h.opts.reportsLoad() {
		return
	}
	counted := 0
	if x.work != nil {
		counted = 1
	}
	setLoad(x.rw.Header(), x.h.opts.ReportLoad.ReportBeside(counted))
}
