package oshttp

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-os/go-os/control/router/shed"
	"github.com/go-os/go-os/internal/serverload"
)

// Shedder decides which requests an overloaded server refuses. A *shed.Shedder is one.
type Shedder interface {
	// Admit reports whether a request of this priority is served.
	Admit(ctx context.Context, p shed.Priority) (shed.Admission, bool)
	// RetryAfter returns when a refused client should try again.
	RetryAfter() time.Duration
}

// work is what a request counts for while it is served. It has an allocation of its own, because most handlers measure none.
type work struct {
	load      serverload.Request
	admission shed.Admission
	answered  bool
}

// beginWork counts the request, and reports whether the Shedder admits it. It answers the request if not.
func (x *exchange) beginWork() bool {
	opts := &x.h.opts
	if opts.Shedder == nil && opts.ReportLoad == nil {
		return true
	}
	w := &work{}
	if opts.Shedder != nil {
		ctx, ok := x.req.Context(), false
		priority, _ := shed.PriorityFrom(ctx)
		if w.admission, ok = opts.Shedder.Admit(ctx, priority); !ok {
			x.releasePlace()
			x.shed = true
			x.Header().Set("Retry-After", strconv.Itoa(seconds(opts.Shedder.RetryAfter())))
			return x.refuse(faultOverload, http.StatusServiceUnavailable)
		}
	}
	w.load = opts.ReportLoad.Begin()
	x.work = w
	return true
}

// seconds returns a duration for Retry-After: whole seconds, at least one.
func seconds(d time.Duration) int { return int(math.Ceil(max(d.Seconds(), 1))) }

// answerWork is called when the answer begins. The time until then is a sample of the load, as it is for clients: the time of a stream or of
// a slow reader is not. A server that fails fast gives no samples, or it would attract the requests of all clients.
func (x *exchange) answerWork(status int) {
	w := x.work
	if w == nil || w.answered {
		return
	}
	w.answered = true
	if status < http.StatusInternalServerError && status != http.StatusSwitchingProtocols || status == http.StatusGatewayTimeout {
		w.load.Sample()
	}
	if status == http.StatusSwitchingProtocols || strings.HasPrefix(x.rw.Header().Get("Content-Type"), "text/event-stream") {
		x.endAdmission()
	}
}

// endAdmission gives back the place of an exchange that goes on as a connection or a stream: it lasts as long as its peers like.
func (x *exchange) endAdmission() {
	if x.work != nil {
		x.work.admission.Done(shed.Ignored)
	}
}

// endWork ends the count of the request.
func (x *exchange) endWork() {
	if x.work != nil {
		x.work.admission.Done(x.verdict())
		x.work.load.Leave()
	}
}

// verdict returns what the request shows about overload. The handler's own 429 and 503 show nothing: they are fast, and say more about the
// caller or a dependency than about the latency of work here.
func (x *exchange) verdict() shed.Outcome {
	switch {
	case x.fault == faultTimeout, x.status == http.StatusGatewayTimeout:
		return shed.Dropped
	case x.fault != "", x.hijacked, x.status == http.StatusTooManyRequests, x.status >= http.StatusInternalServerError:
		return shed.Ignored
	}
	return shed.Success
}
