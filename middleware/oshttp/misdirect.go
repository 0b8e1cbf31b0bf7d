package oshttp

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/go-os/go-os/internal/sanitize"
)

// The headers by which servers refuse requests that are meant for others. A client's name the service and the instance that it wants. That
// of a server names the service that the refused request was for: a 421 of a server behind it has another name, or none.
const (
	serviceHeader     = "Goos-Service"
	instanceHeader    = "Goos-Instance"
	misdirectedHeader = "Goos-Misdirected"
)

// namedHeaders are the values of the headers of requests to one instance.
type namedHeaders struct{ service, instance []string }

func nameIn(service, instance string) namedHeaders {
	return namedHeaders{[]string{service}, []string{instance}}
}

func (n namedHeaders) set(h http.Header) { h[serviceHeader], h[instanceHeader] = n.service, n.instance }

// misdirected reports whether a request that was answered with 421 should go to another instance. If the instance says that it is not of
// this service, it gets no more requests for a while.
func (d *dispatch) misdirected(ctx context.Context, at *instance, res *http.Response) bool {
	if res.Header.Get(misdirectedHeader) != d.route.service {
		return d.repeat()
	}
	d.route.refuse(ctx, at)
	return d.body.next()
}

// misdirected reports whether a request is for another service, or for another instance. A request that names none is for this server.
func (o *HandlerOptions) misdirected(r *http.Request) bool {
	if len(o.Services) == 0 {
		return false
	}
	service, instance := first(r.Header[serviceHeader]), first(r.Header[instanceHeader])
	return service != "" && !slices.Contains(o.Services, service) || o.Instance != "" && instance != "" && instance != o.Instance
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// refuseMisdirected answers a request for another service or instance. The answer does not reveal this server's own names.
func refuseMisdirected(w http.ResponseWriter, r *http.Request) {
	service, instance := first(r.Header[serviceHeader]), first(r.Header[instanceHeader])
	w.Header()[misdirectedHeader] = []string{service}
	text := fmt.Sprintf("misdirected: this server is not instance %q of service %q: retry at another one",
		sanitize.Text(instance, maxAddress), sanitize.Text(service, maxAddress))
	http.Error(w, text, http.StatusMisdirectedRequest)
}
