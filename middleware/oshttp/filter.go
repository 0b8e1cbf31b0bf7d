package oshttp

import (
	"net/http"

	"github.com/go-os/go-os/internal/serverload"
)

// NotHealth is the default Filter: all requests but GET and HEAD of exactly /livez, /readyz, /startupz, /healthz and /prequal/probe. Probes
// call these every few seconds and do not show how the service is used. If MaxConcurrent refused a probe, a healthy process would be killed.
func NotHealth(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != "" { // a client's "" is GET
		return true
	}
	if r.URL == nil { // a client's mistake, which the transport reports
		return true
	}
	switch r.URL.Path {
	case "/livez", "/readyz", "/startupz", "/healthz", serverload.ProbePath:
		return false
	}
	return true
}

// Everything is the Filter that excludes no request.
func Everything(*http.Request) bool { return true }

// serveFiltered serves a request that the filter excludes. Its panics are recovered all the same.
func (h *handler) serveFiltered(w http.ResponseWriter, r *http.Request) {
	if h.opts.NoRecovery {
		h.next.ServeHTTP(w, r)
		return
	}
	x := h.exchange(w, r)
	defer x.endFiltered()
	h.next.ServeHTTP(x.writer(), r)
	x.returned = true
}

// endFiltered reports and answers the panic of a request that the filter excludes. It must be deferred directly, because it recovers.
func (x *exchange) endFiltered() {
	if x.returned {
		return
	}
	if repanic := x.finishPanic(recover()); repanic != nil {
		panic(repanic)
	}
}
