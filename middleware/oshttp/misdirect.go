package oshttp

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/internal/sanitize"
)

// The headers by which servers refuse requests that are meant for others. A client's name the service and the instance that it wants. A
// server's mark names the service of the refused request: a 421 of a server behind it has another name, or none.
const (
	serviceHeader     = "Goos-Service"
	instanceHeader    = "Goos-Instance"
	misdirectedHeader = "Goos-Misdirected"
)

// namedHeaders are the values of the headers of requests to one instance.
type namedHeaders struct{ service, instance []string }

// nameIn returns the headers for an instance. An ID that cannot be sent is left out: net/http would refuse every request to the instance.
func nameIn(service, id string) namedHeaders {
	n := namedHeaders{service: []string{service}}
	if sendable(id) {
		n.instance = []string{id}
	}
	return n
}

// sendable reports whether an ID is short and printable ASCII. The registry may have any ID.
func sendable(id string) bool {
	return len(id) <= maxName && strings.IndexFunc(id, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}

func (n namedHeaders) set(h http.Header) {
	h[serviceHeader] = n.service
	if n.instance == nil {
		delete(h, instanceHeader)
		return
	}
	h[instanceHeader] = n.instance
}

// misdirected reports whether a request that was answered with 421 should go to another instance. If the instance reports that it does not
// belong to this service, it gets no more requests for a while.
func (d *dispatch) misdirected(ctx context.Context, at *instance, res *http.Response) bool {
	if res.Header.Get(misdirectedHeader) != d.route.service {
		return d.repeat()
	}
	d.route.refuse(ctx, at)
	d.refusals++
	return d.refusals < maxRefusals && d.body.next()
}

// unmarked returns a response without the mark of a refusal. A handler may relay the response. Its client would take the mark for a refusal
// of this server, and repeat a request that a handler has seen.
func unmarked(res *http.Response) *http.Response {
	if res != nil && res.StatusCode == http.StatusMisdirectedRequest {
		delete(res.Header, misdirectedHeader)
	}
	return res
}

// redirected returns an error if a request for a service follows a redirect from a host that is not a service.
func (s *Services) redirected(r *http.Request, service string) error {
	if r.Response == nil {
		return nil
	}
	host := "" // if no RoundTripper in front has set it
	if from := r.Response.Request; from != nil && from.URL != nil {
		if _, ok := s.service(from); ok {
			return nil
		}
		host = from.URL.Host
	}
	return fmt.Errorf("oshttp: %w: redirect from host %q, which is not a service, to service %q: send the request to the service itself",
		discovery.ErrInvalid, sanitize.Text(host, maxAddress), service)
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
