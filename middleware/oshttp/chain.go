package oshttp

import (
	"context"
	"net/http"
	"strconv"

	"go.opentelemetry.io/otel/baggage"
	"golang.org/x/net/http/httpguts"

	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/control/router/shed"
)

// attemptHeader is the number of the attempt, from the second one on. The requests of a server that gets it are not retried: otherwise
// retries would multiply along a chain of services.
const attemptHeader = "Goos-Attempt"

// join returns the context of a request with what a trusted caller passes on to the requests of its handler: that it is a retry, its priority
// and its labels.
func (h *handler) join(ctx context.Context, header http.Header) context.Context {
	if h.opts.Public {
		return ctx
	}
	if text := first(header[attemptHeader]); text != "" {
		if n, err := strconv.Atoi(text); err == nil && n > 1 {
			ctx = router.WithoutRetries(ctx)
		}
	}
	if text := first(header[shed.PriorityHeader]); text != "" {
		if p, err := shed.ParsePriority(text); err == nil {
			ctx = shed.WithPriority(ctx, p)
		}
	}
	if h.opts.Labels != nil {
		if labels, _ := h.opts.Labels.Labels(header, baggage.FromContext(ctx)); labels != nil {
			ctx = router.WithLabels(ctx, labels)
		}
	}
	return ctx
}

// passOn adds to the header of an attempt what its service should know about the chain. A proxy may have copied an older value.
func passOn(ctx context.Context, h http.Header, attempt int) {
	delete(h, attemptHeader)
	switch {
	case attempt > 1:
		h[attemptHeader] = []string{strconv.Itoa(attempt)}
	case !router.RetriesAllowed(ctx):
		h[attemptHeader] = []string{"2"}
	}
	if p, ok := shed.PriorityFrom(ctx); ok {
		h[shed.PriorityHeader] = []string{p.String()}
	}
	for name, value := range router.LabelsFrom(ctx) {
		if httpguts.ValidHeaderFieldName(name) && httpguts.ValidHeaderFieldValue(value) { // else net/http would send nothing at all
			h.Set(router.LabelHeaderPrefix+name, value)
		}
	}
}
